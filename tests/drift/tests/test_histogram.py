from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom, hypergeom

from compass.drift.tests.histogram import CalibratedDivergence, split_p_value
from compass.errors import DataError
from compass.semantic import jensen_shannon_divergence, jensen_shannon_divergences

K = 48


@pytest.fixture(scope="module")
def shares() -> np.ndarray:
    """Uneven shares, as clusters of usage have: the smallest holds a few in ten thousand."""
    return np.random.default_rng(5).dirichlet(np.full(K, 0.8))


def test_null_divergence_has_the_mean_that_theory_gives():
    """Breaks if the window's or the reference's own sampling is left out of the calibration. With even shares and 20
    rows or more expected in each cluster the mean is (K-1)/(8 ln2)·(1/n + 1/m) to a few percent."""
    counts = np.full(20, 50)
    test = CalibratedDivergence.calibrate(counts, 400, alpha=0.01, seed=0)
    theory = 19 / (8 * np.log(2)) * (1 / 400 + 1 / 1000)
    assert test.null_.mean() == pytest.approx(theory, rel=0.05)
    assert np.mean(test.null_ > test.threshold_) <= 0.01


def test_split_p_value_against_the_exact_distribution():
    """Breaks if splits are drawn from another law than the hypergeometric: two clusters, all splits listed."""
    reference, window = np.array([30, 20]), np.array([4, 16])
    k = np.arange(21)
    weights = hypergeom.pmf(k, 70, 34, 20)
    splits = np.stack([k, 20 - k], axis=1)
    values = jensen_shannon_divergences(np.array([34, 36]) - splits, splits)
    exact = weights[values >= jensen_shannon_divergence(reference, window) - 1e-9].sum()
    found = split_p_value(reference, window, most=40_000, seed=0)
    assert exact < 0.01
    assert found == pytest.approx(exact, rel=0.35)


def test_a_small_reference_causes_no_false_alarms(shares):
    """Breaks if the reference is taken for the truth. 2,000 windows of 500 against references of 300, each drawn anew:
    alarms are binomial(2000, <= alpha), the bound fails once in 10,000 runs of a right test, and the seed is fixed. A
    threshold that knows the window's sampling alone is far above it: it alarms in most windows."""
    rng = np.random.default_rng(1)
    alpha, windows = 0.02, 2000
    alarms = naive = 0
    template = CalibratedDivergence.calibrate(rng.multinomial(300, shares), 500, alpha=alpha, seed=0)
    for i in range(windows):
        reference, window = rng.multinomial(300, shares), rng.multinomial(500, shares)
        test = CalibratedDivergence(reference, 500, alpha, template.null_, template.threshold_)
        result = test.compare(window, seed=i)
        alarms += result.exact and result.p_value <= alpha
        if i < 100:
            draws = rng.multinomial(500, reference / 300, 400)
            null = jensen_shannon_divergences(np.tile(reference, (400, 1)), draws)
            naive += result.divergence > np.quantile(null, 1 - alpha)
    assert alarms <= binom.ppf(1 - 1e-4, windows, alpha)
    assert alarms >= binom.ppf(1e-4, windows, 0.5 * alpha)
    assert naive > 50


def test_drift_is_seen(shares):
    """Breaks if the test has no power: a third of the usage moves to three clusters, seen in nearly every window."""
    rng = np.random.default_rng(2)
    moved = 0.7 * shares
    moved[:3] += 0.1
    reference = rng.multinomial(300, shares)
    test = CalibratedDivergence.calibrate(reference, 500, alpha=0.002, seed=0)
    results = [test.compare(rng.multinomial(500, moved), seed=i) for i in range(20)]
    assert sum(result.exact and result.p_value <= 0.002 for result in results) >= 18
    assert all(result.divergence > test.threshold_ for result in results)


def test_clusters_that_one_side_lacks(shares):
    """Breaks if an empty cluster gives NaN or an error, and if a window in new clusters alone is no alarm."""
    reference, window = np.array([50, 0, 0, 10]), np.array([0, 40, 0, 0])
    test = CalibratedDivergence.calibrate(reference, 40, alpha=0.01, seed=0)
    result = test.compare(window, seed=0)
    assert result.divergence == pytest.approx(1.0)
    assert result.p_value < 0.01
    with pytest.raises(DataError, match="got none"):
        CalibratedDivergence.calibrate(np.zeros(4, dtype=np.int64), 40, alpha=0.01, seed=0)
