"""What an update of the loop is made of: what users said comes with it."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from compass.config import WatchOptions, load_options
from compass.data.example import Example
from compass.data.feedback_rows import TEST, TRAIN, rows_file
from compass.data.readers import write_jsonl
from compass.steps.watch_data import rows_of_update
from run_folders import write_options


def update_of(tmp_path: Path, **options: object) -> tuple[list[str], list[str]]:
    """Return the ids of training rows and tests of an update in Welsh."""
    write_options(tmp_path / "run", language="cy")
    resolved = load_options(WatchOptions, None, {"reservoir": "full", **options})
    site: Any = SimpleNamespace(language="cy", options=resolved)
    watching: Any = SimpleNamespace(kept_prompts=lambda language, most: [])
    version: Any = SimpleNamespace(folder=tmp_path / "run")
    _, train, test = rows_of_update(site, watching, version)
    return [row.id for row in train], [row.id for row in test]


@pytest.mark.parametrize(("tests", "counted"), [(19, 0), (20, 20)])
def test_feedback_is_trained_on_and_tested_once_there_is_enough(tmp_path: Path, tests: int, counted: int) -> None:
    """A handful of tests would make every gate refuse; and rows that users gave would change nothing."""
    serve = tmp_path / "serve"
    assert update_of(tmp_path, update_feedback=str(serve)) == ([], [])
    for part, n in ((TRAIN, 3), (TEST, tests)):
        rows = [Example(f"feedback/{part}{i}", f"cwestiwn {i}", "ateb", "cy") for i in range(n)]
        write_jsonl(rows_file(serve, "cy", part), rows)
    train, found = update_of(tmp_path, update_feedback=str(serve))
    assert (len(train), len(found)) == (3, counted)
    assert update_of(tmp_path) == ([], [])
