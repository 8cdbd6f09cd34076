"""Texts on all cores of this machine: the same files, errors for people, and no process is left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from compass.data import Example, stored_rows
from compass.engines import each, engine_in_use, working_on
from compass.engines.processes import on_all_cores
from compass.errors import DataError, RunError
from compass.runs.folder import Run
from compass.steps import kept_blocks
from compass.steps.kept_blocks import KeptBlocks
from compass.steps.read import read_data
from engines.sent import Sent, options, write_rows
from processes import is_alive, wait_for

FILES = ("data/pool.jsonl", "data/usage.jsonl", "data/dropped.jsonl", "data/cleaning.json")


@pytest.fixture
def cores(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Two workers, however many cores there are."""
    monkeypatch.setattr("loky.cpu_count", lambda: 2)
    with on_all_cores(2**30):
        yield


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rows")
    write_rows(folder)
    return folder


def process_of(_: int) -> int:
    return os.getpid()


def refused(block: int) -> int:
    if block == 3:
        raise DataError("pool.jsonl, line 4: a number where a text should be.")
    return block


def killed(_: int) -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    return 0


@pytest.mark.usefixtures("cores")
def test_blocks_are_done_in_their_order_by_several_processes() -> None:
    assert list(each(abs, range(-50, 0))) == list(range(50, 0, -1))
    assert os.getpid() not in set(each(process_of, range(20)))


@pytest.mark.usefixtures("cores")
def test_what_a_worker_refuses_is_told_as_it_is() -> None:
    found = each(refused, range(10))
    assert [next(found) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(DataError, match=r"^pool\.jsonl, line 4: a number where a text should be\.$"):
        next(found)


@pytest.mark.usefixtures("cores")
def test_a_worker_that_is_killed_ends_the_run_with_advice() -> None:
    with pytest.raises(RunError, match=r"ended from outside, perhaps for lack of memory.*LOKY_MAX_CPU_COUNT=1"):
        list(each(killed, range(4)))


class OddError(Exception):
    """Can be pickled, and can't be made again from what was."""

    def __init__(self, one: str, two: str) -> None:
        super().__init__(f"{one} and {two}")


class OddDataError(DataError):
    def __init__(self, one: str, two: str) -> None:
        super().__init__(f"{one} and {two}")


def odd(block: type[Exception]) -> None:
    raise block("this", "that")


@pytest.mark.parametrize(("error", "kind"), [(OddError, RuntimeError), (OddDataError, DataError)])
@pytest.mark.usefixtures("cores")
def test_an_error_that_cannot_be_sent_keeps_its_message(error: type[Exception], kind: type[Exception]) -> None:
    """It would look like a worker that was killed for lack of memory."""
    with pytest.raises(kind, match="this and that"):
        list(each(odd, [error]))


def test_one_core_little_text_and_another_engine_are_left_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("loky.cpu_count", lambda: 1)
    with on_all_cores(2**30):
        assert engine_in_use() is None
    monkeypatch.setattr("loky.cpu_count", lambda: 8)
    with on_all_cores(2**20):
        assert engine_in_use() is None
    with working_on(engine := Sent()), on_all_cores(2**30):
        assert engine_in_use() is engine


def test_workers_end_with_a_process_that_is_killed(tmp_path: Path) -> None:
    """They would wait for blocks for ever, each with its models in memory."""
    pids = tmp_path / "pids"
    script = (
        "import loky, os, time\nloky.cpu_count = lambda: 2\n"
        "from compass.engines import each\nfrom compass.engines.processes import on_all_cores\n"
        "with on_all_cores(2**30):\n"
        "    found = set(each(lambda i: (time.sleep(0.2), os.getpid())[1], range(8)))\n"
        f"    open({str(pids)!r} + '-', 'w').write(' '.join(map(str, found)))\n"
        f"    os.rename({str(pids)!r} + '-', {str(pids)!r})\n"
        "    time.sleep(600)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.DEVNULL)
    wait_for(pids.exists)
    workers = [int(pid) for pid in pids.read_text().split()]
    assert workers
    assert all(map(is_alive, workers))
    process.kill()
    process.wait()
    wait_for(lambda: not any(map(is_alive, workers)), seconds=20)


def _read(rows: Path, folder: Path) -> dict[str, bytes]:
    """Read and clean; return the files."""
    run = Run(folder)
    with run.locked():
        read_data(run, options(rows, folder, folder / "cache").data, seed=0)
    return {name: (folder / name).read_bytes() for name in FILES}


def test_a_large_pool_has_the_files_of_one_that_is_read_here(
    rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = _read(rows, tmp_path / "here")
    monkeypatch.setattr("loky.cpu_count", lambda: 2)
    monkeypatch.setattr(kept_blocks, "WORTHWHILE_BYTES", 1)
    monkeypatch.setattr(stored_rows, "IN_MEMORY_ROWS", 100)
    assert _read(rows, tmp_path / "large") == here
    assert not (tmp_path / "large" / "data-blocks").exists()


READING = ("_lines_in", "_Reading")


class Stopping(Sent):
    """Works block by block, and is killed after it has cleaned some of them."""

    def __init__(self, blocks: int) -> None:
        super().__init__()
        self.blocks = blocks

    def map(self, work: Callable[[Any], Any], blocks: Iterable[Any]) -> Iterator[Any]:
        for block in blocks:
            if cleaning(self) == self.blocks:
                raise KeyboardInterrupt
            yield from super().map(work, [block])


def cleaning(engine: Sent) -> int:
    """Return how many blocks were cleaned."""
    return sum(name not in READING for name in engine.works)


def _killed(rows: Path, folder: Path, done: int, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Kill a run after it has cleaned some blocks of a large pool; return the files that are kept."""
    monkeypatch.setattr(kept_blocks, "WORTHWHILE_BYTES", 1)
    with pytest.raises(KeyboardInterrupt), working_on(Stopping(done)):
        _read(rows, folder)
    return sorted((folder / "data-blocks").glob("*/*"))


@pytest.mark.parametrize("in_memory", [100, 500_000])
@pytest.mark.parametrize("done", [4, 15, 25])
def test_a_killed_run_goes_on_at_its_last_block(
    rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, done: int, in_memory: int
) -> None:
    """What was found in a block is not found again, and the files are those of a run without an interruption."""
    whole = Sent()
    with working_on(whole):
        expected = _read(rows, tmp_path / "whole")
    monkeypatch.setattr(stored_rows, "IN_MEMORY_ROWS", in_memory)
    folder = tmp_path / "run"
    assert len(_killed(rows, folder, done, monkeypatch)) == done
    again = Sent()
    with working_on(again):
        assert _read(rows, folder) == expected
    assert cleaning(again) == cleaning(whole) - done
    assert not (folder / "data-blocks").exists()


@pytest.mark.parametrize("in_memory", [100, 500_000])
def test_without_more_processes_a_run_goes_on_at_its_last_block_too(
    rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, in_memory: int
) -> None:
    """That is what the message about a killed worker advises; rows that are read here share their strings."""
    monkeypatch.setattr(stored_rows, "IN_MEMORY_ROWS", in_memory)
    monkeypatch.setattr("compass.engines.BLOCK_ROWS", 64)
    _killed(rows, tmp_path / "run", 15, monkeypatch)
    monkeypatch.setattr("loky.cpu_count", lambda: 1)
    caplog.set_level("INFO")
    _read(rows, tmp_path / "run")
    assert "15 blocks of texts were done before" in caplog.text


def test_a_damaged_block_is_looked_at_again(
    rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Cut hashes would shift those of all later rows, and name the wrong rows as duplicates."""
    expected = _read(rows, tmp_path / "whole")
    kept = _killed(rows, tmp_path / "run", 25, monkeypatch)
    assert {path.stat().st_mode & 0o777 for path in (*kept, tmp_path / "run" / "data-blocks")} == {0o600, 0o700}
    for number, path in enumerate(kept):
        content = path.read_bytes()
        path.write_bytes((b"", content[: len(content) // 2], content[:-1] + b"!")[number % 3])
    with working_on(again := Sent()):
        assert _read(rows, tmp_path / "run") == expected
    assert cleaning(again) > 25
    assert caplog.text.count("is damaged; its block is looked at again") == 25


def test_what_was_kept_goes_with_the_next_run_that_ends(
    rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It names rows, which somebody may have taken out of the pool since."""
    assert _killed(rows, tmp_path / "run", 4, monkeypatch)
    monkeypatch.setattr(kept_blocks, "WORTHWHILE_BYTES", 2**26)
    _read(rows, tmp_path / "run")
    assert not (tmp_path / "run" / "data-blocks").exists()


def test_blocks_of_other_rows_options_and_packages_are_found_again(
    rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A block that was cleaned by other options would hide what these find."""
    monkeypatch.setattr(kept_blocks, "WORTHWHILE_BYTES", 1)
    keys: list[str] = []
    monkeypatch.setattr("compass.steps.read.working_through", lambda _, key, __: keys.append(key) or nullcontext())
    for number, change in enumerate(("", "option", "rows", "version")):
        config = options(rows, tmp_path / "run", tmp_path / "cache").data
        if change == "option":
            object.__setattr__(config, "max_chars", 100)
        if change == "rows":
            pool = tmp_path / "pool.jsonl"
            pool.write_text(Path(config.pool[0]).read_text("utf-8") + "\n", "utf-8")
            object.__setattr__(config, "pool", (str(pool),))
        if change == "version":
            monkeypatch.setattr("compass.steps.read.versions", lambda: {"compass-peft": "9.9"})
        run = Run(tmp_path / str(number))
        with run.locked():
            read_data(run, config, seed=0)
    assert len(set(keys)) == 4


def test_kinds_of_results_that_are_kept(tmp_path: Path) -> None:
    """What comes back is equal to what was found, and what can't be kept is found again."""
    results = [b"\x00bytes", np.arange(6, dtype=np.uint64).reshape(2, 3), {3: ("reason", "détail")}, {}, ["cy", "und"]]
    for before in (0, len(results)):
        kept = KeptBlocks(tmp_path / "kept")
        found = list(kept.map(lambda block: results[block], range(len(results))))
        np.testing.assert_equal(found, results)
        assert list(map(type, found)) == list(map(type, results))
        assert kept.found_before == before
    kept = KeptBlocks(tmp_path / "pairs")
    numbers = [np.arange(3), np.arange(3) + 1, np.arange(3)]
    pairs = [([Example("a", "x")], numbers[0]), ([Example("a", "x")], numbers[1]), ([Example("b", "x")], numbers[2])]
    for before in (0, 3):
        assert list(kept.map(lambda pair: [pair[0][0].id, str(pair[1])], pairs)) == [
            ["a", "[0 1 2]"], ["a", "[1 2 3]"], ["b", "[0 1 2]"]
        ]  # fmt: skip
        assert kept.found_before == before
    kept = KeptBlocks(tmp_path / "not")
    assert list(kept.map(lambda block: (block, object)[0], [1, 2])) == [1, 2]
    assert not (tmp_path / "not").exists()
