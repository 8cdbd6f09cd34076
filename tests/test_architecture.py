"""What holds for the package as a whole."""

from __future__ import annotations

import ast
import importlib
import json
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import pytest

import compass
from compass.runs import layout

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
    "py3langid",
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


def written_paths(source: str, names: set[str], folders: set[str]) -> list[tuple[int, str]]:
    """Return line and text of each name of a file or folder of a run that the source writes out.

    A literal without spaces counts where it is, or ends in, such a name; a folder only where `/` joins it to a path.
    Names of columns and stages are no paths, and messages may name a file.
    """
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            text = node.value
            named = text in names or text.rpartition("/")[2] in names
            if not re.search(r"\s", text) and (named or (text.endswith("/") and text[:-1] in folders)):
                found.append((node.lineno, text))
        elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
            right = node.right
            if isinstance(right, ast.Constant) and right.value in folders:
                found.append((right.lineno, str(right.value)))
    return found


PATHS = {value for name, value in vars(layout).items() if name.isupper() and isinstance(value, str)}
FILES = {path for path in PATHS if "." in path}
NAMES = FILES | {path for path in PATHS if "/" in path} | {path.rpartition("/")[2] for path in FILES}
FOREIGN = {("data/grammars.py", "data"), ("evaluation/lm_eval/oneruler/material.py", "data")}
"""Folders of other people's projects that have such a name."""
FOLDERS = {path.rpartition("/")[2] for path in PATHS - FILES}


@pytest.mark.parametrize(
    "source",
    [
        "x = folder / 'selection'",
        "x = 'adapter_model.safetensors'",
        "x = f'{folder}/lock.json'",
        "x = 'eval/base'",
        "x = 'logs/'",
    ],
)
def test_a_written_path_is_found(source: str) -> None:
    """The next test would pass for nothing."""
    assert written_paths(source, NAMES, FOLDERS)


def test_paths_of_a_run_folder_are_written_once() -> None:
    """A file would be written under one name and looked for under another; `runs/layout.py` names them all."""
    root = Path(compass.__file__).parent
    found = [
        f"{path.relative_to(root)}:{line}: {text}"
        for path in sorted(root.rglob("*.py"))
        if path != Path(layout.__file__)
        for line, text in written_paths(path.read_text("utf-8"), NAMES, FOLDERS)
        if (path.relative_to(root).as_posix(), text) not in FOREIGN
    ]
    assert found == []
