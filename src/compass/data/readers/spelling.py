"""Names of columns in another spelling: `Response`, ` prompt`, `System Prompt`."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field

from compass.data.readers.formats import PlacedRow, Row
from compass.data.readers.hints import plain_name

MOST_KINDS = 1000
"""Sets of columns that are remembered: the rows of a log may each have their own."""


@dataclass
class Spelling:
    """Gives columns our spelling of their names.

    A column keeps its name where a mapping names it, or where the row has a column of our name already.
    """

    known: Collection[str]
    """Names that we know."""
    kept: Collection[str] = ()
    """Columns that a mapping names."""
    theirs: dict[str, str] = field(default_factory=dict)
    """Our name -> that of the source, where the two differ."""
    _changes: dict[tuple[str, ...], dict[str, str]] = field(default_factory=dict)

    def respelt(self, rows: Iterator[PlacedRow]) -> Iterator[PlacedRow]:
        """Yield rows with our names for their columns."""
        for place, row in rows:
            yield place, self.row(row)

    def row(self, row: Row) -> Row:
        """Return a row with our names for its columns."""
        names = tuple(row)
        if names not in self._changes:
            if len(self._changes) > MOST_KINDS:
                self._changes.clear()
            self._changes[names] = self._of(row)
        if not (changes := self._changes[names]):
            return row
        return {changes.get(name, name): value for name, value in row.items()}

    def _of(self, row: Mapping[str, object]) -> dict[str, str]:
        changes: dict[str, str] = {}
        for name in row:
            if name in self.known or name in self.kept:
                continue
            ours = plain_name(name)
            if ours in self.known and ours not in row and ours not in changes.values():
                changes[name] = ours
                self.theirs[ours] = name
        return changes
