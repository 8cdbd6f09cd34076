from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compass.selection import proportional, water_filling

small = st.integers(1, 4).flatmap(
    lambda k: st.tuples(
        st.lists(st.integers(0, 6), min_size=k, max_size=k),
        st.lists(st.integers(0, 5), min_size=k, max_size=k),
        st.lists(st.integers(0, 5), min_size=k, max_size=k),
        st.integers(0, 12),
    )
)
large = st.integers(1, 40).flatmap(
    lambda k: st.tuples(
        st.lists(st.just(0.0) | st.floats(1e-4, 1), min_size=k, max_size=k),
        st.lists(st.floats(0, 50), min_size=k, max_size=k),
        st.lists(st.integers(0, 60), min_size=k, max_size=k),
        st.integers(0, 500),
    )
)


def chi_square(s, p, n):
    """The stated objective, with N left out where it is the same for every split of one budget."""
    wanted = p > 0
    return float(np.sum((n + s)[wanted] ** 2 / p[wanted]))


@given(large)
def test_water_filling_keeps_to_budget_and_supply(case):
    """Breaks if a cluster is over-drawn, budget is lost while a wanted cluster has supply, or a stranger is fed."""
    p, n, supply, budget = map(np.asarray, case)
    s = water_filling(p, n, supply, int(budget))
    assert ((s >= 0) & (s <= supply)).all()
    assert s[p == 0].sum() == 0
    assert s.sum() == min(int(budget), int(supply[p > 0].sum()))


@settings(max_examples=150)
@given(small)
def test_water_filling_is_optimal_in_whole_rows(case):
    """Breaks if rounding strays from the least chi-square distance by a single row; reference: every split there is."""
    p, n, supply, budget = (np.asarray(x, dtype=np.int64) for x in case)
    s = water_filling(p, n, supply, int(budget))
    total = s.sum()
    splits = itertools.product(*(range(int(a) + 1) if w else (0,) for a, w in zip(supply, p, strict=True)))
    best = min(chi_square(np.array(x), p, n) for x in splits if sum(x) == total)
    assert chi_square(s, p, n) == pytest.approx(best, abs=1e-9)


def test_water_filling_also_has_the_least_divergence():
    """Breaks if the documented claim is wrong: with a budget that needs no rounding, no split in whole rows comes
    closer to usage in Kullback-Leibler divergence either; reference: every split."""
    p, n, supply, budget = np.array([0.5, 0.3, 0.2]), np.array([2, 4, 0]), np.array([9, 9, 2]), 10
    s = water_filling(p, n, supply, budget)

    def divergence(x):
        q = (n + x) / (n.sum() + budget)
        return float(np.sum(p * np.log(p / np.maximum(q, 1e-12))))

    splits = [np.array(x) for x in itertools.product(range(10), range(10), range(3)) if sum(x) == budget]
    assert divergence(s) == pytest.approx(min(map(divergence, splits)))


@given(large, st.randoms(use_true_random=False))
def test_water_filling_does_not_depend_on_the_order_of_clusters(case, random):
    """Breaks if more than exact ties hangs on a cluster's number: the objective stays the same under a permutation."""
    p, n, supply, budget = (np.asarray(x, dtype=np.float64) for x in case)
    order = np.array(random.sample(range(len(p)), len(p)))
    one = water_filling(p, n, supply, int(budget))
    two = water_filling(p[order], n[order], supply[order], int(budget))
    assert chi_square(one, p, n) == pytest.approx(chi_square(two, p[order], n[order]), rel=1e-6)


def test_a_vanishing_share_counts_as_none():
    """Breaks if the water level overflows: doubles can hold shares far below one row in any pool."""
    np.testing.assert_array_equal(water_filling([1.0, 1e-308], [0, 2], [5, 5], 8), [5, 0])
    np.testing.assert_array_equal(proportional([1.0, 1e-308], [5, 5], 8), [5, 0])


def test_what_is_plentiful_gets_nothing():
    """Breaks if the training data is not counted: cluster 0 already has more than its share of the whole."""
    np.testing.assert_array_equal(water_filling([0.5, 0.5], [30, 0], [50, 50], 10), [0, 10])
    np.testing.assert_array_equal(water_filling([0.5, 0.5], [4, 0], [50, 50], 10), [3, 7])


@given(large)
def test_proportional_keeps_to_budget_and_supply(case):
    """Breaks as above; the shares of exhausted clusters must find a place."""
    w, _, supply, budget = map(np.asarray, case)
    s = proportional(w, supply, int(budget))
    assert ((s >= 0) & (s <= supply)).all()
    assert s[w == 0].sum() == 0
    assert s.sum() == min(int(budget), int(supply[w > 0].sum()))


def test_proportional_passes_on_the_share_of_an_exhausted_cluster():
    """Breaks if the rest is not split in proportion again: 10 rows at 5:3:2, of which the first can give one only."""
    np.testing.assert_array_equal(proportional([0.5, 0.3, 0.2], [99, 99, 99], 10), [5, 3, 2])
    np.testing.assert_array_equal(proportional([0.5, 0.3, 0.2], [1, 99, 99], 11), [1, 6, 4])
    np.testing.assert_array_equal(proportional([1, 1, 1], [9, 9, 9], 4), [2, 1, 1])


def test_wrong_input_is_refused():
    """Breaks if shapes are broadcast or negative amounts are taken."""
    with pytest.raises(ValueError, match="one value for each cluster"):
        water_filling([0.5, 0.5], [1], [1, 1], 3)
    with pytest.raises(ValueError, match="must not be negative"):
        water_filling([0.5, 0.5], [1, -1], [1, 1], 3)
    with pytest.raises(ValueError, match="must not be negative"):
        proportional([1.0], [1], -1)
