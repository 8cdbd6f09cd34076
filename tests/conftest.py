"""What the tests of several rooms share: a small draw of the embedded data, and one cache for the whole session."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest
from filelock import FileLock

from small_data import Files

LONG = (
    "integration/test_adapt.py", "recipes/test_kills.py", "integration/test_compare.py",
    "integration/test_demo_drift.py", "recipes/test_update.py", "training/test_trainer.py",
    "integration/", "registry/test_crashes.py", "evaluation/lm_eval/", "frozen/", "docs/", "serve/", "recipes/",
    "training/", "drift/", "cli/", "encoders/", "report/", "stats/", "steps/", "data/", "fuzz/", "semantic/",
)  # fmt: skip
"""Files and rooms by what they take, the longest first, so that none is left for one process at the end. The second
one needs no draw of the data, for which it would wait."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put long files first; what is not named comes last, and everything else stays in order."""
    here = Path(__file__).parent

    def place(item: pytest.Item) -> int:
        path = item.path.relative_to(here).as_posix()
        return next((i for i, name in enumerate(LONG) if path.startswith(name)), len(LONG))

    items.sort(key=place)


def pytest_collection_finish() -> None:
    """Everything that the tests import is loaded now."""
    import settled  # noqa: F401


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    """The draw is made once, and texts are embedded once, by whichever of the test processes comes first."""
    root = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent
    folder = root / "assist"
    with FileLock(root / "assist.lock"):
        if not (folder / "english.jsonl").exists():
            _write_draw(folder)
    return Files(folder, root / "compass-cache")


def _write_draw(folder: Path) -> None:
    from compass.data.assist import load_assist
    from compass.data.readers import write_jsonl

    data = load_assist("cy")
    write_jsonl(folder / "usage.jsonl", data.usage)
    write_jsonl(folder / "current.jsonl", data.train)
    pool = random.Random(0).sample(list(data.pool), 700)
    # Few rows, as each run embeds, clusters and maps them, and one language with more than a budget.
    write_jsonl(folder / "pool.jsonl", [row for i, row in enumerate(pool) if row.language == "fr" or i % 2])
    write_jsonl(folder / "asked.jsonl", data.tests["cy"])
    write_jsonl(folder / "test.jsonl", data.tests["cy"][:12])
    write_jsonl(folder / "english.jsonl", data.tests["en"][:6])
