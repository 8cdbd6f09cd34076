"""Ids of rows: unique within a source, made from the content where a row has none."""

from __future__ import annotations

import hashlib
from collections.abc import Container
from dataclasses import dataclass, field
from itertools import chain
from typing import NamedTuple

from compass.data.readers.shapes import Content
from compass.errors import DataError


@dataclass
class UniqueIds:
    """Ids made unique: one that was there before gets `-2`, `-3` and so on."""

    seen: dict[str, int] = field(default_factory=dict)

    def make(self, wanted: str, taken: Container[str] = ()) -> str:
        """Return the id, or the first numbered one that is neither made before nor taken."""
        name = wanted
        while name in self.seen or name in taken:
            self.seen[wanted] = self.seen.get(wanted, 1) + 1
            name = f"{wanted}-{self.seen[wanted]}"
        self.seen[name] = 1
        return name


@dataclass
class SourceIds:
    """The ids of one source: those of its rows, each with its place, and those made from content."""

    name: str
    given: dict[str, str] = field(default_factory=dict)
    made: UniqueIds = field(default_factory=UniqueIds)

    def check(self, place: str, given: str) -> str:
        """Return a row's own id. Raises DataError, with both places, if it was there before."""
        if given in self.given or given in self.made.seen:
            before = self.given.get(given, "an earlier row without an id")
            raise DataError(
                f"{self.name}, {place}: the id {given!r} occurs twice, first in {before}. Ids must be unique: correct "
                "them, map another column (id=...), or ignore them (id= with nothing after it)."
            )
        self.given[given] = place
        return given

    def make(self, content: Content) -> str:
        """Return an id made from prompt, response and context: the same in every run."""
        return self.made.make(_digest(content), self.given)

    def named(self, found: FoundId) -> str:
        """Return the id of a row that was found in a part of the source. Raises DataError as `check`."""
        return self.check(found.place, found.id) if found.place else self.made.make(found.id, self.given)


class FoundId(NamedTuple):
    """An id in a part of a source, which does not know the other parts'."""

    id: str
    place: str
    """Of the row whose own it is; empty where it was made from content."""


@dataclass
class FoundIds:
    """The ids of a part of a source, for `SourceIds.named`."""

    found: list[FoundId] = field(default_factory=list)

    def check(self, place: str, given: str) -> str:
        """Note a row's own id."""
        self.found.append(FoundId(given, place))
        return given

    def make(self, content: Content) -> str:
        """Note an id that is made from content."""
        self.found.append(FoundId(_digest(content), ""))
        return self.found[-1].id


Ids = SourceIds | FoundIds


def _digest(content: Content) -> str:
    digest = hashlib.blake2b(digest_size=8)
    turns = ((turn.role, turn.content) for turn in content.context)
    for part in chain((content.prompt, content.response), *turns):
        digest.update(part.encode("utf-8", "surrogatepass") + b"\0")
    return digest.hexdigest()
