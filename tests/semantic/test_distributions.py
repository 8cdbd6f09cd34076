from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import entropy

from compass.semantic import gap, histogram, jensen_shannon_divergence, jensen_shannon_divergences, shares


def test_histogram_counts_and_refuses_strangers():
    """Breaks if empty clusters are dropped or a label outside the space is counted."""
    np.testing.assert_array_equal(histogram([0, 2, 2], 4), [1, 0, 2, 0])
    for labels in ([4], [-1]):
        with pytest.raises(ValueError, match="labels must lie in"):
            histogram(labels, 4)


def test_shares_sum_to_one_or_to_nothing():
    """Breaks if an empty sample divides by zero."""
    np.testing.assert_allclose(shares([1, 3]), [0.25, 0.75])
    np.testing.assert_array_equal(shares([0, 0]), [0.0, 0.0])


def test_gap_keeps_what_is_missing_alone():
    """Breaks if the sign is wrong or a surplus is counted."""
    np.testing.assert_allclose(gap([0.5, 0.5, 0.0], [0.2, 0.3, 0.5]), [0.3, 0.2, 0.0])
    with pytest.raises(ValueError, match="shapes"):
        gap([1.0], [0.5, 0.5])


def test_divergence_against_its_definition():
    """Breaks if the distance (the root) or another base is returned; reference: the entropy form."""
    rng = np.random.default_rng(0)
    for _ in range(20):
        p, q = rng.dirichlet(np.ones(6)), rng.dirichlet(np.ones(6))
        expected = entropy((p + q) / 2, base=2) - (entropy(p, base=2) + entropy(q, base=2)) / 2
        assert jensen_shannon_divergence(p * 7, q) == pytest.approx(expected, abs=1e-9)
    assert jensen_shannon_divergence([1, 0], [0, 1]) == pytest.approx(1.0)
    assert jensen_shannon_divergence([1, 3], [2, 6]) == pytest.approx(0.0, abs=1e-9)
    with pytest.raises(ValueError, match="sums to 0"):
        jensen_shannon_divergence([0, 0], [1, 1])


def test_divergences_of_many_rows_are_those_of_each():
    """Breaks if the form for many rows is another measure, does not normalise, or gives NaN for equal rows."""
    rng = np.random.default_rng(0)
    p, q = rng.integers(0, 5, (20, 6)), rng.integers(1, 9, (20, 6))
    p[:, 0] += 1
    q[3] = 2 * p[3]
    expected = [jensen_shannon_divergence(a, b) for a, b in zip(p, q, strict=True)]
    np.testing.assert_allclose(jensen_shannon_divergences(p, q), expected, atol=1e-9)
    with pytest.raises(ValueError, match="sums to 0"):
        jensen_shannon_divergences(np.zeros((1, 6)), q[:1])
    with pytest.raises(ValueError, match="one shape"):
        jensen_shannon_divergences(p, q[:, :5])
