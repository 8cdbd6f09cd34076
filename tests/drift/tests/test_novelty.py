from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import nhypergeom

from compass.drift.tests.novelty import Exceedances


def test_p_values_against_the_negative_hypergeometric():
    """Breaks if the law of exceedances is wrong: the number of new values met before the r-th reference value, going
    down from the largest, is negative hypergeometric."""
    distances = np.random.default_rng(0).gamma(2.0, size=300)
    test = Exceedances.fit(distances, 200, tail=0.05)
    assert test.reference_rate == 15 / 300
    assert np.sum(distances >= test.cut) == 15
    for novel in (0, 5, 10, 20, 40):
        assert test.p_value(novel) == pytest.approx(nhypergeom.sf(novel - 1, 500, 200, 15), rel=1e-6)


def test_valid_for_any_law_of_distances_and_any_reference():
    """Breaks if a small reference's tail is taken for the truth: 3,000 pairs of 60 reference distances and a window of
    500. By the law itself the level is kept; the naive binomial(n, 5 %) rule alarms several times as often."""
    rng = np.random.default_rng(1)
    alpha = 0.01
    alarms = naive = 0
    for _ in range(3000):
        test = Exceedances.fit(rng.lognormal(size=60), 500, tail=0.05)
        novel = int(test.novel(rng.lognormal(size=500)).sum())
        alarms += test.p_value(novel) <= alpha
        naive += novel / 500 > 0.05 + 2.33 * np.sqrt(0.05 * 0.95 / 500)
    # 30 expected, standard deviation 5.5
    assert alarms <= 52
    assert naive > 300


def test_ties_are_not_novel():
    """Breaks if repeated prompts, at the very distance of the cut, raise alarms."""
    test = Exceedances.fit(np.full(100, 0.3), 50, tail=0.05)
    assert not test.novel(np.full(50, 0.3)).any()
    assert test.p_value(0) == pytest.approx(1.0)


def test_threshold_is_the_first_alarm():
    """Breaks if the threshold that people see is not where the alarm starts."""
    test = Exceedances.fit(np.random.default_rng(0).random(1000), 200, tail=0.05)
    first = round(test.threshold(0.01) * 200)
    assert test.p_value(first) <= 0.01 < test.p_value(first - 1)
    assert Exceedances.fit([0.1], 1, tail=0.5).threshold(1e-9) > 1
