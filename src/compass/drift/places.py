"""How far each log was read, whatever it is called now: logs are renamed, copied, compressed and cut."""

from __future__ import annotations

import logging
import os
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from compass.drift.log_files import (
    HEAD_BYTES,
    UNREADABLE,
    before,
    head,
    head_of,
    is_compressed,
    is_tail,
    name_of,
    open_log,
    stamp_of,
    tail,
)
from compass.drift.rotation import log_of, origins
from compass.drift.state import Position

logger = logging.getLogger(__name__)

CHUNK_BYTES = 2**20
BEGINNING_BYTES = 2**14
"""Bytes of each file that are kept for a round, so that files which differ there are not read for each other."""
ANOTHER = "is another file"
"""Why a place does not hold: the name has gone to a file that begins otherwise."""


@dataclass(frozen=True)
class _Shared:
    """The beginning that a file has in common with another one."""

    stamps: tuple[tuple[int, int], tuple[int, int]] = ((0, 0), (0, 0))
    """Of the two files when they were compared."""
    size: int = 0
    """Bytes."""
    lines: int = 0
    """Bytes of its whole lines."""
    all: bool = False
    """Whether there is nothing more in the file."""
    same: bool = False
    """Nor in the other one."""


class Places:
    """Remembers how far each file was read, and finds that again under another name or in a copy."""

    def __init__(self, folder: Path, offsets: Mapping[str, Position]) -> None:
        """offsets: where each file was left, by its name in the folder."""
        self._folder = folder
        self._now = dict(offsets)
        self._left: list[Position] = []
        """Places of files whose names others have now: they may come under another one."""
        self._loose: dict[str, list[Position]] = {}
        """Head -> places of files that are no longer what they were."""
        self._after: dict[str, set[str]] = defaultdict(set)
        """Name -> names that go on from it."""
        self._found: set[str] = set()
        """Files that were found again under a new name, which is not on record yet."""
        self._compared: dict[tuple[Path, str], _Shared] = {}
        self._quiet: dict[Path, tuple[int, int]] = {}
        """Stamps of files with a place of their own, which need no comparison until they change."""
        self._held: dict[Path, tuple[tuple[int, int], Position, bool]] = {}
        """Whether a file, by its stamp, holds a place: known for a round, of a compressed one until it changes."""
        self._beginnings: dict[str, tuple[tuple[int, int], bytes]] = {}
        """Stamps and first bytes of the files that were compared in this round."""
        self._moved: dict[str, str] = {}
        self._copies: dict[str, str] = {}
        self._told: set[str] = set()
        for name in offsets:
            self._know(name)

    def get(self, name: str) -> Position | None:
        """Return where a file was left; None if it is new."""
        return self._now.get(name)

    def put(self, place: Position) -> None:
        """Remember how far a file was read."""
        earlier = self._now.get(place.source)
        if earlier and earlier.head != place.head:
            self._left.append(earlier)
            self._loose.setdefault(_bare(earlier.head), []).append(earlier)
        self._know(place.source)
        self._now[place.source] = place
        self._found.discard(place.source)

    def to_record(self, name: str) -> Position | None:
        """Return the place of a file under a new name that is not on record yet: the next process has to know it."""
        place = self._now[name] if name in self._found else None
        return Position(name, place.end, place.end, place.head, place.tail) if place else None

    def in_order(self, files: Iterable[Path]) -> list[Path]:
        """Return files as they are to be read: first those under a new name, before another takes the one they had.

        So a process that is killed in between finds them again. `app.jsonl.2` was `app.jsonl.1`, and comes before it.
        Their places are found before any is read: a copy may be of one that comes after it.
        """
        files = list(files)
        self._beginnings = {}
        self._held = {file: known for file, known in self._held.items() if is_compressed(file)}
        held = {name for name, place in self._now.items() if self._holds(self._folder / name, place)}
        self._loose = {}
        for place in (*(place for name, place in self._now.items() if name not in held), *self._left):
            self._loose.setdefault(_bare(place.head), []).append(place)
        heads = {_bare(place.head) for place in (*self._now.values(), *self._left)}
        new = {file for file in files if name_of(file, self._folder) not in held and head_of(file) in heads}
        first = sorted(new, key=lambda file: (len(file.name), file.name), reverse=True)
        read = set(files)
        for file in first:
            self.look(file, read)
        return [*first, *(file for file in files if file not in new)]

    def look(self, file: Path, read: Collection[Path]) -> bool:
        """Find the place of a file under a new name or of a copy; return False if all of it is read from another file.

        read: the files that are read. What a file has in common with a log that its name goes on from is read from
        that one, if it goes as far as that was read, or is no more than a beginning of it.
        """
        name, stamp = name_of(file, self._folder), stamp_of(file)
        own = self._now.get(name)
        own = own if own and self._holds(file, own) else None
        if own and self._quiet.get(file) == stamp:
            return True
        end, source, whole = self._copied(file, name, read)
        if not own and not whole:
            end, source = max((end, source), self._continued(file, name))
        if own and not own.tail:
            # Of an earlier version; under another name it would not be found again.
            end = max(end, own.end)
        if end and (not own or end > own.end or not own.tail) and (tail_ := _tail_at(file, end)):
            first = own.head if own else again(head_of(file), self._now.get(name))
            self.put(Position(name, 0, end, first, tail_))
            self._found.add(name)
            if not own and not whole:
                self._moved[name] = source
        if whole:
            self._copies[name] = source
        elif own:
            self._quiet[file] = stamp
            for other in self._family(name):
                self._compared.pop((file, other), None)
        return not whole

    def tell(self) -> None:
        """Say once of which files only a part is read, or nothing, since it was or is read from others."""
        copies = {name: of for name, of in self._copies.items() if name not in self._told}
        if self._moved:
            logger.warning("%s; read from where that stopped", _some(self._moved, "continues"))
        if copies:
            logger.warning("%s; left out, so that nothing is counted twice", _some(copies, "is a copy of"))
        self._told.update(copies)
        self._moved, self._copies = {}, {}

    def _know(self, name: str) -> None:
        if name not in self._after[name]:
            for origin in (name, *origins(name)):
                self._after[origin].add(name)

    def _family(self, name: str) -> AbstractSet[str]:
        """Return the names on record that this one goes on from, or that go on from the same log."""
        return ((origins(name) & self._now.keys()) | self._after.get(log_of(name), set())) - {name}

    def _holds(self, file: Path, place: Position) -> bool:
        """Say whether a file is still the one that its place is of, and as long."""
        stamp = stamp_of(file)
        if (known := self._held.get(file)) and known[:2] == (stamp, place):
            return known[2]
        try:
            with open_log(file) as stream:
                holds = not held(stream, place, head(stream.readline(HEAD_BYTES)))[1]
        except UNREADABLE:
            holds = False
        self._held[file] = stamp, place, holds
        return holds

    def _beginning(self, name: str) -> bytes:
        path = os.path.join(self._folder, name)
        stamp = stamp_of(path)
        if (known := self._beginnings.get(name)) and known[0] == stamp:
            return known[1]
        try:
            with open_log(Path(path)) as stream:
                found = _read(stream, BEGINNING_BYTES)
        except UNREADABLE:
            found = b""
        self._beginnings[name] = stamp, found
        return found

    def _copied(self, file: Path, name: str, read: Collection[Path]) -> tuple[int, str, bool]:
        """Return how far a file is a copy of another one that is there, of which, and whether it is nothing more."""
        best, source, whole = 0, "", False
        if not (family := self._family(name) | {of for of in origins(name) if self._folder / of in read}):
            return best, source, whole
        first, own = head_of(file), self._beginning(name)
        # The log itself comes last, and so before its other copies where they tell the same.
        for other in sorted(family, key=lambda one: (len(one), one), reverse=True):
            # A log is no copy of what goes on from it.
            if name in origins(other):
                continue
            place, beginning = self._now.get(other), self._beginning(other)
            size = min(len(own), len(beginning), place.end if place and place.end else BEGINNING_BYTES)
            if own[:size] != beginning[:size]:
                # Nor all of the file nor all that was read of the other one is the same.
                continue
            there = self._folder / other
            if not place or not self._holds(there, place):
                # What was not read yet will be, so of that a copy is left out too.
                place = Position(other, 0, 0, head_of(there))
            if not is_of(place, first) or not (place.end or there in read):
                continue
            shared = self._compare(file, place)
            if not shared.all and shared.size < place.end:
                continue
            # The last line that was read may have no end.
            lines = max(shared.lines, place.end) if shared.size >= place.end else shared.lines
            # Of two that are the same, one has to be read.
            copy = shared.all and there in read
            copy = copy and (not shared.same or (len(other), other) < (len(name), name))
            # What is not counted yet is left to the other one only as a whole: two could leave it to each other.
            end = min(lines, place.end)
            if (copy, end) >= (whole, best):
                best, source, whole = end, other, copy
        return best, source, whole

    def _continued(self, file: Path, name: str) -> tuple[int, str]:
        """Return the furthest place in a file of one that is gone or is another one now, and what that was called."""
        places: dict[int, list[Position]] = defaultdict(list)
        for place in self._loose.get(head_of(file), ()):
            if place.tail and name not in origins(place.source):
                places[place.end].append(place)
        best = (0, "")
        try:
            with open_log(file) as stream:
                for end in sorted(places):
                    if (found := before(stream, end)) is None:
                        break
                    same = [place.source for place in places[end] if place.tail == tail(found)]
                    best = (end, same[-1]) if same else best
        except UNREADABLE:
            pass
        return best

    def _compare(self, file: Path, place: Position) -> _Shared:
        """Return what a file has in common with one that is there; only what was not compared before is read."""
        other = self._folder / place.source
        stamps = stamp_of(file), stamp_of(other)
        known = self._compared.get((file, place.source), _Shared())
        if known.stamps == stamps or (known.all and not known.same and known.stamps[0] == stamps[0]):
            return known
        if stamps[0][0] < known.size or not known.all:
            known = _Shared()
        self._compared[file, place.source] = found = _shared(file, other, known, stamps)
        return found


def is_of(place: Position, head: str) -> bool:
    """Say whether a place is of the file with this head, however often that was cut since."""
    return _bare(place.head) == head


def held(stream: IO[bytes], place: Position, head: str) -> tuple[bytes, str]:
    """Return the bytes before a place in a file with this head, and why the place does not hold; empty if it does."""
    if not is_of(place, head):
        return b"", ANOTHER
    found = before(stream, place.end)
    if found is None:
        return b"", "has become shorter"
    return (found, "") if is_tail(found, place.tail) else (b"", "no longer holds what was read of it")


def again(head: str, place: Position | None) -> str:
    """Return the head of a file under a name, told from that of the file that had this name and began alike."""
    return f"{head}+{int(place.head.partition('+')[2] or 0) + 1}" if place and is_of(place, head) else head


def _bare(head: str) -> str:
    return head.partition("+")[0]


def _some(names: Mapping[str, str], what: str) -> str:
    some = ", ".join(f"{name} {what} {of}" for name, of in sorted(names.items())[:3])
    return some + (f" and so with {len(names) - 3} more" if len(names) > 3 else "")


def _tail_at(file: Path, end: int) -> str:
    """Return the tail of a file at a place; empty if it can't be read that far."""
    try:
        with open_log(file) as stream:
            found = before(stream, end)
    except UNREADABLE:
        return ""
    return tail(found) if found is not None else ""


def _shared(file: Path, other: Path, known: _Shared, stamps: tuple[tuple[int, int], tuple[int, int]]) -> _Shared:
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
                    return _Shared(stamps, size, lines)
            return _Shared(stamps, size, lines, all=True, same=not _read(two, 1))
    except UNREADABLE:
        return _Shared()


def _read(stream: IO[bytes], size: int) -> bytes:
    """Read up to so many bytes; none where a compressed file is not whole yet."""
    try:
        return stream.read(size)
    except UNREADABLE:
        return b""
