"""How far each log was read, whatever it is called now: logs are renamed, copied, compressed and cut."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from compass.drift.log_files import UNREADABLE, head_of, is_compressed, name_of, open_log, stamp_of
from compass.drift.state import Position

logger = logging.getLogger(__name__)

CHUNK_BYTES = 2**20


@dataclass(frozen=True)
class _Shared:
    """The beginning that a file has in common with another one."""

    stamp: tuple[int, int] = (0, 0)
    """Of the file when the two were compared."""
    size: int = 0
    """Bytes."""
    lines: int = 0
    """Bytes of its whole lines."""
    all: bool = False
    """Whether there is nothing more in the file."""


class Places:
    """Remembers how far each file was read, and finds that again under another name or in a copy."""

    def __init__(self, folder: Path, offsets: Mapping[str, Position]) -> None:
        """offsets: where each file was left, by its name in the folder."""
        self._folder = folder
        self._now = dict(offsets)
        self._left: list[Position] = []
        """Places of files whose names others have now: they may come under another one."""
        self._found: set[str] = set()
        """Files that were found again under a new name, which is not on record yet."""
        self._compared: dict[tuple[Path, str], _Shared] = {}

    def get(self, name: str) -> Position | None:
        """Return where a file was left; None if it is new."""
        return self._now.get(name)

    def put(self, place: Position) -> None:
        """Remember how far a file was read."""
        before = self._now.get(place.source)
        if before and before.head != place.head:
            self._left.append(before)
        self._now[place.source] = place
        self._found.discard(place.source)

    def to_record(self, name: str) -> Position | None:
        """Return the place of a file under a new name that is not on record yet: the next process has to know it."""
        place = self._now[name] if name in self._found else None
        return Position(name, place.end, place.end, place.head) if place else None

    def in_order(self, files: Iterable[Path]) -> list[Path]:
        """Return files as they are to be read: first those under a new name, before another takes the one they had.

        So a process that is killed in between finds them again. `app.jsonl.2` was `app.jsonl.1`, and comes before it.
        """
        files = list(files)
        heads = {_bare(place.head) for place in (*self._now.values(), *self._left)}
        new = [file for file in files if self._own(file, found := head_of(file)) is None and found in heads]
        return [*sorted(new, key=lambda file: (len(file.name), file.name), reverse=True),
                *(file for file in files if file not in new)]  # fmt: skip

    def look(self, file: Path, read: Collection[Path]) -> bool:
        """Find the place of a file under a new name or of a copy; return False if all of it is read from another file.

        read: the files that are read. What a file has in common with one of them, from its start, is read from that
        one; what it has in common with another one only as far as that was read.
        """
        head = head_of(file)
        if self._own(file, head) is not None:
            return True
        begins: list[tuple[int, Position]] = []
        for place in [place for place in (*self._now.values(), *self._left) if _bare(place.head) == head]:
            other = self._folder / place.source
            if place != self._now.get(place.source) or not _holds(other, place):
                # Cut, or gone. A copy may be older than the place.
                begins.append((place.end if is_compressed(file) else min(place.end, stamp_of(file)[0]), place))
                continue
            shared = self._compare(file, place)
            if shared.all and other in read:
                return False
            # The last line that was read may have no end.
            lines = max(shared.lines, place.end) if shared.size >= place.end else shared.lines
            begins.append((lines if other in read else min(lines, place.end), place))
        if any(end for end, _ in begins):
            end, place = max(begins, key=lambda found: found[0])
            name = name_of(file, self._folder)
            logger.info("%s continues %s; it is read from where that stopped", name, place.source)
            self.put(Position(name, 0, end, place.head))
            self._found.add(name)
        return True

    def _own(self, file: Path, head: str) -> Position | None:
        place = self._now.get(name_of(file, self._folder))
        return place if place and _bare(place.head) == head else None

    def _compare(self, file: Path, place: Position) -> _Shared:
        """Return what a file has in common with one that is there; only what was not compared before is read."""
        other, stamp = self._folder / place.source, stamp_of(file)
        known = self._compared.get((file, place.source), _Shared())
        if known.all and known.stamp == stamp:
            return known
        if stamp[0] < known.size or not known.all:
            known = _Shared()
        self._compared[file, place.source] = found = _shared(file, other, known, stamp)
        return found


def is_of(place: Position, head: str) -> bool:
    """Say whether a place is of the file with this head, however often that was cut since."""
    return _bare(place.head) == head


def _bare(head: str) -> str:
    return head.partition("+")[0]


def _holds(file: Path, place: Position) -> bool:
    """Say whether a file is still the one that a place is of."""
    return head_of(file) == _bare(place.head) and (is_compressed(file) or stamp_of(file)[0] >= place.end)


def _shared(file: Path, other: Path, known: _Shared, stamp: tuple[int, int]) -> _Shared:
    """Compare two files from where they are known to be the same."""
    size, lines = known.size, known.lines
    try:
        with open_log(file) as one, open_log(other) as two:
            one.seek(size)
            two.seek(size)
            while chunk := _read(one, CHUNK_BYTES):
                there = _read(two, len(chunk))
                same = len(chunk)
                if chunk != there:
                    pairs = enumerate(zip(chunk, there, strict=False))
                    same = next((place for place, (a, b) in pairs if a != b), len(there))
                lines = size + chunk.rfind(b"\n", 0, same) + 1 if b"\n" in chunk[:same] else lines
                size += same
                if same < len(chunk):
                    return _Shared(stamp, size, lines)
    except UNREADABLE:
        return _Shared()
    return _Shared(stamp, size, lines, all=True)


def _read(stream: IO[bytes], size: int) -> bytes:
    """Read up to so many bytes; none where a compressed file is not whole yet."""
    try:
        return stream.read(size)
    except UNREADABLE:
        return b""
