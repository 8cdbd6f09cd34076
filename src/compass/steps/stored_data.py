"""The cleaned data of a run folder: written once, read by whoever goes on with it."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

from compass.data.cleaning import Cleaned
from compass.data.example import Example
from compass.data.readers import iter_jsonl, read_jsonl, write_jsonl
from compass.data.stored_rows import kept
from compass.runs import layout
from compass.runs.files import file_hash, read_json, write_json
from compass.runs.files import write_jsonl as write_rows
from compass.runs.folder import Run
from compass.steps.state import RunData


def write_data(run: Run, data: RunData, cleaned: Mapping[str, Cleaned]) -> None:
    """Write down what was kept, the names of the test sets, and what was dropped and why."""
    write_jsonl(run.path(layout.USAGE), data.usage, arrival=True)
    write_jsonl(run.path(layout.TRAIN), data.train)
    write_jsonl(run.path(layout.POOL), data.pool)
    # Those of an earlier run in this folder would be hashed as this one's.
    shutil.rmtree(run.folder / layout.TESTS, ignore_errors=True)
    for name, rows in data.tests.items():
        write_jsonl(run.path(layout.test_file(name)), rows, arrival=True)
    write_json(run.path(layout.TEST_NAMES), list(data.tests))
    write_json(run.path(layout.CLEANING), {name: result.to_dict() for name, result in cleaned.items()})
    write_rows(
        run.path(layout.DROPPED),
        ({"set": option_of(name), **row.to_dict()} for name, result in cleaned.items() for row in result.dropped),
    )


def option_of(name: str) -> str:
    """Return what users call a set, by its option; in the code and in files that are read again train is `current`."""
    return "train" if name == "current" else name


def stored_data(folder: Path) -> RunData:
    """Read the cleaned data of a run folder."""
    return RunData(
        usage=tuple(read_jsonl(folder / layout.USAGE)),
        train=tuple(read_jsonl(folder / layout.TRAIN)),
        pool=kept(iter_jsonl(folder / layout.POOL)),
        tests=stored_tests(folder),
    )


def stored_tests(folder: Path) -> dict[str, tuple[Example, ...]]:
    """Read the test sets of a run folder, in their order."""
    names = read_json(folder / layout.TEST_NAMES, list)
    return {name: tuple(read_jsonl(folder / layout.test_file(name))) for name in names}


def data_hashes(run: Run) -> dict[str, str]:
    """Return the hashes of a run's cleaned usage, training rows and pool."""
    files = {"usage": layout.USAGE, "current": layout.TRAIN, "pool": layout.POOL}
    return {name: file_hash(run.folder / path) for name, path in files.items()}
