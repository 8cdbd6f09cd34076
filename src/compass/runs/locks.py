"""One process at a time: the lock of a folder or a database, which goes with the process that holds it."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from compass.errors import CompassError, RunError

NOT_WRITABLE = {errno.EACCES, errno.EPERM, errno.EROFS}


@contextmanager
def held(file: Path, taken: CompassError) -> Iterator[None]:
    """Keep other processes out while the block runs.

    Raises `taken` if one is at work, RunError if the lock's folder may not be written to.
    """
    # What is opened in one thread may be closed in another.
    lock = FileLock(file, thread_local=False)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except Timeout as error:
        raise taken from error
    except OSError as error:
        if error.errno not in NOT_WRITABLE:
            raise
        raise RunError(
            f"{file.parent} can't be written to: {error.strerror}. Make it writable, or copy the whole folder and name "
            "the copy."
        ) from error
    try:
        yield
    finally:
        lock.release()
