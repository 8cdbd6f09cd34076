"""What an update of the loop is made of: what users said comes with it."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from compass.config import WatchOptions, load_options
from compass.data.example import Example
from compass.data.feedback_rows import TEST, TRAIN, rows_file
from compass.data.readers import write_jsonl
from compass.steps.watch_data import UpdateRows, rows_of_update
from run_folders import write_options


def update_of(tmp_path: Path, **options: object) -> UpdateRows:
    """Return what an update in Welsh is made of."""
    write_options(tmp_path / "run", language="cy")
    resolved = load_options(WatchOptions, None, {"reservoir": "full", **options})
    site: Any = SimpleNamespace(language="cy", options=resolved)
    watching: Any = SimpleNamespace(kept_prompts=lambda language, most: [])
    version: Any = SimpleNamespace(folder=tmp_path / "run")
    return rows_of_update(site, watching, version)


@pytest.mark.parametrize(("tests", "counted"), [(19, 0), (20, 20)])
def test_feedback_is_trained_on_and_tested_once_there_is_enough(tmp_path: Path, tests: int, counted: int) -> None:
    """A handful of tests would make every gate refuse; and rows that users gave would change nothing."""
    serve = tmp_path / "serve"
    assert update_of(tmp_path, update_feedback=str(serve)).test == []
    for part, n in ((TRAIN, 3), (TEST, tests)):
        rows = [Example(f"feedback/{part}{i}", f"cwestiwn {i}", "ateb", "cy") for i in range(n)]
        write_jsonl(rows_file(serve, "cy", part), rows)
    found = update_of(tmp_path, update_feedback=str(serve))
    assert (len(found.train), len(found.test)) == (3, counted)
    # Those that wait are named.
    assert len(found.left_out["test cy"]) == tests - counted
    alone = update_of(tmp_path)
    assert (alone.train, alone.test) == ([], [])


def test_what_of_the_sources_is_not_used_is_named(tmp_path: Path) -> None:
    """A loop would train on half of a file, and nobody could find out what became of the other half."""
    file = tmp_path / "train.jsonl"
    rows = [{"prompt": f"cwestiwn {i}", "response": "ateb", "language": "cy"} for i in range(3)]
    lines = [json.dumps(row) for row in (*rows, rows[0] | {"language": "de"}, {"response": "ateb"})]
    file.write_text("\n".join(lines), "utf-8")
    found = update_of(tmp_path, update_train=str(file), update_test=str(file))
    assert (len(found.train), len(found.test)) == (3, 3)
    for name in ("current", "test cy"):
        places = [(row.place.rpartition(" ")[2], row.reason) for row in found.left_out[name]]
        assert places == [("5", "no prompt"), ("4", "other language")]
