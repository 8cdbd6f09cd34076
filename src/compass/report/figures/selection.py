"""Figures of the selection: shares and gaps, what was picked, and the map."""

from __future__ import annotations

import html
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

from compass.found_budget import FoundBudget
from compass.records import Cluster, Picked
from compass.report.figures.style import (
    BEYOND,
    CURRENT,
    MISSING,
    PICKED,
    POOL,
    USAGE,
    hatched,
    in_percent,
    label,
    name_rows,
    new_figure,
    rounded,
    solid,
    wrapped,
)
from compass.report.load import Point

if TYPE_CHECKING:
    from plotly.graph_objects import Figure


MAX_MAP_POINTS = 6000
"""Points drawn on the map, at most: SVG stays quick and the file small up to here."""

SETS = (
    # name, legend, colour, symbol, size, opacity
    ("pool", "Pool", POOL, "circle", 5, 0.45),
    ("current", "Training data", CURRENT, "square", 8, 0.9),
    ("picked", "Picked", PICKED, "diamond", 8, 0.85),
    ("usage", "Usage", USAGE, "circle", 9, 0.9),
)
"""The map's layers from back to front."""


class Shares(Protocol):
    """What usage asks for and the data has of a cluster or a class, in [0, 1]."""

    @property
    def usage_share(self) -> float:
        """Share of usage."""
        ...

    @property
    def current_share(self) -> float:
        """Share of the training data."""
        ...

    @property
    def gap(self) -> float:
        """Share of usage beyond that of the data."""
        ...


def gap_bars(clusters: Sequence[Shares], names: Sequence[str]) -> Figure:
    """Draw usage share against share of the training data, one pair of bars a cluster or class; the gap is hatched."""
    import plotly.graph_objects as go

    y = list(range(len(clusters)))
    covered = [in_percent(min(c.usage_share, c.current_share) if c.gap > 0 else c.usage_share) for c in clusters]
    missing = [in_percent(c.gap) for c in clusters]
    figure = new_figure(len(clusters), row_height=38)
    figure.add_trace(
        go.Bar(
            name="Usage, covered by training data",
            y=y,
            x=covered,
            orientation="h",
            offsetgroup="usage",
            marker=solid(USAGE),
            customdata=[[label(n), in_percent(c.usage_share)] for c, n in zip(clusters, names, strict=True)],
            hovertemplate="%{customdata[0]}<br>usage %{customdata[1]:.1f} %<extra></extra>",
        )
    )
    figure.add_trace(
        go.Bar(
            name="Usage beyond it (gap)",
            y=y,
            x=missing,
            base=covered,
            orientation="h",
            offsetgroup="usage",
            marker=hatched(MISSING),
            customdata=[[label(n), m] for n, m in zip(names, missing, strict=True)],
            hovertemplate="%{customdata[0]}<br>gap %{customdata[1]:.1f} points<extra></extra>",
        )
    )
    figure.add_trace(
        go.Bar(
            name="Training data",
            y=y,
            x=[in_percent(c.current_share) for c in clusters],
            orientation="h",
            offsetgroup="current",
            marker=solid(CURRENT),
            customdata=[label(n) for n in names],
            hovertemplate="%{customdata}<br>training data %{x:.1f} %<extra></extra>",
        )
    )
    figure.update_layout(barmode="group", bargap=0.28, bargroupgap=0.06)
    figure.update_xaxes(title_text="share of rows", ticksuffix=" %", rangemode="tozero")
    return name_rows(figure, names)


def quota_bars(clusters: Sequence[Cluster], names: Sequence[str], unit: str) -> Figure:
    """Draw what was picked from each cluster, within its demand and beyond, in `unit`s of the budget.

    Demand that its own cluster did not fill is hatched.
    """
    import plotly.graph_objects as go

    y = list(range(len(clusters)))
    own = [round(min(c.picked, c.demand)) for c in clusters]
    figure = new_figure(len(clusters))
    for legend, values, marker in (
        ("Picked, as asked for", own, solid(PICKED)),
        ("Picked beyond the demand", [c.picked - n for c, n in zip(clusters, own, strict=True)], solid(BEYOND)),
        ("Demand not filled here", [round(c.unmet) for c in clusters], hatched(MISSING)),
    ):
        figure.add_trace(
            go.Bar(
                name=legend,
                y=y,
                x=values,
                orientation="h",
                marker=marker,
                customdata=[[label(n), round(c.demand), round(c.supply)] for c, n in zip(clusters, names, strict=True)],
                hovertemplate=(
                    "%{customdata[0]}<br>" + legend.lower() + " %{x}"
                    "<br>demand %{customdata[1]}, supply %{customdata[2]}<extra></extra>"
                ),
            )
        )
    figure.update_layout(barmode="stack", bargap=0.35)
    figure.update_xaxes(title_text=unit)
    return name_rows(figure, names)


def map_scatter(points: Sequence[Point], names: Mapping[int, str]) -> Figure:
    """Draw the 2-D map, one trace a set in the order of `SETS`; hovering shows text, language and cluster.

    Above `MAX_MAP_POINTS` the pool is thinned evenly, the other sets last.
    """
    import plotly.graph_objects as go

    figure = new_figure(0, height=620)
    for key, legend, colour, symbol, size, opacity in SETS:
        layer = thin(points, key)
        figure.add_trace(
            go.Scatter(
                name=legend,
                meta=key,
                mode="markers",
                x=[rounded(p.x) for p in layer],
                y=[rounded(p.y) for p in layer],
                marker={
                    "color": colour,
                    "symbol": symbol,
                    "size": size,
                    "opacity": opacity,
                    "line": {"width": 0 if key == "pool" else 0.8, "color": "rgba(255,255,255,0.65)"},
                },
                customdata=[
                    [wrapped(p.text), html.escape(p.language), label(names.get(p.cluster, f"cluster {p.cluster}"))]
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


def label_curve(covered: Sequence[float], worthwhile: int) -> Figure:
    """Draw the share of usage's needs that is covered after so many answers, and mark where one may stop."""
    import plotly.graph_objects as go

    figure = new_figure(0, height=300)
    figure.add_trace(
        go.Scatter(
            x=list(range(len(covered))),
            y=[in_percent(share) for share in covered],
            mode="lines+markers",
            line={"color": PICKED, "width": 2},
            marker={"color": PICKED, "size": 6},
            hovertemplate="%{x} answers: %{y} %<extra></extra>",
        )
    )
    if 0 < worthwhile < len(covered) - 1:
        figure.add_vline(x=worthwhile, line={"color": POOL, "width": 1, "dash": "dash"})
    figure.update_xaxes(title_text="answers")
    figure.update_yaxes(title_text="covered (%)", range=[0, 102])
    figure.update_layout(showlegend=False)
    return figure


def how_many_curves(found: FoundBudget) -> Figure:
    """Draw what picks and random rows serve of usage by the budget, and mark the one that was taken."""
    import plotly.graph_objects as go

    figure = new_figure(0, height=300)
    for name, curve, colour in (("Picks", found.covered, PICKED), ("Random rows", found.drawn, POOL)):
        figure.add_trace(
            go.Scatter(
                name=name,
                x=list(found.spent),
                y=[in_percent(share) for share in curve],
                mode="lines",
                line={"color": colour, "width": 2},
                hovertemplate=f"{name}, %{{x:,}} {found.unit}: %{{y}} %<extra></extra>",
            )
        )
    figure.add_vline(x=found.budget, line={"color": POOL, "width": 1, "dash": "dash"})
    figure.update_xaxes(title_text=found.unit)
    figure.update_yaxes(title_text="served (%)")
    return figure


def picked_heatmap(picks: Sequence[Picked], languages: Mapping[str, str], names: Mapping[int, str]) -> Figure:
    """Draw how many rows were picked by cluster and language, both in order of frequency.

    languages: tag → name, in the order of the columns. names: cluster → name, in the order of the rows. Rows of other
    languages or clusters are not drawn: the page's table has them.
    """
    import plotly.graph_objects as go

    counts = Counter((pick.cluster, pick.language) for pick in picks)
    z = [[counts.get((cluster, language), 0) for language in languages] for cluster in names]
    top = max((value for row in z for value in row), default=1)
    figure = new_figure(len(names), row_height=27)
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
            customdata=[[[label(n), label(title)] for title in languages.values()] for n in names.values()],
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
    return name_rows(figure, list(names.values()))
