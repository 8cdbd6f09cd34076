"""Intervals against scipy and against simulated coverage."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import bootstrap

from compass.evaluation.statistics import paired_difference, ratio_interval, wilson


def test_ratio_interval_against_scipy() -> None:
    """The interval would not be the percentile bootstrap; 20,000 draws leave a Monte Carlo error below 0.004 here."""
    rng = np.random.default_rng(1)
    top, bottom = rng.gamma(2.0, 1.0, 80), rng.integers(1, 20, 80).astype(float)
    ours = ratio_interval(top, bottom, draws=20_000, confidence=0.9, seed=0)
    theirs = bootstrap(
        (top, bottom),
        lambda x, y, axis=-1: x.sum(axis=axis) / y.sum(axis=axis),
        paired=True,
        vectorized=True,
        n_resamples=20_000,
        confidence_level=0.9,
        method="percentile",
        rng=2,
    ).confidence_interval
    assert ours.value == pytest.approx(top.sum() / bottom.sum())
    assert ours.low == pytest.approx(theirs.low, abs=0.004)
    assert ours.high == pytest.approx(theirs.high, abs=0.004)


def test_paired_difference_against_scipy() -> None:
    """The two models would be resampled apart, which makes the interval about three times as wide here."""
    rng = np.random.default_rng(3)
    difficulty = rng.normal(0.0, 3.0, 100)
    base, other = difficulty + rng.normal(0.0, 0.3, 100), difficulty + 0.2 + rng.normal(0.0, 0.3, 100)
    ones = np.ones(100)
    ours = paired_difference((base, ones), (other, ones), draws=20_000, confidence=0.95, seed=0)
    theirs = bootstrap(
        (base, other),
        lambda x, y, axis=-1: y.mean(axis=axis) - x.mean(axis=axis),
        paired=True,
        vectorized=True,
        n_resamples=20_000,
        method="percentile",
        rng=4,
    ).confidence_interval
    assert ours.value == pytest.approx(other.mean() - base.mean())
    assert ours.low == pytest.approx(theirs.low, abs=0.005)
    assert ours.high == pytest.approx(theirs.high, abs=0.005)


def test_coverage_of_a_proportion() -> None:
    """Intervals would miss the truth too often or be too wide: 400 simulated tests of 100 rows, p = 0.3, level 0.95.

    The percentile bootstrap covers about 0.94 here, with a standard error of 0.012; the bounds are four of them off.
    """
    rng = np.random.default_rng(5)
    hits = 0
    for i in range(400):
        rows = (rng.random(100) < 0.3).astype(float)
        interval = ratio_interval(rows, np.ones(100), draws=400, confidence=0.95, seed=i, proportion=True)
        hits += interval.low <= 0.3 <= interval.high
    assert 0.89 <= hits / 400 <= 0.985


def test_coverage_needs_units() -> None:
    """Rows of one item would count as independent: 10 copies of each of 30 items, level 0.9.

    Resampling items covers about 0.88; resampling rows covers below 0.5.
    """
    rng = np.random.default_rng(6)
    units = np.repeat(np.arange(30), 10).tolist()
    by_unit = by_row = 0
    for i in range(200):
        rows = np.repeat((rng.random(30) < 0.5).astype(float), 10)
        a = ratio_interval(rows, np.ones(300), draws=300, confidence=0.9, seed=i, units=units)
        b = ratio_interval(rows, np.ones(300), draws=300, confidence=0.9, seed=i)
        by_unit += a.low <= 0.5 <= a.high
        by_row += b.low <= 0.5 <= b.high
    assert 0.8 <= by_unit / 200 <= 0.97
    assert by_row / 200 < 0.6


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"), [(0, 10, 0.0, 0.2775), (10, 10, 0.7225, 1.0), (3, 10, 0.1078, 0.6032)]
)
def test_wilson_against_published_values(successes: int, n: int, low: float, high: float) -> None:
    """Intervals of small clusters would be another method's (values: Newcombe 1998 formula, worked by hand)."""
    assert wilson(successes, n, 0.95) == pytest.approx((low, high), abs=5e-4)


def test_no_success_does_not_prove_zero() -> None:
    """A model with 0 of 20 right would get the interval [0, 0]; only proportions have Wilson's instead."""
    interval = ratio_interval(np.zeros(20), np.ones(20), draws=200, confidence=0.95, seed=0, proportion=True)
    assert (interval.value, interval.low) == (0.0, 0.0)
    assert interval.high == pytest.approx(wilson(0, 20, 0.95)[1])
    rows_that_count = np.array([1.0] * 5 + [0.0] * 15)
    few = ratio_interval(rows_that_count, rows_that_count, draws=200, confidence=0.95, seed=0, proportion=True)
    assert few.low == pytest.approx(wilson(5, 5, 0.95)[0])


def test_empty_denominators_and_draws() -> None:
    """A test set without a single slot would divide by zero, and draws without a counted row would give nan."""
    nothing = ratio_interval(np.zeros(3), np.zeros(3), draws=100, confidence=0.95, seed=0)
    assert all(math.isnan(x) for x in (nothing.value, nothing.low, nothing.high))
    rare = ratio_interval([1.0, 0.0, 0.0], [2.0, 0.0, 0.0], draws=100, confidence=0.95, seed=0)
    assert (rare.value, rare.low, rare.high) == (0.5, 0.5, 0.5)


def test_the_seed_decides() -> None:
    """Two runs of one evaluation would print two intervals."""
    x, ones = np.random.default_rng(0).random(30), np.ones(30)
    first = ratio_interval(x, ones, draws=150, confidence=0.9, seed=4)
    assert first == ratio_interval(x, ones, draws=150, confidence=0.9, seed=4)
    assert first != ratio_interval(x, ones, draws=150, confidence=0.9, seed=5)


def test_chunks_cover_every_draw(monkeypatch: pytest.MonkeyPatch) -> None:
    """Large test sets, whose draws come in chunks, would be bootstrapped from fewer draws."""
    from compass.evaluation import statistics

    monkeypatch.setattr(statistics, "CHUNK_CELLS", 70)
    drawn = [rows.shape for rows in statistics._resamples(10, 25, 0)]
    assert drawn == [(7, 10), (7, 10), (7, 10), (4, 10)]


def test_shapes_must_agree() -> None:
    """Numerators would be paired with the denominators of other rows by broadcasting."""
    with pytest.raises(ValueError, match="one length"):
        ratio_interval(np.ones(3), np.ones(1), draws=100, confidence=0.9, seed=0)
    with pytest.raises(ValueError, match="each of the 3 rows; got 2"):
        ratio_interval(np.ones(3), np.ones(3), draws=100, confidence=0.9, seed=0, units=["a", "b"])
    with pytest.raises(ValueError, match="got 3 of 2"):
        wilson(3, 2, 0.9)
