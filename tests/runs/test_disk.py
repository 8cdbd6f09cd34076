"""A full disk, for real: whatever library meets it, it is known as one, named once, and nothing is lost."""

from __future__ import annotations

import errno
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sqlalchemy
from safetensors.numpy import save_file

from compass.cli import main
from compass.errors import EncoderError
from compass.runs.files import is_full_disk, write_json, write_jsonl, write_parquet
from compass.runs.folder import Run
from disks import fill, small_disk

Write = Callable[[Path], object]


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with small_disk(tmp_path_factory.mktemp("disk") / "small") as folder:
        (folder / "old.json").write_text("[1]\n")
        (folder / "logs" / "stages").mkdir(parents=True)
        fill(folder)
        yield folder


def _sqlite(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("create table rows (text)")


def _sqlalchemy(path: Path) -> None:
    with sqlalchemy.create_engine(f"sqlite:///{path}").begin() as connection:
        connection.execute(sqlalchemy.text("create table rows (text text)"))


def _torch(path: Path) -> None:
    torch = pytest.importorskip("torch")
    torch.save({"a": torch.zeros(100_000)}, path)


def _numpy(path: Path) -> None:
    with path.open("wb") as file:
        np.save(file, np.zeros(100_000))


WRITERS: dict[str, Write] = {
    "plain": lambda path: path.write_bytes(bytes(100_000)),
    "safetensors": lambda path: save_file({"a": np.zeros(100_000)}, path),
    "parquet": lambda path: pq.write_table(pa.table({"a": np.random.default_rng(0).random(100_000)}), path),
    "numpy": _numpy,
    "sqlite": _sqlite,
    "sqlalchemy": _sqlalchemy,
    "torch": _torch,
}


@pytest.mark.parametrize("library", WRITERS)
def test_a_full_disk_is_known_in_the_words_of_each_library(full: Path, library: str) -> None:
    path = full / "new"
    with pytest.raises(Exception) as caught:  # noqa: PT011
        WRITERS[library](path)
    path.unlink(missing_ok=True)
    assert is_full_disk(caught.value), caught.value
    wrapped = RuntimeError("the stage failed")
    wrapped.__cause__ = caught.value
    assert is_full_disk(wrapped)


def test_other_errors_are_no_full_disk() -> None:
    for error in (
        OSError(errno.EACCES, "Permission denied"),
        ValueError("full of errors"),
        RuntimeError(),
        KeyError(28),
    ):
        assert not is_full_disk(error)
    assert not is_full_disk(None)


@pytest.mark.parametrize(
    "write",
    [
        lambda path: write_json(path, "x" * 100_000),
        lambda path: write_jsonl(path, [{"a": "x" * 100_000}]),
        lambda path: write_parquet(path, pa.table({"a": np.random.default_rng(0).random(100_000)})),
    ],
)
def test_our_writer_names_the_file_and_keeps_the_old_one(full: Path, write: Write) -> None:
    with pytest.raises(OSError, match=r"No space left on device.*old\.json") as caught:
        write(full / "old.json")
    assert caught.value.errno == errno.ENOSPC
    assert (full / "old.json").read_text() == "[1]\n"
    assert not (full / "old.json.partial").exists()


def test_a_stage_that_meets_a_full_disk_is_not_finished(full: Path) -> None:
    run = Run(full)
    with pytest.raises(OSError, match="No space left"), run.stage("data", {}, []):
        write_json(full / "data.json", "x" * 100_000)
    assert not run.finished("data", {})


@pytest.mark.parametrize("library", ["plain", "safetensors", "sqlalchemy", "torch"])
def test_the_command_says_it_in_one_line_and_one_exit_code(
    full: Path, library: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A traceback of safetensors would not tell anybody to free some space."""
    monkeypatch.setattr("compass.recipes.adapt.adapt", lambda _: WRITERS[library](full / "new"))
    with pytest.raises(SystemExit) as exit_:
        main(["adapt", "--output-dir", str(full / "run")])
    (full / "new").unlink(missing_ok=True)
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("compass:")]
    assert exit_.value.code == 1
    assert len(said) == 1
    assert said[0].startswith("compass: The disk is full")
    assert "it skips finished stages" in said[0]


def test_a_cache_without_room_says_the_same(full: Path) -> None:
    from compass.encoders import CachedEncoder
    from topics import TopicEncoder

    with pytest.raises(EncoderError, match="vectors that are already embedded are kept") as caught:
        CachedEncoder(TopicEncoder(), full / "cache").encode([f"lights {i}" for i in range(3000)])
    assert is_full_disk(caught.value)
