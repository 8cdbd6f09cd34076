"""Another answer to a signal for a while, and an end with the process that started this one."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

PARENT = "COMPASS_ENDS_WITH"
"""Variable of the environment with the process whose end is this one's too."""
LOOK_EVERY_SECONDS = 1.0

STOPPED = (KeyboardInterrupt, SystemExit)
"""What Ctrl-C raises, and `ended`."""

Handler = Callable[[int, Any], None] | signal.Handlers


@contextmanager
def handled(number: signal.Signals, handler: Handler) -> Iterator[None]:
    """Answer a signal by `handler`, and as before afterwards. Only the main thread may: elsewhere nothing changes."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(number, handler)
    try:
        yield
    finally:
        signal.signal(number, before)


def name_of(number: int) -> str:
    """Return the name of a signal; real-time signals have none but their number."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def ended(number: int, _frame: Any) -> None:
    """End this process as Ctrl-C does, cleaning up on the way, and not at once. Raises SystemExit."""
    raise SystemExit(128 + number)


def ending_with_this(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment for a command of ours that is to end with this process, see `end_with_parent`."""
    return {**environment, PARENT: str(os.getpid())}


def end_with_parent() -> None:
    """End this process once its parent is gone, if the environment names it: one that is killed ends nothing itself.

    Not on Windows, where a process keeps the number of its parent.
    """
    parent = os.environ.pop(PARENT, "")
    if parent == str(os.getppid()):
        end_with(int(parent))


def end_with(parent: int) -> None:
    """End this process once its parent is gone. Not on Windows, see `end_with_parent`."""
    threading.Thread(target=_end_after, args=(parent,), name="end-with-parent", daemon=True).start()


def _end_after(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(LOOK_EVERY_SECONDS)
    os.kill(os.getpid(), signal.SIGTERM)
