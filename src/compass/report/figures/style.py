"""What all figures share: colours, sizes, named rows, and texts that plotly can't read as markup.

Colours are from, or near, the Okabe-Ito palette (Okabe and Ito 2008, "Color Universal Design"), of one lightness that
holds on white and on near-black; where two series stand side by side, shape or hatching tells them apart too.
Text colours and grid lines are left to the page, which sets them for light, dark and print.
"""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from plotly.graph_objects import Figure


USAGE = "#2b83c6"

CURRENT = "#d39a0b"

PICKED = "#0c9b76"

BEYOND = "#8fcfbb"
MISSING = "#d55e00"

POOL = "#98a1ac"

BEFORE = "#8791a0"

AFTER = "#2b83c6"

ROW_HEIGHT = 30
"""Pixels of one bar or dot row with its label."""


def new_figure(rows: int, *, row_height: int = ROW_HEIGHT, height: int = 0) -> Figure:
    import plotly.graph_objects as go

    figure = go.Figure()
    styled(figure, height=height or 86 + max(rows, 1) * row_height)
    return figure


def styled(figure: Figure, *, height: int) -> None:
    # Without the default template, whose colours would be repeated in every figure and fight the dark page.
    figure.update_layout(
        template={},
        height=height,
        margin={"l": 8, "r": 16, "t": 30, "b": 48},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"size": 13},
        legend={"orientation": "h", "x": 0, "xanchor": "left", "y": 1, "yanchor": "bottom", "traceorder": "normal"},
        hoverlabel={"align": "left"},
    )
    figure.update_xaxes(automargin=True, zeroline=False, title_standoff=10, fixedrange=False)
    figure.update_yaxes(automargin=True, zeroline=False)


def name_rows(figure: Figure, names: Sequence[str]) -> Figure:
    """Name the rows of a horizontal figure, the first on top. The page shortens the names on narrow screens."""
    figure.update_yaxes(
        tickvals=list(range(len(names))),
        ticktext=[html.escape(shorten(name, 38)) + "  " for name in names],
        range=[len(names) - 0.45, -0.55],
        showgrid=False,
        ticks="",
    )
    return figure


def include_zero(figure: Figure, values: Sequence[float]) -> None:
    low, high = min(0.0, *values), max(0.0, *values)
    margin = 0.06 * (high - low or 1.0)
    figure.update_xaxes(range=[rounded(low - margin), rounded(high + margin)])


def solid(colour: str) -> dict[str, Any]:
    return {"color": colour, "line": {"width": 0}}


def hatched(colour: str) -> dict[str, Any]:
    return {
        **solid(colour),
        "pattern": {
            "shape": "/",
            "size": 6,
            "solidity": 0.35,
            "fgcolor": "rgba(255,255,255,0.75)",
            "fillmode": "overlay",
        },
    }


def shorten(text: str, length: int) -> str:
    """Return `text` cut to `length` characters, with an ellipsis where something was cut."""
    return text if len(text) <= length else text[: length - 1].rstrip() + "…"


def label(text: str) -> str:
    # plotly reads a few tags out of its labels, links among them; escaped, a text is only ever text.
    return html.escape(text)


def wrapped(text: str, width: int = 60, lines: int = 4) -> str:
    import textwrap

    wrapped = textwrap.wrap(text, width) or ["(text left out)"]
    if len(wrapped) > lines:
        wrapped = [*wrapped[:lines], "…"]
    return "<br>".join(html.escape(line) for line in wrapped)


def in_percent(share: float) -> float:
    return round(100.0 * share, 2)


def rounded(value: float) -> float | None:
    """Round to five significant digits: more than a screen shows, and few bytes. None, a gap, for what is no number."""
    return float(f"{value:.5g}") if math.isfinite(value) else None


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def specification(figure: Figure) -> dict[str, Any]:
    """Return the figure as JSON-ready data and layout; numbers were rounded when it was drawn."""
    spec: dict[str, Any] = figure.to_plotly_json()
    return {"data": spec["data"], "layout": spec["layout"]}
