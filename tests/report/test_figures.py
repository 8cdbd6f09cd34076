"""The figures' numbers, from the records that went in."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from compass.records import Cluster, Difference, Interval, Picked
from compass.report import figures
from compass.report.load import Point


def cluster(identity: int, usage: float, current: float) -> Cluster:
    return Cluster(identity, f"c{identity}", 4, 5, usage, current, max(0.0, usage - current), 10, 20, 7, 3)


def test_usage_bar_and_gap_bar_add_up_to_the_usage() -> None:
    """Would break if the hatched part were drawn from zero, or where the data has more than usage needs."""
    figure = figures.gap_bars([cluster(0, 0.5, 0.2), cluster(1, 0.1, 0.4)], ["a", "b"])
    covered, missing, current = figure.data
    assert list(covered.x) == pytest.approx([20, 10])
    assert list(missing.x) == pytest.approx([30, 0])
    assert list(missing.base) == list(covered.x)
    assert list(current.x) == pytest.approx([20, 40])


def test_dots_stand_where_the_intervals_say() -> None:
    """Would break if error bars were given as ends instead of lengths, or a missing side shifted the others."""
    rows = [("x", None, Interval(0.5, 0.3, 0.6)), ("y", Interval(0.1, 0.0, 0.2), Interval(0.4, 0.4, 0.9))]
    before, after = figures.before_after(rows, as_percent=True, axis="").data
    assert list(before.x) == [10]
    assert [round(y) for y in before.y] == [1]
    assert list(after.x) == [50, 40]
    assert list(after.error_x.array) == pytest.approx([10, 50])
    assert list(after.error_x.arrayminus) == pytest.approx([20, 0])


@pytest.mark.parametrize(
    ("low", "high", "expected"), [(0.01, 0.2, True), (-0.2, -0.01, True), (-0.1, 0.1, False), (0.0, 0.1, False)]
)
def test_an_interval_that_touches_zero_includes_it(low: float, high: float, expected: bool) -> None:
    """Would break if an interval that ends at zero were shown as a change."""
    difference = Difference("t", "exact_match", 0, 0, Interval((low + high) / 2, low, high))
    assert difference.interval.excludes_zero is expected
    (trace,) = figures.difference_forest([difference], ["t"], as_percent=True).data
    assert trace.name == ("Interval excludes zero" if expected else "Interval includes zero")


def test_a_crowded_map_thins_the_pool_first() -> None:
    """Would break if picked or usage rows were hidden by a large pool, or if the thinning were one-sided."""
    points = [Point(i, 0, "pool", "en", 0, "") for i in range(20_000)]
    points += [Point(i, 0, key, "en", 0, "") for key in ("usage", "picked") for i in range(300)]
    pool = figures.thin(points, "pool")
    assert len(pool) == figures.MAX_MAP_POINTS - 600
    assert len({p.x for p in pool}) == len(pool)
    assert sum(p.x for p in pool) / len(pool) == pytest.approx(10_000, rel=0.01)
    assert len(figures.thin(points, "usage")) == len(figures.thin(points, "picked")) == 300


def test_the_heat_map_counts() -> None:
    """Would break if rows and columns were exchanged."""
    picks = [Picked("", tag, "", c, 0, i, "") for i, (tag, c) in enumerate([("de", 1), ("de", 1), ("fr", 2)])]
    (trace,) = figures.picked_heatmap(picks, {"de": "German", "fr": "French"}, {1: "a", 2: "b"}).data
    assert [list(row) for row in trace.z] == [[2, None], [None, 1]]


def test_no_number_of_a_figure_breaks_its_json() -> None:
    """Would break if NaN came through: JSON has none, and the page's script would stop."""
    log = [{"step": 1, "loss": math.nan, "learning_rate": 1e-4}, {"step": 2, "train_loss": 1.0}]
    figure = figures.training_curves(log)
    assert [list(trace.y) for trace in figure.data] == [[None], [1e-4]]


def test_picks_within_and_beyond_the_demand_add_up() -> None:
    """Would break if a cluster's bar were longer than what was picked from it and what it lacks."""
    clusters = [replace(cluster(i, 0.5, 0.2), demand=d, picked=p, unmet=max(d - p, 0)) for i, (d, p) in enumerate(ROWS)]
    own, beyond, open_ = figures.quota_bars(clusters, ["a", "b", "c"], "examples").data
    assert list(own.x) == [7, 0, 3]
    assert list(beyond.x) == [0, 2, 0]
    assert list(open_.x) == [3, 0, 0]


ROWS = [(10.0, 7), (0.2, 2), (3.0, 3)]
"""Demand and picks of three clusters."""
