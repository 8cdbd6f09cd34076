from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import hypergeom

from compass.drift.tests.loss import loss_p_value


def test_right_and_wrong_against_fishers_exact_test():
    """Breaks if the permutation is not one-sided or not over the pooled rows: 0/1 losses are hypergeometric."""
    window, reference = [1] * 16 + [0] * 24, [1] * 12 + [0] * 88
    exact = hypergeom.sf(15, 140, 28, 40)
    assert exact < 0.001
    assert loss_p_value(window, reference, most=200_000, seed=0) == pytest.approx(exact, rel=0.7)
    assert loss_p_value(reference, window, most=1000, seed=0) > 0.9


def test_valid_without_change():
    """Breaks if the level is not kept with skewed losses and a small reference; 10 expected of 500, sd 3.1."""
    rng = np.random.default_rng(0)
    alarms = sum(
        loss_p_value(rng.exponential(size=50), rng.exponential(size=30), most=200, seed=i) <= 0.02 for i in range(500)
    )
    assert alarms <= 22
