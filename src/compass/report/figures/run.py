"""Figures of the run itself: training, tokens by language, the number of clusters, time."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from compass.report.figures.style import (
    AFTER,
    BEFORE,
    CURRENT,
    MISSING,
    PICKED,
    POOL,
    USAGE,
    is_number,
    label,
    name_rows,
    new_figure,
    rounded,
    solid,
    styled,
)
from compass.report.load import Fertility, Stage

if TYPE_CHECKING:
    from plotly.graph_objects import Figure


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
                y=[rounded(float(entry[key])) for entry in entries],
                mode="lines" if len(entries) > 1 else "markers",
                line={"color": colour, "width": 2, "dash": dash},
                marker={"color": colour, "size": 8},
                hovertemplate="step %{x}: %{y}<extra>" + legend + "</extra>",
            ),
            row=row,
            col=1,
        )
    styled(figure, height=380)
    figure.update_yaxes(title_text="loss (nats per token)", rangemode="tozero", row=1, col=1)
    figure.update_yaxes(title_text="learning rate", rangemode="tozero", exponentformat="e", nticks=3, row=2, col=1)
    figure.update_xaxes(title_text="step", row=2, col=1)
    return figure


def fertility_bars(rows: Sequence[Fertility], names: Sequence[str], target: str) -> Figure:
    """Draw tokens relative to English by language; the target language stands out."""
    import plotly.graph_objects as go

    figure = new_figure(len(rows), row_height=24)
    figure.add_trace(
        go.Bar(
            y=list(range(len(rows))),
            x=[rounded(row.relative_to_english or 0.0) for row in rows],
            orientation="h",
            marker={"color": [USAGE if row.language == target else POOL for row in rows]},
            customdata=[[label(n), rounded(r.tokens_per_word)] for n, r in zip(names, rows, strict=True)],
            hovertemplate=(
                "%{customdata[0]}<br>%{x:.2f} times English, %{customdata[1]:.2f} tokens per word<extra></extra>"
            ),
        )
    )
    figure.add_vline(x=1, line_width=1.5, line_dash="dot", line_color=BEFORE)
    figure.update_layout(showlegend=False, bargap=0.35)
    figure.update_xaxes(title_text="tokens per word, English = 1")
    return name_rows(figure, names)


def cluster_count_grid(grid: Sequence[Mapping[str, Any]], key: str, chosen: float | None) -> Figure:
    """Draw every number of the grid over the number of clusters (`key`); a dotted line marks the chosen one."""
    import plotly.graph_objects as go

    figure = new_figure(0, height=300)
    series = [name for name in grid[0] if name != key and is_number(grid[0][name])]
    styles = ((AFTER, "circle"), (MISSING, "square"), (PICKED, "diamond"), (CURRENT, "x"))
    for (colour, symbol), name in zip(styles, series, strict=False):
        rows = [row for row in grid if is_number(row.get(name))]
        figure.add_trace(
            go.Scatter(
                name=name.replace("_", " "),
                x=[row[key] for row in rows],
                y=[rounded(float(row[name])) for row in rows],
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

    figure = new_figure(len(stages), row_height=26)
    figure.add_trace(
        go.Bar(
            y=list(range(len(stages))),
            x=[rounded(stage.seconds) for stage in stages],
            orientation="h",
            marker=solid(USAGE),
            hovertemplate="%{x:.1f} s<extra></extra>",
        )
    )
    figure.update_layout(showlegend=False, bargap=0.35)
    figure.update_xaxes(title_text="seconds", rangemode="tozero")
    return name_rows(figure, [stage.stage for stage in stages])
