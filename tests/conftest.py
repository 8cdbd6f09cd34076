"""What the tests of several rooms share: a small draw of the embedded data, and one cache for the whole session."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest
from filelock import FileLock

from small_data import Files

LONG = ("integration", "recipes", "training", "evaluation")
"""Rooms whose files take a minute and more: they come first, so that none is left for one process at the end."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the files of the long rooms first; everything else stays in order."""
    here = Path(__file__).parent
    items.sort(key=lambda item: (*item.path.relative_to(here).parts, "")[0] not in LONG)


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
