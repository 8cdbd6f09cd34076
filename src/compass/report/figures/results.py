"""Figures of results: values before and after, paired differences, and curves over budgets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from compass.records import Difference, Interval
from compass.report.figures.style import (
    AFTER,
    BEFORE,
    in_percent,
    include_zero,
    label,
    name_rows,
    new_figure,
    rounded,
)

if TYPE_CHECKING:
    from plotly.graph_objects import Figure


STRATEGY_COLOURS = ("#2b83c6", "#8791a0", "#d39a0b", "#0c9b76", "#d55e00", "#b562a2", "#5a6b7d", "#8a5a2b")

STRATEGY_SYMBOLS = ("circle", "square", "diamond", "cross", "triangle-up", "star", "x", "hexagon")


def before_after(
    rows: Sequence[tuple[str, Interval | None, Interval | None]], *, as_percent: bool, axis: str
) -> Figure:
    """Draw values with intervals, one row each: a hollow dot for the base model, a full one for the adapter.

    rows: (name, base, adapter), from top to bottom; None where one was not measured.
    """
    import plotly.graph_objects as go

    scale = 100.0 if as_percent else 1.0
    figure = new_figure(len(rows), row_height=40)
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
                x=[rounded(v.value * scale) for v in values],
                error_x={
                    "type": "data",
                    "symmetric": False,
                    "array": [rounded(max(0.0, v.high - v.value) * scale) for v in values],
                    "arrayminus": [rounded(max(0.0, v.value - v.low) * scale) for v in values],
                    "color": colour,
                    "thickness": 2,
                    "width": 0,
                },
                marker={"color": colour, "symbol": symbol, "size": 10, "line": {"width": 2, "color": colour}},
                customdata=[
                    [label(name), rounded(v.low * scale), rounded(v.high * scale)]
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
    return name_rows(figure, [row[0] for row in rows])


def difference_forest(
    differences: Sequence[Difference], names: Sequence[str], *, as_percent: bool, what: str = "adapter − base"
) -> Figure:
    """Draw paired differences with intervals against zero; full dots exclude zero. what: less what."""
    import plotly.graph_objects as go

    scale = 100.0 if as_percent else 1.0
    figure = new_figure(len(differences))
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
                x=[rounded(d.interval.value * scale) for _, d in rows],
                error_x={
                    "type": "data",
                    "symmetric": False,
                    "array": [rounded(max(0.0, d.interval.high - d.interval.value) * scale) for _, d in rows],
                    "arrayminus": [rounded(max(0.0, d.interval.value - d.interval.low) * scale) for _, d in rows],
                    "color": colour,
                    "thickness": 2,
                    "width": 0,
                },
                marker={"color": colour, "symbol": symbol, "size": 10, "line": {"width": 2, "color": colour}},
                customdata=[
                    [label(names[i]), rounded(d.interval.low * scale), rounded(d.interval.high * scale)]
                    for i, d in rows
                ],
                hovertemplate=(
                    "%{customdata[0]}<br>%{x:+.4~g} [%{customdata[1]:+.4~g}, %{customdata[2]:+.4~g}]"
                    "<extra>" + legend + "</extra>"
                ),
            )
        )
    figure.update_xaxes(
        title_text=f"{what}, percentage points" if as_percent else f"{what}, nats per byte",
        zeroline=True,
        zerolinewidth=2,
        tickformat="+~g",
    )
    include_zero(figure, [value * scale for d in differences for value in (d.interval.low, d.interval.high)])
    return name_rows(figure, names)


def budget_curves(
    series: Mapping[str, Sequence[tuple[int, Interval]]], *, axis: str, unit: str, as_percent: bool = True
) -> Figure:
    """Draw one line for each strategy over the budgets, with intervals; a single budget gives one dot each.

    series: strategy -> (budget, value with its interval), in [0, 1] where `as_percent`.
    """
    import plotly.graph_objects as go

    shown, sign, digits = (in_percent, " %", ".1f") if as_percent else (rounded, "", ".4~g")

    figure = new_figure(0, height=420)
    several = len({budget for points in series.values() for budget, *_ in points}) > 1
    for i, (name, points) in enumerate(series.items()):
        colour = STRATEGY_COLOURS[i % len(STRATEGY_COLOURS)]
        figure.add_trace(
            go.Scatter(
                name=name,
                mode="lines+markers" if several else "markers",
                x=[budget for budget, *_ in points] if several else [name] * len(points),
                y=[shown(interval.value) for _, interval in points],
                error_y={
                    "type": "data",
                    "symmetric": False,
                    "array": [shown(interval.high - interval.value) for _, interval in points],
                    "arrayminus": [shown(interval.value - interval.low) for _, interval in points],
                    "color": colour,
                    "thickness": 1.5,
                    "width": 0,
                },
                line={"color": colour, "width": 2},
                marker={"color": colour, "symbol": STRATEGY_SYMBOLS[i % len(STRATEGY_SYMBOLS)], "size": 9},
                customdata=[[shown(interval.low), shown(interval.high), budget] for budget, interval in points],
                hovertemplate=(
                    f"{label(name)}, %{{customdata[2]}} {unit}<br>%{{y:{digits}}}{sign} "
                    f"[%{{customdata[0]:{digits}}}, %{{customdata[1]:{digits}}}]<extra></extra>"
                ),
            )
        )
    figure.update_yaxes(title_text=axis, ticksuffix=sign, rangemode="tozero" if as_percent else "normal")
    if several:
        figure.update_xaxes(title_text=f"budget, {unit}", type="log")
    return figure
