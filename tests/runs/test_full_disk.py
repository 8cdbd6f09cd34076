"""A disk that is full at each writer: one message, one exit code, and what was there before is still there."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import SafetensorError

from compass.cli import main
from compass.data.example import Example
from compass.data.label_files import write_label_files
from compass.data.readers import write_jsonl
from compass.drift import MonitorState
from compass.encoders import CachedEncoder
from compass.report.html import write_page
from compass.runs.files import read_jsonl, write_json, write_parquet
from compass.runs.folder import Run
from compass.semantic import SemanticSpace
from topics import TopicEncoder

Writer = Callable[[Path], object]


def _full(*arguments: Any, **options: Any) -> Any:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _full_in_rust(*arguments: Any, **options: Any) -> Any:
    raise SafetensorError(f"Error while serializing: I/O error: {os.strerror(errno.ENOSPC)} (os error 28)")


def _full_in_sqlite(*arguments: Any, **options: Any) -> Any:
    import sqlite3

    raise sqlite3.OperationalError("database or disk is full")


def _space(folder: Path) -> None:
    rows = np.random.default_rng(0).standard_normal((60, 8)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    SemanticSpace.fit(rows, ["cy", "en"] * 30, n_clusters=3, seed=0).save(folder)


def _stage(folder: Path) -> None:
    with Run(folder).stage("data", {}, []):
        pass


def _state(folder: Path) -> None:
    state = MonitorState(f"sqlite:///{folder}/state.db", "monitor")
    try:
        state.begin("reference", {}, restart=False)
    finally:
        state.close()


WRITERS: dict[str, tuple[Writer, str, Callable[..., Any]]] = {
    "json": (lambda folder: write_json(folder / "old", [1]), "os.replace", _full),
    "json, synced": (lambda folder: write_json(folder / "old", [1]), "os.fsync", _full),
    "rows": (lambda folder: write_jsonl(folder / "old", [Example("1", "p")]), "os.fsync", _full),
    "parquet": (lambda folder: write_parquet(folder / "old", [{"a": 1}]), "pyarrow.parquet.write_table", _full),
    "safetensors": (_space, "safetensors.numpy.save_file", _full_in_rust),
    "html": (lambda folder: write_page(folder / "old", "<p>", private=True), "os.fsync", _full),
    "stage records": (_stage, "os.replace", _full),
    "database": (_state, "sqlalchemy.engine.default.DefaultDialect.do_execute", _full_in_sqlite),
    "embedding cache": (
        lambda folder: CachedEncoder(TopicEncoder(), folder / "cache").encode(["lights 1"]),
        "compass.encoders.vector_store._append_at",
        _full,
    ),
    "label files": (lambda folder: write_label_files(folder, (), name="a"), "os.replace", _full),
}


def test_half_a_line_of_the_log_of_stages_is_cut_off(tmp_path: Path) -> None:
    """The next entry would stand on the same line, and no report of the run could be made any more."""
    run = Run(tmp_path)
    log = run.path("logs", "stages.jsonl")
    log.write_text('{"stage": "data", "seconds": 1, "peak_memory_bytes": 0, "skipped": false}\n{"sta')
    run.skip("space")
    assert [row["stage"] for row in read_jsonl(log)] == ["data", "space"]


@pytest.mark.parametrize("name", WRITERS)
def test_one_message_and_one_exit_code(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A traceback, or the exit code of bad input, would send a person to look for a fault in the data."""
    write, place, raises = WRITERS[name]
    (tmp_path / "old").write_text("before")
    monkeypatch.setattr("compass.recipes.adapt.adapt", lambda _: write(tmp_path))
    with monkeypatch.context() as patched:
        patched.setattr(place, raises)
        with pytest.raises(SystemExit) as exit_:
            main(["adapt", "--output-dir", str(tmp_path / "run")])
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("compass:")]
    assert exit_.value.code == 1
    assert len(said) == 1
    assert "disk is full" in said[0] or "No room" in said[0], said
    assert (tmp_path / "old").read_text() == "before"
    assert not list(tmp_path.rglob("*.partial"))
