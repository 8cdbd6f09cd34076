"""What a page is made of: sections of blocks, each of which the template knows how to draw."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from plotly.graph_objects import Figure


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell. `lang` sets the language and lets the text find its own direction; `tone` is good, bad, quiet or id."""

    text: str
    lang: str = ""
    tone: str = ""
    code: bool = False
    href: str = ""
    """Where a click leads, relative to the page."""


@dataclass(frozen=True, slots=True)
class Row:
    """Cells from left to right; `data` holds the values that the table's filters look at."""

    cells: tuple[Cell, ...]
    data: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Filter:
    """A choice above a table: `options` are (value, label) pairs, compared with the rows' `data[key]`."""

    key: str
    label: str
    options: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Table:
    """A table. Columns whose title starts with `#` are numbers (the sign is not shown)."""

    caption: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    id: str = ""
    note: str = ""
    filters: tuple[Filter, ...] = ()
    searchable: bool = False
    collapsed: bool = False
    kind: str = "table"


@dataclass(frozen=True, slots=True)
class Toggle:
    """A switch for one trace of a figure, which doubles as its legend."""

    trace: int
    label: str
    colour: str
    symbol: str


@dataclass(frozen=True)
class Chart:
    """A figure with the sentence that says what it shows and, beside it, its numbers as a table."""

    id: str
    title: str
    summary: str
    figure: Figure
    table: Table | None = None
    toggles: tuple[Toggle, ...] = ()
    kind: str = "chart"


@dataclass(frozen=True, slots=True)
class Charts:
    """Small figures side by side."""

    charts: tuple[Chart, ...]
    kind: str = "charts"


@dataclass(frozen=True, slots=True)
class Text:
    """A paragraph; `tone` is lead, note (something is missing here), quiet or plain."""

    text: str
    tone: str = ""
    kind: str = "text"


@dataclass(frozen=True, slots=True)
class Facts:
    """Terms with their values, side by side."""

    items: tuple[tuple[str, str], ...]
    kind: str = "facts"


@dataclass(frozen=True, slots=True)
class Code:
    """Commands to copy."""

    text: str
    kind: str = "code"


Block = Table | Chart | Charts | Text | Facts | Code


@dataclass(frozen=True, slots=True)
class Section:
    """One titled part of the page; `nav` is its short name in the bar at the top."""

    id: str
    nav: str
    title: str
    blocks: tuple[Block, ...]


def table(
    caption: str,
    columns: Sequence[str],
    rows: Sequence[Sequence[str | Cell]],
    *,
    id: str = "",
    note: str = "",
    collapsed: bool = False,
) -> Table:
    """Return a table of plain rows; strings become cells."""
    return Table(
        caption=caption,
        columns=tuple(columns),
        rows=tuple(Row(tuple(cell if isinstance(cell, Cell) else Cell(cell) for cell in row)) for row in rows),
        id=id,
        note=note,
        collapsed=collapsed,
    )
