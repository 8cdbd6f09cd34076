"""The figures: each function turns records into a plotly figure and touches nothing else.

Colours are from, or near, the Okabe-Ito palette (Okabe and Ito 2008, "Color Universal Design"), of one lightness that
holds on white and on near-black; where two series stand side by side, shape or hatching tells them apart too.
Text colours and grid lines are left to the page, which sets them for light, dark and print.
"""

from __future__ import annotations

import html
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

from compass.records import Cluster, Difference, Interval, Picked
from compass.report.load import Fertility, Point, Stage

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

USAGE = "#2b83c6"
CURRENT = "#d39a0b"
PICKED = "#0c9b76"
MISSING = "#d55e00"
POOL = "#98a1ac"
BEFORE = "#8791a0"
AFTER = "#2b83c6"

ROW_HEIGHT = 30
"""Pixels of one bar or dot row with its label."""

MAX_MAP_POINTS = 6000
"""Points drawn on the map, at most: SVG stays quick and the file small up to here."""

SETS = (
    # name, legend, colour, symbol, size, opacity
    ("pool", "Pool", POOL, "circle", 5, 0.45),
    ("current", "Data at hand", CURRENT, "square", 8, 0.9),
    ("picked", "Picked", PICKED, "diamond", 8, 0.85),
    ("usage", "Usage", USAGE, "circle", 9, 0.9),
)
"""The map's layers from back to front."""


class Shares(Protocol):
    """What usage asks for and the data has of a cluster or a kind of answer, in [0, 1]."""

    @property
    def usage_share(self) -> float:
        """Share of usage."""
        ...

    @property
    def current_share(self) -> float:
        """Share of the data at hand."""
        ...

    @property
    def gap(self) -> float:
        """Share of usage beyond that of the data."""
        ...


def gap_bars(clusters: Sequence[Shares], names: Sequence[str]) -> Figure:
    """Draw usage share against share of the data at hand, one pair of bars a cluster or kind; the gap is hatched."""
    import plotly.graph_objects as go

    y = list(range(len(clusters)))
    covered = [_percent(min(c.usage_share, c.current_share) if c.gap > 0 else c.usage_share) for c in clusters]
    missing = [_percent(c.gap) for c in clusters]
    figure = _figure(len(clusters), row_height=38)
    figure.add_trace(
        go.Bar(
            name="Usage, covered by the data",
            y=y,
            x=covered,
            orientation="h",
            offsetgroup="usage",
            marker=_plain(USAGE),
            customdata=[[_label(n), _percent(c.usage_share)] for c, n in zip(clusters, names, strict=True)],
            hovertemplate="%{customdata[0]}<br>usage %{customdata[1]:.1f} %<extra></extra>",
        )
    )
    figure.add_trace(
        go.Bar(
            name="Usage, missing in the data (gap)",
            y=y,
            x=missing,
            base=covered,
            orientation="h",
            offsetgroup="usage",
            marker=_hatched(MISSING),
            customdata=[[_label(n), m] for n, m in zip(names, missing, strict=True)],
            hovertemplate="%{customdata[0]}<br>gap %{customdata[1]:.1f} points<extra></extra>",
        )
    )
    figure.add_trace(
        go.Bar(
            name="Data at hand",
            y=y,
            x=[_percent(c.current_share) for c in clusters],
            orientation="h",
            offsetgroup="current",
            marker=_plain(CURRENT),
            customdata=[_label(n) for n in names],
            hovertemplate="%{customdata}<br>data at hand %{x:.1f} %<extra></extra>",
        )
    )
    figure.update_layout(barmode="group", bargap=0.28, bargroupgap=0.06)
    figure.update_xaxes(title_text="share of rows", ticksuffix=" %")
    return _name_rows(figure, names)


def quota_bars(clusters: Sequence[Cluster], names: Sequence[str], unit: str) -> Figure:
    """Draw what was picked of what each cluster asked for, in `unit`s of the budget; unmet demand is hatched."""
    import plotly.graph_objects as go

    y = list(range(len(clusters)))
    figure = _figure(len(clusters))
    for legend, values, marker in (
        ("Picked", [round(c.picked) for c in clusters], _plain(PICKED)),
        ("Unmet demand", [round(c.unmet) for c in clusters], _hatched(MISSING)),
    ):
        figure.add_trace(
            go.Bar(
                name=legend,
                y=y,
                x=values,
                orientation="h",
                marker=marker,
                customdata=[
                    [_label(n), round(c.demand), round(c.supply)] for c, n in zip(clusters, names, strict=True)
                ],
                hovertemplate=(
                    "%{customdata[0]}<br>" + legend.lower() + " %{x}"
                    "<br>demand %{customdata[1]}, supply %{customdata[2]}<extra></extra>"
                ),
            )
        )
    figure.update_layout(barmode="stack", bargap=0.35)
    figure.update_xaxes(title_text=unit)
    return _name_rows(figure, names)


def map_scatter(points: Sequence[Point], names: Mapping[int, str]) -> Figure:
    """Draw the 2-D map, one trace a set in the order of `SETS`; hovering shows text, language and cluster.

    Above `MAX_MAP_POINTS` the pool is thinned evenly, the other sets last.
    """
    import plotly.graph_objects as go

    figure = _figure(0, height=620)
    for key, legend, colour, symbol, size, opacity in SETS:
        layer = thin(points, key)
        figure.add_trace(
            go.Scatter(
                name=legend,
                meta=key,
                mode="markers",
                x=[_round(p.x) for p in layer],
                y=[_round(p.y) for p in layer],
                marker={
                    "color": colour,
                    "symbol": symbol,
                    "size": size,
                    "opacity": opacity,
                    "line": {"width": 0 if key == "pool" else 0.8, "color": "rgba(255,255,255,0.65)"},
                },
                customdata=[
                    [_wrap(p.text), html.escape(p.language), _label(names.get(p.cluster, f"cluster {p.cluster}"))]
                    for p in layer
                ],
                hovertemplate=(
                    "%{customdata[0]}<br><b>" + legend + "</b> · %{customdata[1]} · %{customdata[2]}<extra></extra>"
                ),
            )
        )
    blank = {"showticklabels": False, "ticks": "", "zeroline": False, "showgrid": False, "showline": False}
    figure.update_layout(showlegend=False, margin={"l": 8, "r": 8, "t": 8, "b": 8}, dragmode="pan")
    figure.update_xaxes(**blank)
    figure.update_yaxes(**blank, scaleanchor="x", scaleratio=1)
    return figure


def thin(points: Sequence[Point], key: str) -> list[Point]:
    """Return the points of one set that the map draws: all of them, or an even share of `MAX_MAP_POINTS`."""
    layer = [p for p in points if p.set == key]
    others = len(points) - sum(1 for p in points if p.set == "pool")
    room = MAX_MAP_POINTS - others if key == "pool" and others < MAX_MAP_POINTS // 2 else MAX_MAP_POINTS // len(SETS)
    if len(points) <= MAX_MAP_POINTS or len(layer) <= room:
        return layer
    return [layer[i * len(layer) // room] for i in range(room)]


def without_text(point: Point) -> Point:
    """Return the point with its text left out."""
    return replace(point, text="")


def picked_heatmap(picks: Sequence[Picked], languages: Mapping[str, str], names: Mapping[int, str]) -> Figure:
    """Draw how many rows were picked by cluster and language, both in order of frequency.

    languages: tag → name, in the order of the columns. names: cluster → name, in the order of the rows. Rows of other
    languages or clusters are not drawn: the page's table has them.
    """
    import plotly.graph_objects as go

    counts = Counter((pick.cluster, pick.language) for pick in picks)
    z = [[counts.get((cluster, language), 0) for language in languages] for cluster in names]
    top = max((value for row in z for value in row), default=1)
    figure = _figure(len(names), row_height=27)
    figure.add_trace(
        go.Heatmap(
            x=list(range(len(languages))),
            y=list(range(len(names))),
            z=[[value or None for value in row] for row in z],
            zmin=0,
            zmax=top,
            colorscale=[[0, "rgba(12,155,118,0.10)"], [1, "rgba(12,155,118,0.8)"]],
            showscale=False,
            xgap=2,
            ygap=2,
            hoverongaps=False,
            text=[[f"{value}" if value else "" for value in row] for row in z],
            texttemplate="%{text}",
            customdata=[[[_label(n), _label(title)] for title in languages.values()] for n in names.values()],
            hovertemplate="%{customdata[0]}<br>%{customdata[1]}: %{z} rows<extra></extra>",
        )
    )
    figure.update_xaxes(
        tickvals=list(range(len(languages))),
        ticktext=[html.escape(tag) for tag in languages],
        side="top",
        tickangle=0 if len(languages) <= 18 else -60,
        showgrid=False,
    )
    figure.update_layout(margin={"t": 34 if len(languages) <= 18 else 64, "b": 10})
    figure.update_yaxes(showgrid=False)
    return _name_rows(figure, list(names.values()))


def training_curves(log: Sequence[Mapping[str, float]]) -> Figure:
    """Draw loss (and evaluation loss, if logged) over steps, and under it the learning rate."""
    import plotly.graph_objects as go
    from plotly.subplots import make_subplots

    figure = make_subplots(rows=2, cols=1, shared_xaxes=True, row_heights=[0.72, 0.28], vertical_spacing=0.08)
    for key, legend, colour, dash, row in (
        ("loss", "Training loss", AFTER, "solid", 1),
        ("eval_loss", "Evaluation loss", MISSING, "dash", 1),
        ("learning_rate", "Learning rate", BEFORE, "solid", 2),
    ):
        # The last record of a trainer's log holds totals under other names, without these keys.
        entries = [entry for entry in log if key in entry and "step" in entry]
        if not entries:
            continue
        figure.add_trace(
            go.Scatter(
                name=legend,
                x=[entry["step"] for entry in entries],
                y=[_round(float(entry[key])) for entry in entries],
                mode="lines" if len(entries) > 1 else "markers",
                line={"color": colour, "width": 2, "dash": dash},
                marker={"color": colour, "size": 8},
                hovertemplate="step %{x}: %{y}<extra>" + legend + "</extra>",
            ),
            row=row,
            col=1,
        )
    _style(figure, height=380)
    figure.update_yaxes(title_text="loss (nats per token)", rangemode="tozero", row=1, col=1)
    figure.update_yaxes(title_text="learning rate", rangemode="tozero", exponentformat="e", nticks=3, row=2, col=1)
    figure.update_xaxes(title_text="step", row=2, col=1)
    return figure


def before_after(
    rows: Sequence[tuple[str, Interval | None, Interval | None]], *, as_percent: bool, axis: str
) -> Figure:
    """Draw values with intervals, one row each: a hollow dot for the base model, a full one for the adapter.

    rows: (name, base, adapter), from top to bottom; None where one was not measured.
    """
    import plotly.graph_objects as go

    scale = 100.0 if as_percent else 1.0
    figure = _figure(len(rows), row_height=40)
    for legend, index, colour, symbol, shift in (
        ("Before (base model)", 1, BEFORE, "circle-open", -0.14),
        ("After (adapter)", 2, AFTER, "circle", 0.14),
    ):
        present = [(i, str(row[0]), row[index]) for i, row in enumerate(rows) if isinstance(row[index], Interval)]
        values = [interval for _, _, interval in present if isinstance(interval, Interval)]
        if not values:
            continue
        unit = " %" if as_percent else ""
        figure.add_trace(
            go.Scatter(
                name=legend,
                mode="markers",
                y=[i + shift for i, _, _ in present],
                x=[_round(v.value * scale) for v in values],
                error_x={
                    "type": "data",
                    "symmetric": False,
                    "array": [_round(max(0.0, v.high - v.value) * scale) for v in values],
                    "arrayminus": [_round(max(0.0, v.value - v.low) * scale) for v in values],
                    "color": colour,
                    "thickness": 2,
                    "width": 0,
                },
                marker={"color": colour, "symbol": symbol, "size": 10, "line": {"width": 2, "color": colour}},
                customdata=[
                    [_label(name), _round(v.low * scale), _round(v.high * scale)]
                    for (_, name, _), v in zip(present, values, strict=True)
                ],
                hovertemplate=(
                    "%{customdata[0]}<br>%{x:.4~g}" + unit + " [%{customdata[1]:.4~g}, %{customdata[2]:.4~g}]"
                    "<extra>" + legend + "</extra>"
                ),
            )
        )
    figure.update_xaxes(title_text=axis, ticksuffix=" %" if as_percent else "", rangemode="tozero")
    if as_percent:
        figure.update_xaxes(range=[-3, 103])
    return _name_rows(figure, [row[0] for row in rows])


def difference_forest(differences: Sequence[Difference], names: Sequence[str], *, as_percent: bool) -> Figure:
    """Draw paired differences (adapter − base) with intervals against zero; full dots exclude zero."""
    import plotly.graph_objects as go

    scale = 100.0 if as_percent else 1.0
    figure = _figure(len(differences))
    for legend, chosen, symbol, colour in (
        ("Interval excludes zero", True, "diamond", AFTER),
        ("Interval includes zero", False, "diamond-open", BEFORE),
    ):
        rows = [(i, d) for i, d in enumerate(differences) if d.interval.excludes_zero is chosen]
        if not rows:
            continue
        figure.add_trace(
            go.Scatter(
                name=legend,
                mode="markers",
                y=[i for i, _ in rows],
                x=[_round(d.interval.value * scale) for _, d in rows],
                error_x={
                    "type": "data",
                    "symmetric": False,
                    "array": [_round(max(0.0, d.interval.high - d.interval.value) * scale) for _, d in rows],
                    "arrayminus": [_round(max(0.0, d.interval.value - d.interval.low) * scale) for _, d in rows],
                    "color": colour,
                    "thickness": 2,
                    "width": 0,
                },
                marker={"color": colour, "symbol": symbol, "size": 10, "line": {"width": 2, "color": colour}},
                customdata=[
                    [_label(names[i]), _round(d.interval.low * scale), _round(d.interval.high * scale)] for i, d in rows
                ],
                hovertemplate=(
                    "%{customdata[0]}<br>%{x:+.4~g} [%{customdata[1]:+.4~g}, %{customdata[2]:+.4~g}]"
                    "<extra>" + legend + "</extra>"
                ),
            )
        )
    figure.update_xaxes(
        title_text="adapter − base, percentage points" if as_percent else "adapter − base, nats per byte",
        zeroline=True,
        zerolinewidth=2,
        tickformat="+~g",
    )
    _include_zero(figure, [value * scale for d in differences for value in (d.interval.low, d.interval.high)])
    return _name_rows(figure, names)


STRATEGY_COLOURS = ("#2b83c6", "#8791a0", "#d39a0b", "#0c9b76", "#d55e00", "#b562a2", "#5a6b7d", "#8a5a2b")
STRATEGY_SYMBOLS = ("circle", "square", "diamond", "cross", "triangle-up", "star", "x", "hexagon")


def budget_curves(series: Mapping[str, Sequence[tuple[int, Interval]]], *, axis: str, unit: str) -> Figure:
    """Draw one line for each strategy over the budgets, with intervals; a single budget gives one dot each.

    series: strategy -> (budget, value with its interval), in [0, 1].
    """
    import plotly.graph_objects as go

    figure = _figure(0, height=420)
    several = len({budget for points in series.values() for budget, *_ in points}) > 1
    for i, (name, points) in enumerate(series.items()):
        colour = STRATEGY_COLOURS[i % len(STRATEGY_COLOURS)]
        figure.add_trace(
            go.Scatter(
                name=name,
                mode="lines+markers" if several else "markers",
                x=[budget for budget, *_ in points] if several else [name] * len(points),
                y=[_percent(interval.value) for _, interval in points],
                error_y={
                    "type": "data",
                    "symmetric": False,
                    "array": [_percent(interval.high - interval.value) for _, interval in points],
                    "arrayminus": [_percent(interval.value - interval.low) for _, interval in points],
                    "color": colour,
                    "thickness": 1.5,
                    "width": 0,
                },
                line={"color": colour, "width": 2},
                marker={"color": colour, "symbol": STRATEGY_SYMBOLS[i % len(STRATEGY_SYMBOLS)], "size": 9},
                customdata=[[_percent(interval.low), _percent(interval.high), budget] for budget, interval in points],
                hovertemplate=(
                    f"{_label(name)}, %{{customdata[2]}} {unit}<br>%{{y:.1f}} % "
                    "[%{customdata[0]:.1f}, %{customdata[1]:.1f}]<extra></extra>"
                ),
            )
        )
    figure.update_yaxes(title_text=axis, ticksuffix=" %", rangemode="tozero")
    if several:
        figure.update_xaxes(title_text=f"budget, {unit}", type="log")
    return figure


def fertility_bars(rows: Sequence[Fertility], names: Sequence[str], target: str) -> Figure:
    """Draw tokens relative to English by language; the target language stands out."""
    import plotly.graph_objects as go

    figure = _figure(len(rows), row_height=24)
    figure.add_trace(
        go.Bar(
            y=list(range(len(rows))),
            x=[_round(row.relative_to_english or 0.0) for row in rows],
            orientation="h",
            marker={"color": [USAGE if row.language == target else POOL for row in rows]},
            customdata=[[_label(n), _round(r.tokens_per_word)] for n, r in zip(names, rows, strict=True)],
            hovertemplate=(
                "%{customdata[0]}<br>%{x:.2f} times English, %{customdata[1]:.2f} tokens per word<extra></extra>"
            ),
        )
    )
    figure.add_vline(x=1, line_width=1.5, line_dash="dot", line_color=BEFORE)
    figure.update_layout(showlegend=False, bargap=0.35)
    figure.update_xaxes(title_text="tokens per word, English = 1")
    return _name_rows(figure, names)


def cluster_count_grid(grid: Sequence[Mapping[str, Any]], key: str, chosen: float | None) -> Figure:
    """Draw every number of the grid over the number of clusters (`key`); a dotted line marks the chosen one."""
    import plotly.graph_objects as go

    figure = _figure(0, height=300)
    series = [name for name in grid[0] if name != key and _is_number(grid[0][name])]
    styles = ((AFTER, "circle"), (MISSING, "square"), (PICKED, "diamond"), (CURRENT, "x"))
    for (colour, symbol), name in zip(styles, series, strict=False):
        rows = [row for row in grid if _is_number(row.get(name))]
        figure.add_trace(
            go.Scatter(
                name=name.replace("_", " "),
                x=[row[key] for row in rows],
                y=[_round(float(row[name])) for row in rows],
                mode="lines+markers",
                line={"color": colour, "width": 2},
                marker={"color": colour, "symbol": symbol, "size": 8},
                hovertemplate=key + " = %{x}: %{y}<extra>" + html.escape(name.replace("_", " ")) + "</extra>",
            )
        )
    if chosen is not None:
        figure.add_vline(x=chosen, line_width=1.5, line_dash="dot", line_color=BEFORE)
    figure.update_xaxes(title_text="number of clusters, K")
    figure.update_yaxes(rangemode="tozero")
    return figure


def stage_bars(stages: Sequence[Stage]) -> Figure:
    """Draw the seconds of each stage, in the order in which they ran."""
    import plotly.graph_objects as go

    figure = _figure(len(stages), row_height=26)
    figure.add_trace(
        go.Bar(
            y=list(range(len(stages))),
            x=[_round(stage.seconds) for stage in stages],
            orientation="h",
            marker=_plain(USAGE),
            hovertemplate="%{x:.1f} s<extra></extra>",
        )
    )
    figure.update_layout(showlegend=False, bargap=0.35)
    figure.update_xaxes(title_text="seconds", rangemode="tozero")
    return _name_rows(figure, [stage.stage for stage in stages])


def specification(figure: Figure) -> dict[str, Any]:
    """Return the figure as JSON-ready data and layout; numbers were rounded when it was drawn."""
    spec: dict[str, Any] = figure.to_plotly_json()
    return {"data": spec["data"], "layout": spec["layout"]}


def _figure(rows: int, *, row_height: int = ROW_HEIGHT, height: int = 0) -> Figure:
    import plotly.graph_objects as go

    figure = go.Figure()
    _style(figure, height=height or 86 + max(rows, 1) * row_height)
    return figure


def _style(figure: Figure, *, height: int) -> None:
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


def _name_rows(figure: Figure, names: Sequence[str]) -> Figure:
    """Name the rows of a horizontal figure, the first on top. The page shortens the names on narrow screens."""
    figure.update_yaxes(
        tickvals=list(range(len(names))),
        ticktext=[html.escape(shorten(name, 38)) + "  " for name in names],
        range=[len(names) - 0.45, -0.55],
        showgrid=False,
        ticks="",
    )
    return figure


def _include_zero(figure: Figure, values: Sequence[float]) -> None:
    low, high = min(0.0, *values), max(0.0, *values)
    margin = 0.06 * (high - low or 1.0)
    figure.update_xaxes(range=[_round(low - margin), _round(high + margin)])


def _plain(colour: str) -> dict[str, Any]:
    return {"color": colour, "line": {"width": 0}}


def _hatched(colour: str) -> dict[str, Any]:
    return {
        **_plain(colour),
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


def _label(text: str) -> str:
    # plotly reads a few tags out of its labels, links among them; escaped, a text is only ever text.
    return html.escape(text)


def _wrap(text: str, width: int = 60, lines: int = 4) -> str:
    import textwrap

    wrapped = textwrap.wrap(text, width) or ["(text left out)"]
    if len(wrapped) > lines:
        wrapped = [*wrapped[:lines], "…"]
    return "<br>".join(html.escape(line) for line in wrapped)


def _percent(share: float) -> float:
    return round(100.0 * share, 2)


def _round(value: float) -> float | None:
    """Round to five significant digits: more than a screen shows, and few bytes. None, a gap, for what is no number."""
    return float(f"{value:.5g}") if math.isfinite(value) else None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
