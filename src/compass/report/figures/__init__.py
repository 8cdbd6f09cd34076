"""The figures: each function turns records into a plotly figure and touches nothing else."""

from __future__ import annotations

from compass.report.figures.results import before_after, budget_curves, difference_forest
from compass.report.figures.run import cluster_count_grid, fertility_bars, stage_bars, training_curves
from compass.report.figures.selection import (
    MAX_MAP_POINTS,
    SETS,
    Shares,
    gap_bars,
    how_many_curves,
    label_curve,
    map_scatter,
    picked_heatmap,
    quota_bars,
    thin,
    without_text,
)
from compass.report.figures.style import shorten, specification

__all__ = [
    "MAX_MAP_POINTS",
    "SETS",
    "Shares",
    "before_after",
    "budget_curves",
    "cluster_count_grid",
    "difference_forest",
    "fertility_bars",
    "gap_bars",
    "how_many_curves",
    "label_curve",
    "map_scatter",
    "picked_heatmap",
    "quota_bars",
    "shorten",
    "specification",
    "stage_bars",
    "thin",
    "training_curves",
    "without_text",
]
