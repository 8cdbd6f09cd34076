"""A folder that is written beside its place; what a killed process left of one is removed by the next."""

from __future__ import annotations

import logging
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from compass.errors import RunError
from compass.runs.files import PARTIAL
from compass.runs.locks import held

logger = logging.getLogger(__name__)


@contextmanager
def beside(folder: Path) -> Iterator[Path]:
    """Yield a new folder beside a place, to be filled and renamed to it; it is gone when the block ends otherwise.

    Those of processes that were killed are removed, with a line in the log. Whose process is at work, and what has no
    lock of ours beside it, stays.
    """
    folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    _remove_left(folder)
    partial = folder.with_name(f"{folder.name}-{secrets.token_hex(4)}{PARTIAL}")
    lock = _lock_of(partial)
    # The lock first: a folder with a lock that nobody holds is a killed process's.
    with held(lock, RunError(f"{lock} is held by another process. Start again.")):
        try:
            partial.mkdir(mode=0o700)
            yield partial
        finally:
            shutil.rmtree(partial, ignore_errors=True)
            with suppress(OSError):
                lock.unlink()


def _remove_left(folder: Path) -> None:
    ours = re.compile(rf"{re.escape(folder.name)}-[0-9a-f]{{8}}{re.escape(PARTIAL)}")
    there: list[Path] = []
    # A folder may be written to and not listed.
    with suppress(OSError):
        there = sorted(folder.parent.iterdir())
    for left in there:
        lock = _lock_of(left)
        if not ours.fullmatch(left.name) or left.is_symlink() or not left.is_dir() or not lock.is_file():
            continue
        # Held: its process is at work. Not writable, or a link: not ours to remove.
        with suppress(RunError, OSError), held(lock, RunError(f"{left} is being written.")):
            shutil.rmtree(left, ignore_errors=True)
            if not left.exists():
                logger.warning("%s is removed: a process that was killed left it", left)
                lock.unlink()


def _lock_of(partial: Path) -> Path:
    return partial.with_name(f"{partial.name}.lock")
