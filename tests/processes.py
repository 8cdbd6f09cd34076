"""Ports for other processes, waiting for what they do, and killing them in the middle of it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from forked import Forked


def free_port() -> int:
    """Return a port that nothing listens on."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def wait_for(condition: Callable[[], bool], seconds: float = 60, every: float = 0.05) -> None:
    """Fail if the condition does not hold within so many seconds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(every)


def kill_when(
    process: subprocess.Popen[bytes] | Forked,
    condition: Callable[[], bool],
    seconds: float = 600,
    *,
    group: bool = False,
) -> None:
    """Send `kill -9` once the condition holds, to the process or its group; fail if it ends before that."""

    def holds() -> bool:
        assert process.poll() is None, "the process ended before it could be killed"
        return condition()

    wait_for(holds, seconds, every=0.01)
    (os.killpg if group else os.kill)(process.pid, signal.SIGKILL)


def is_alive(pid: int) -> bool:
    """Say whether a process runs; one that ended and waits to be collected does not."""
    try:
        os.kill(pid, 0)
        return ") Z" not in Path(f"/proc/{pid}/stat").read_text()
    except (ProcessLookupError, FileNotFoundError):
        return False
