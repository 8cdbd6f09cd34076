from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom

from compass.drift import default_tests
from compass.drift.level import draws_for, level, sequential_p_value, total_share


def test_levels_spend_the_promise_and_no_more():
    """Breaks if a test's level times its checks is more than its share of one alarm in N prompts."""
    n = 10_000
    alphas = {every: level(every, 0.5, n) for every in (1, 100, 500)}
    for every, alpha in alphas.items():
        assert alpha * (n / every) == pytest.approx(0.5)
    assert level(500, 1.0, 100) == 1.0


def test_shares_never_add_up_to_more_than_the_promise():
    """Breaks if one more test makes false alarms more frequent, or if the five built-in shares are rounded to other
    levels than those of version 0.1."""
    shares = [test.share for test in default_tests()]
    assert sorted(shares) == [0.1, 0.1, 0.1, 0.2, 0.5]
    assert total_share(shares) == 1.0
    assert total_share([0.3]) == 1.0
    assert sum(share / total_share([*shares, 0.25]) for share in [*shares, 0.25]) == pytest.approx(1.0)


def test_p_values_are_valid_without_change():
    """Breaks if stopping early, or the last draw, makes p-values too small. 4,000 observed values from the null: the
    number with p <= alpha is binomial(4000, <= alpha); the bound fails once in 10,000 runs of a right test, and the
    seed is fixed."""
    rng = np.random.default_rng(0)
    p_values = np.array(
        [sequential_p_value(float(rng.normal()), lambda n: rng.normal(size=n), most=400) for _ in range(4000)]
    )
    for alpha in (0.005, 0.02, 0.1, 0.5):
        hits = int((p_values <= alpha).sum())
        assert binom.ppf(1e-4, 4000, 0.7 * alpha) <= hits <= binom.ppf(1 - 1e-4, 4000, alpha)


def test_stops_early_where_the_p_value_is_plainly_large():
    """Breaks if every check costs all draws: no monitor could make a thousand checks a second then."""
    drawn = []

    def draw(n: int) -> np.ndarray:
        drawn.append(n)
        return np.linspace(0.0, 1.0, n)

    assert sequential_p_value(0.5, draw, most=100_000) == pytest.approx(20 / 52)
    assert drawn == [64]


def test_the_smallest_p_value_is_below_the_level():
    """Breaks if no window whatever could raise an alarm."""
    for alpha in (0.3, 0.01, 1e-4):
        most = draws_for(alpha)
        assert sequential_p_value(1.0, lambda n: np.zeros(n), most=most) == 1 / (most + 1) < alpha
