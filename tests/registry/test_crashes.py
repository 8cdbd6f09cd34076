"""Kills, rivals and full disks, for real: other processes, SIGKILL, limits of the kernel, a small file system."""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from compass.errors import RegistryError
from compass.registry import Registry
from disks import fill, small_disk
from run_folders import MakeRun

DRIVER = Path(__file__).with_name("driver.py")


def start(*arguments: object) -> subprocess.Popen[str]:
    """Start the driver in a process of its own."""
    command = [sys.executable, str(DRIVER), *map(str, arguments)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(process: subprocess.Popen[str]) -> str:
    """Return what the driver printed, once it has ended without an error."""
    try:
        out, error = process.communicate(timeout=300)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise
    assert process.returncode == 0, error
    return out


def consistent(registry: Registry) -> None:
    """Production is whole, and the history tells how it came to be, without a gap."""
    assert all(check.ok for check in registry.verify("cy"))
    history = registry.history("cy")
    assert [move.sequence for move in history] == list(range(1, len(history) + 1))
    moves = [move for move in history if move.action in ("promote", "rollback")]
    assert [move.before for move in moves[1:]] == [move.after for move in moves[:-1]]
    assert moves[-1].after == registry.get("cy", "production").id


@pytest.mark.parametrize("operation", ["promote", "rollback", "register", "prune"])
def test_killed_before_every_call_to_the_disk(three: Registry, make_run: MakeRun, operation: str) -> None:
    """A kill at some point would break production, show half a version or leave a gap in the history.

    Every point: the operation is killed before its first call that can change the disk, before its second, and so on
    until it survives. What is on disk between two such calls is the same.
    """
    points = int(finish(start("crash", three.root, operation, make_run(9))))
    assert points > 8
    consistent(three)
    three.prune("cy", keep=1)
    assert not list((three.root / "cy" / "versions").glob(".*"))


def test_killed_from_outside(three: Registry) -> None:
    """As above, at moments that nobody chose."""
    rng = random.Random(0)
    for _ in range(3):
        process = start("forever", three.root)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        time.sleep(rng.uniform(0.02, 0.15))
        process.kill()
        process.communicate()
        consistent(three)
    three.promote("cy", "3")
    consistent(three)


def test_rivals_lose_no_move(three: Registry) -> None:
    """Two processes that promote at once would overwrite each other's move, or a reader find nothing in between."""
    rivals = [start("often", three.root, 8) for _ in range(3)]
    while any(rival.poll() is None for rival in rivals):
        assert three.get("cy", "production").number in (1, 2)
        time.sleep(0.005)
    for rival in rivals:
        finish(rival)
    consistent(three)
    assert sum(move.action == "promote" for move in three.history("cy")) == 1 + 3 * 8


def test_of_two_decisions_over_one_version_one_wins(three: Registry) -> None:
    """The slower one would replace a version that it was never compared with."""
    first = three.get("cy", "production").id
    rivals = [start("over", three.root, name, first, 0.0) for name in ("2", "3")]
    for rival in rivals:
        assert rival.stdout is not None
        assert rival.stdout.readline() == "ready\n"
    for rival in rivals:
        assert rival.stdin is not None
        rival.stdin.write("go\n")
        rival.stdin.flush()
    answers = [finish(rival) for rival in rivals]
    won = [answer for answer in answers if not answer.startswith("refused")]
    assert len(won) == 1
    assert three.get("cy", "production").id == won[0].strip()
    assert "another process moved the alias" in "".join(answers)
    consistent(three)


def test_no_room_for_a_version(three: Registry, make_run: MakeRun) -> None:
    """Half a version would be visible, or stay behind and fill the disk for good."""
    before = three.versions("cy")
    answer = finish(start("limited", three.root, "register", make_run(9), 2000))
    assert answer.startswith("refused: Cannot register")
    assert "Nothing has changed. Free some space" in answer
    assert three.versions("cy") == before
    assert not list((three.root / "cy" / "versions").glob(".*"))
    consistent(three)
    assert three.register(make_run(9)).number == 4


def test_no_room_for_a_move(three: Registry) -> None:
    """Production would be lost with the state that could not be written."""
    before = three.aliases("cy")
    answer = finish(start("limited", three.root, "promote", "2", 100))
    assert answer.startswith("refused: Cannot promote v0002")
    assert three.aliases("cy") == before
    assert not (three.root / "cy" / "state.json.partial").exists()
    consistent(three)


def test_no_room_for_the_history(three: Registry) -> None:
    """A move whose line does not fit any more would be missing from the history for ever."""
    for name in ("2", "1", "2", "1", "2", "1"):
        three.promote("cy", name)
    history = three.root / "cy" / "history.jsonl"
    size = history.stat().st_size
    answer = finish(start("limited", three.root, "promote", "2", size))
    assert "action='promote'" in answer
    assert history.stat().st_size == size
    assert three.get("cy", "production").number == 2
    consistent(three)
    refused = finish(start("limited", three.root, "promote", "1", size))
    assert refused.startswith("refused")
    three.promote("cy", "1")
    consistent(three)
    assert history.read_bytes().count(b"\n") == len(three.history("cy"))


def test_a_disk_that_is_full(tmp_path: Path, make_run: MakeRun) -> None:
    """As above, with ENOSPC from a real file system, until there is room again."""
    with small_disk(tmp_path / "small") as folder:
        _check_full_disk(folder, make_run)


def _check_full_disk(folder: Path, make_run: MakeRun) -> None:
    registry = Registry(folder / "registry")
    registry.register(make_run(0))
    registry.promote("cy")
    registry.register(make_run(1))
    big = make_run(2)
    (big / "training").mkdir()
    (big / "training" / "log.bin").write_bytes(bytes(shutil.disk_usage(folder).free + 1))
    with pytest.raises(RegistryError, match=r"Cannot register .* are needed, .* are free"):
        registry.register(big)
    ballast = fill(folder)
    assert shutil.disk_usage(folder).free == 0
    with pytest.raises(RegistryError, match=r"Cannot promote .*No space left"):
        registry.promote("cy")
    with pytest.raises(RegistryError, match="Cannot register"):
        registry.register(make_run(3))
    assert registry.get("cy", "production").number == 1
    consistent(registry)
    ballast.unlink()
    registry.promote("cy")
    registry.rollback("cy")
    consistent(registry)
