"""What holds for the package as a whole."""

from __future__ import annotations

import importlib
import json
import pkgutil
import subprocess
import sys

import pytest

import compass

HEAVY = {
    "torch",
    "transformers",
    "trl",
    "peft",
    "datasets",
    "sklearn",
    "scipy",
    "pandas",
    "pyarrow",
    "plotly",
    "lingua",
}
ROOMS = [module.name for module in pkgutil.iter_modules(compass.__path__, "compass.") if module.ispkg]


def loaded_by(statement: str) -> set[str]:
    """Return the top-level modules that a fresh interpreter has loaded after the statement."""
    code = (
        f"{statement}\nimport json, sys\nprint(json.dumps(sorted({{name.partition('.')[0] for name in sys.modules}})))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    return set(json.loads(done.stdout))


@pytest.mark.parametrize("statement", ["import compass", "import compass.config", "import compass.cli"])
def test_importing_is_light(statement: str) -> None:
    """`import compass` and `compass --help` would take seconds."""
    assert loaded_by(statement) & HEAVY == set()


def test_importing_configures_nothing() -> None:
    """A program that imports compass would find its logging or environment changed."""
    code = (
        "import logging, os; before = dict(os.environ), logging.root.level, list(logging.root.handlers)\n"
        "import compass, compass.cli\n"
        "assert before == (dict(os.environ), logging.root.level, list(logging.root.handlers))"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


@pytest.mark.parametrize("name", ["compass", *ROOMS])
def test_public_names(name: str) -> None:
    """`__all__` would repeat itself or promise a name that is not there; ruff holds its order."""
    module = importlib.import_module(name)
    public = getattr(module, "__all__", [])
    assert len(public) == len(set(public))
    assert [missing for missing in public if not hasattr(module, missing)] == []


def test_unknown_names_are_attribute_errors() -> None:
    """A mistyped public name would raise something that `hasattr` does not catch."""
    assert not hasattr(compass, "adopt")
    assert set(compass.__all__) <= set(dir(compass))
