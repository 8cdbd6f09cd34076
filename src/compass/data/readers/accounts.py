"""What became of a source: its shape, which columns were used and for what, and which rows were left out."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from compass.data.example import Dropped
from compass.data.readers.formats import Row
from compass.data.readers.hints import listed
from compass.data.readers.labelled import LABEL_NOTES
from compass.data.readers.shapes import READ_FIELDS, Shape
from compass.errors import DataError

logger = logging.getLogger(__name__)


class NoUsableRowError(DataError):
    """A source that was read to its end, and none of whose rows can be used."""


@dataclass
class SourceAccount:
    """One source as it was read."""

    name: str
    """The file, or the data set's name: what the places of its rows begin with."""
    shape: Shape
    used: dict[str, str] = field(default_factory=dict)
    """Columns of the source of which a value was read -> our names for them."""
    columns: dict[str, bool] = field(default_factory=dict)
    """All columns of the source, in their order -> whether a row has a value there."""
    rows: int = 0
    """Rows that were read, those left out among them."""
    dropped: list[Dropped] = field(default_factory=list)
    """Rows that could not be used."""
    first: str = ""
    """What is wrong with the first of them."""
    theirs: Mapping[str, str] = field(default_factory=dict)
    """Our spelling of a column's name -> that of the source, where the two differ."""

    def see(self, row: Row) -> None:
        """Count a row and note its columns."""
        self.rows += 1
        for column, value in row.items():
            if not self.columns.get(column):
                self.columns[column] = value is not None

    def leave_out(self, row: Dropped, why: str) -> None:
        """Note a row that can't be used. why: the whole message."""
        self.dropped.append(row)
        self.first = self.first or why

    def add(self, part: SourceAccount) -> None:
        """Take in the account of a part of the source."""
        self.rows += part.rows
        self.used |= part.used
        for column, filled in part.columns.items():
            self.columns[column] = self.columns.get(column, False) or filled
        self.dropped += part.dropped
        self.first = self.first or part.first
        self.theirs = {**self.theirs, **part.theirs}

    def finish(self) -> None:
        """Say what was not used. Raises NoUsableRowError if that is every row."""
        counts = Counter(row.reason for row in self.dropped)
        reasons = ", ".join(f"{n} {reason}" for reason, n in counts.most_common())
        if self.dropped and len(self.dropped) == self.rows:
            raise NoUsableRowError(
                f"{self.name}: none of its {self.rows} rows can be used: {reasons}. The first: {self.first}"
            )
        if self.dropped:
            logger.warning(
                "%s: %d of %d rows are left out: %s. The first: %s", self.name, len(self.dropped), self.rows, reasons,
                self.first,
            )  # fmt: skip
        if self.unused:
            logger.warning("%s: columns that are not used: %s", self.name, listed(self.unused))

    @property
    def uses(self) -> dict[str, str]:
        """Columns of the source that were used -> what for."""
        whole = {name: self.shape.use(name) for name in self.shape.as_named if self.columns.get(name)}
        mapped = {theirs: self.shape.use(ours) for theirs, ours in self.used.items()}
        found = whole | mapped
        return {self._spelt(column): found[column] for column in self.columns if found.get(column)}

    def _spelt(self, column: str) -> str:
        return self.theirs.get(column, column)

    @property
    def unused(self) -> list[str]:
        """Columns that were not used, but not those of a name that we know without a value in any row, or our own."""
        uses = self.uses
        own = LABEL_NOTES if self.columns.keys() >= LABEL_NOTES else frozenset()
        return [
            self._spelt(name)
            for name, filled in self.columns.items()
            if self._spelt(name) not in uses and name not in own and (filled or name not in READ_FIELDS)
        ]
