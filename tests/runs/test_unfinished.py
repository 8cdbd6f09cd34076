from __future__ import annotations

import errno
import logging
import os
import signal
from pathlib import Path
from unittest.mock import Mock

import pytest

from compass.runs.unfinished import beside
from forked import Forked
from processes import wait_for


def _fill(place: Path) -> None:
    with beside(place) as partial:
        (partial / "weights").touch()
        signal.pause()


def test_what_a_killed_process_left_goes_and_nothing_else(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Weights of gigabytes stayed for ever under a name that nobody knows; those of a process at work must stay."""
    place = tmp_path / "run-vllm"
    killed, alive = Forked(_fill, place), Forked(_fill, place)
    wait_for(lambda: len(list(tmp_path.glob("run-vllm-*.partial/weights"))) == 2, every=0.05)
    for name in ("run-vllm-0123abcd.partial", "run-vllm-2-0123abcd.partial"):
        (tmp_path / name).mkdir()
    (tmp_path / "run-vllm-2-0123abcd.partial.lock").touch()
    with beside(place):
        assert len(list(tmp_path.glob("*.partial"))) == 5
    os.kill(killed.pid, signal.SIGKILL)
    killed.wait()
    with caplog.at_level(logging.WARNING), beside(place) as partial:
        partial.rename(place)
    assert place.is_dir()
    assert len(list(tmp_path.glob("*.partial"))) == 3
    assert len(list(tmp_path.glob("run-vllm-????????.partial/weights"))) == 1
    assert [message.partition(" is removed")[1] for message in caplog.messages] == [" is removed"]
    os.kill(alive.pid, signal.SIGKILL)
    alive.wait()
    with beside(place):
        pass
    names = {file.name for file in tmp_path.iterdir()}
    kept = {"run-vllm-0123abcd.partial", "run-vllm-2-0123abcd.partial", "run-vllm-2-0123abcd.partial.lock"}
    assert names == {"run-vllm", *kept}


def test_what_is_in_the_way_of_clearing_up_stops_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Breaks if a link in a folder that others write to, or a folder that may not be listed, ends an export."""
    place = tmp_path / "run-vllm"
    left = tmp_path / "run-vllm-0123abcd.partial"
    left.mkdir()
    (tmp_path / "theirs").touch()
    (tmp_path / f"{left.name}.lock").symlink_to(tmp_path / "theirs")
    with beside(place):
        pass
    assert left.is_dir()
    denied = PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    monkeypatch.setattr(Path, "iterdir", Mock(side_effect=denied))
    with beside(place) as partial:
        partial.rename(place)
    assert place.is_dir()
