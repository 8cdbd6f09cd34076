"""Another answer to a signal for a while."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

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


def ended(number: int, _frame: Any) -> None:
    """End this process as Ctrl-C does, cleaning up on the way, and not at once. Raises SystemExit."""
    raise SystemExit(128 + number)
