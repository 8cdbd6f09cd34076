"""Log files as they lie in a folder: plain or compressed, told from each other by their first line."""

from __future__ import annotations

import gzip
import hashlib
import os
import zlib
from pathlib import Path
from typing import IO

HEAD_BYTES = 4096
"""Bytes of a file's first line that tell it from another file of its name."""
TAIL_BYTES = 4096
"""Bytes before a place that tell whether it is one in this file [ours]."""
UNREADABLE = (OSError, EOFError, zlib.error)
"""What reading a file may raise that is gone, may not be read, or is not whole."""


def name_of(file: Path, folder: Path) -> str:
    """Return the name of a file within a folder, as a database takes it."""
    # Names need not be valid text on Linux.
    return file.relative_to(folder).as_posix().encode("utf-8", "backslashreplace").decode("utf-8")


def is_compressed(file: Path) -> bool:
    """Say whether a file is unpacked as it is read."""
    return file.suffix.lower() == ".gz"


def open_log(file: Path) -> IO[bytes]:
    """Open a file to read what is in it. Raises OSError."""
    return gzip.open(file) if is_compressed(file) else file.open("rb")  # type: ignore[return-value]


def stamp_of(file: Path | str) -> tuple[int, int]:
    """Return what tells that a file has changed, its size first; zeros if it is gone."""
    try:
        found = os.stat(file)
    except OSError:
        return 0, 0
    return found.st_size, found.st_mtime_ns


def whole_size(file: Path) -> int:
    """Return the size of a compressed file's content in bytes, modulo 2**32, as gzip wrote it down; 0 if it is gone."""
    try:
        with file.open("rb") as stream:
            stream.seek(max(0, stream.seek(0, 2) - 4))
            return int.from_bytes(stream.read(4), "little")
    except OSError:
        return 0


def head(first: bytes) -> str:
    """Return what tells a file from another one of its name, from its first line."""
    return hashlib.sha256(first.rstrip(b"\n")).hexdigest()[:32]


def head_of(file: Path) -> str:
    """Return the head of a file; empty if it is gone or can't be read."""
    try:
        with open_log(file) as stream:
            return head(stream.readline(HEAD_BYTES))
    except UNREADABLE:
        return ""


def before(stream: IO[bytes], end: int) -> bytes | None:
    """Return the bytes before a place, where the stream stands afterwards; None if the file is not that long."""
    size = min(end, TAIL_BYTES)
    stream.seek(end - size)
    found = stream.read(size)
    return found if len(found) == size else None


def tail(bytes_before: bytes) -> str:
    """Return what tells the bytes before a place."""
    return hashlib.sha256(bytes_before[-TAIL_BYTES:]).hexdigest()[:32]


def is_tail(bytes_before: bytes, of: str) -> bool:
    """Say whether a log that has kept its name still holds what was read of it.

    of: its tail, empty if an earlier version read it. Lines that `compass serve` has blanked since tell nothing.
    """
    blanked = any(line and not line.strip(b" ") for line in bytes_before.split(b"\n"))
    return not of or blanked or tail(bytes_before) == of
