"""What usage rows ask for: shares, lists, windows and reserved rows, against cases worked by hand."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from compass.selection import Caps, get_strategy
from compass.selection.caps import NO_CAPS
from compass.selection.classes import class_probabilities
from compass.selection.density import best_rows, pool_density, queries
from compass.selection.quotas import water_filling
from compass.selection.requests import (
    WINDOW_DEPTH,
    by_class,
    by_usage_row,
    concatenate,
    covered,
    drawn_within_windows,
    rows_for_gaps,
)
from compass.selection.round_robin import Requests

COMPASS = get_strategy("compass", NO_CAPS)


def by_topic(candidates):
    """Candidates whose class is the topic."""
    return dataclasses.replace(
        candidates, train_classes=candidates.train_clusters, pool_classes=candidates.pool_clusters
    )


@pytest.fixture
def skewed(make_candidates):
    """Usage of topics 0 to 2 alike; two training rows of 0 and of 1, ten of 2 and of 3."""
    return by_topic(make_candidates([8, 8, 8, 0], [2, 2, 10, 10], [40, 40, 40, 40], noise=0.05))


def requests_of(candidates, budget):
    density = pool_density(candidates, 0)
    query = queries(candidates, density)
    classes, likely = class_probabilities(candidates, query, density, 0)
    return by_class(candidates, query, density, classes, likely, budget, 0)[0]


def counts(candidates, selection):
    return np.bincount(candidates.pool_classes[selection.indices], minlength=4)


def test_a_class_gets_what_usage_asks_of_it_less_the_training_rows(skewed):
    """Breaks if training rows do not count, or if picks leave the quotas: (2 + 20, 2 + 20, 10 + 12) are alike."""
    quotas = water_filling([1 / 3, 1 / 3, 1 / 3, 0], [2, 2, 10, 10], [40] * 4, 52)
    assert quotas.tolist() == [20, 20, 12, 0]
    selection = COMPASS.select(skewed, 52, seed=0)
    np.testing.assert_allclose(counts(skewed, selection), quotas, atol=1)
    account = selection.classes
    assert [account.classes.tolist(), account.train.tolist(), account.supply.tolist()] == [
        [0, 1, 2, 3],
        [2, 2, 10, 10],
        [40] * 4,
    ]
    np.testing.assert_allclose(account.expected, [1 / 3, 1 / 3, 1 / 3, 0], atol=0.02)
    np.testing.assert_array_equal(account.picked, counts(skewed, selection))
    assert account.quotas.sum() == 52


@pytest.mark.parametrize(("usage", "train"), [([30, 30, 30], [2, 2, 6]), ([100, 10, 10], [60, 2, 2])])
def test_quotas_hold_in_tokens(make_candidates, usage, train):
    """Breaks if usage rows that each ask for less than a row are all served, or none: 50 rows' worth for 90 or 120."""
    costs = np.random.default_rng(1).integers(20, 40, 600)
    c = by_topic(make_candidates(usage, train, [200, 200, 200], costs=costs, noise=0.05))
    account = COMPASS.select(c, 1480, seed=0).classes
    assert account.quotas.sum() == 1480
    np.testing.assert_allclose(account.picked, account.quotas, atol=3 * 39)


def test_the_order_of_the_pool_does_not_matter(skewed, reorder):
    """Breaks if a draw, a vote or a tie goes by a row's place."""
    order = np.random.default_rng(3).permutation(160)
    picks = [COMPASS.select(c, 40, seed=0).indices for c in (skewed, reorder(skewed, order))]
    np.testing.assert_array_equal(picks[0], order[picks[1]])


def test_each_request_is_for_rows_of_one_class_and_all_together_for_the_budget(skewed):
    """Breaks if members of classes are mixed up, or if rounding loses a part of the budget."""
    requests = requests_of(skewed, 47)
    assert requests.shares.sum() == 47
    asked = [set(skewed.pool_classes[rows]) for rows in requests.rows]
    assert asked == [{int(skewed.usage_clusters[usage])} for usage in requests.requesters]
    assert set().union(*asked) == {0, 1, 2}
    assert len(requests.requesters) == len(requests.rows) == len(requests.scores) == len(requests.depths)


def test_what_the_pool_lacks_of_the_classes_goes_to_the_nearest_rows_of_others(make_candidates):
    """Breaks if the budget is left over, or with an error, where the wanted classes are few in the pool or none."""
    few = by_topic(make_candidates([8, 8, 0, 0], [2, 2, 4, 0], [5, 3, 60, 60], noise=0.1))
    selection = COMPASS.select(few, 30, seed=0)
    assert selection.spent == 30
    assert counts(few, selection)[:2].tolist() == [5, 3]
    none = by_topic(make_candidates([8, 8, 0, 0], [2, 2, 4, 0], [0, 0, 60, 60], noise=0.1))
    assert COMPASS.select(none, 30, seed=0).spent == 30
    # Every row of the pool is of a wanted class, and the budget is larger than the pool.
    all_wanted = by_topic(make_candidates([8, 8], [2, 2], [20, 20], noise=0.1))
    assert COMPASS.select(all_wanted, 60, seed=0).shortfall == 20
    # More of the wanted class than a list is long.
    large = by_topic(make_candidates([12, 0, 0], [2, 4, 4], [1200, 300, 300], noise=0.1))
    assert COMPASS.select(large, 1300, seed=0).spent == 1300


def test_a_class_with_few_rows_asks_for_these_alone(make_candidates):
    """Breaks if a short list is filled up: that would count in demand and in what caps held back."""
    c = make_candidates([12, 12, 0], [2, 2, 10], [12, 120, 120], languages=("de", "fr"), noise=0.05)
    spread = np.where(c.pool_clusters == 0, np.arange(252) % 4, c.pool_clusters + 3)
    c = dataclasses.replace(by_topic(c), pool_clusters=spread, n_clusters=6)
    selection = get_strategy("compass", Caps(language_cap=0.25, duplicate_similarity=1.0)).select(c, 30, seed=0)
    quota = selection.classes.quotas[0]
    assert quota == 12
    np.testing.assert_allclose(selection.demand[:4], quota / 4, atol=0.5)
    assert all(rows <= 252 * 12 for rows in selection.notes.values())


def test_without_classes_each_usage_row_asks_for_what_the_training_data_does_not_cover(make_candidates):
    """Breaks if training rows do not count, or one that covers several usage rows counts for each: six usage rows of
    topic 0 share the three training rows that cover them, six of topic 1 have none."""
    c = make_candidates([6, 6, 0], [3, 0, 0], [40, 40, 40], noise=0.05)
    c = dataclasses.replace(c, train=np.repeat(np.eye(12, dtype=np.float32)[:1], 3, axis=0))
    near = c.usage @ c.pool.T >= (c.usage @ c.train.T)[:, :1]
    assert (near.sum(axis=1)[:6] < 10).all()
    np.testing.assert_allclose(covered(c), [0.5] * 6 + [0] * 6)
    np.testing.assert_array_equal(
        covered(dataclasses.replace(c, train=c.train[:0], train_clusters=c.train_clusters[:0])), 0
    )
    density = pool_density(c, 0)
    query = queries(c, density)
    requests = by_usage_row(c, query, density, 21)
    assert requests.shares.tolist() == water_filling(np.full(12, 1 / 12), covered(c), np.full(12, 21), 21).tolist()
    assert requests.shares[:6].sum() == 9
    np.testing.assert_array_equal(np.stack(requests.rows), best_rows(c, query, density, 1000)[0])


def test_a_window_ends_by_rank_or_where_the_rows_are_about_something_else() -> None:
    """A usage row with few relevant rows would draw from what has nothing to do with it."""
    flat = np.linspace(0.9, 0.9 - WINDOW_DEPTH / 2, 100)
    steep = np.array([0.9, 0.88, 0.86, *np.linspace(0.5, 0.11, 97)])
    scores = tuple(values.astype(np.float32) for values in (flat, steep, steep, flat))
    n_rows = np.array([2, 3, 4, 200])
    requests = Requests(np.arange(4), (np.arange(100),) * 4, scores, n_rows, n_rows)
    backwards = np.arange(100)[::-1]
    drawn = drawn_within_windows(requests, backwards)
    windows = (40, 3, 3 + 50, 100)
    assert drawn.depths.tolist() == [40, 3, 53, 200]
    for window, rows, own, values in zip(windows, drawn.rows, drawn.scores, scores, strict=True):
        assert rows.tolist() == [*reversed(range(window)), *range(window, 100)]
        np.testing.assert_array_equal(own, values[rows])


def test_picks_of_a_class_are_drawn_and_picks_of_a_row_are_the_best(skewed):
    """Breaks if picks by quotas are the best rows, one sentence in many languages, if they leave what usage is about,
    if the seed does not decide the draw, or if picks without quotas are a draw."""
    alike, share = {}, {}
    for text in ("compass", "compass:class_quotas=false"):
        selection = get_strategy(text, NO_CAPS).select(skewed, 24, seed=0)
        picks = skewed.pool[selection.indices]
        alike[text] = float(np.sort(picks @ picks.T, axis=1)[:, -2].mean())
        share[text] = float(np.mean(selection.clusters < 3))
        seeds = [get_strategy(text, NO_CAPS).select(skewed, 24, seed=seed).indices.tolist() for seed in (0, 1)]
        assert (seeds[0] != seeds[1]) == (text == "compass")
    assert alike["compass"] < alike["compass:class_quotas=false"]
    assert min(share.values()) >= 0.9


def test_requests_are_put_together_in_order(skewed):
    """Breaks if rows come under another requester, or if no requests at all are an error."""
    one = requests_of(skewed, 20)
    both = concatenate([one, one])
    n = len(one.requesters)
    assert both.requesters.tolist() == one.requesters.tolist() * 2
    assert both.shares.sum() == 40
    for i in range(2 * n):
        np.testing.assert_array_equal(both.rows[i], one.rows[i % n])
    assert len(concatenate([]).requesters) == 0


def test_the_row_closest_to_usage_is_reserved_for_each_gap_cluster(make_candidates):
    """Breaks if a cluster without a gap or without supply gets one, if another row than the closest is taken, or if
    more is reserved than the budget can pay, the widest gap first."""
    c = make_candidates([4, 2, 1, 1], [0, 0, 0, 8], [10, 10, 0, 10], noise=0.2)
    missing = np.array([0.5, 0.25, 0.125, 0.0])
    reserved = rows_for_gaps(c, missing, 5)
    for own, usage, pool in zip(reserved, (range(4), range(4, 6)), (range(10), range(10, 20)), strict=True):
        similarity = c.usage[usage] @ c.pool[pool].T
        assert own.score == pytest.approx(similarity.max())
        assert own.score == pytest.approx(float(c.usage[own.usage_row] @ c.pool[own.row]))
    assert rows_for_gaps(c, missing, 1) == reserved[:1]


def test_every_gap_cluster_with_supply_still_gets_a_row_and_it_does_not_lead_the_list(make_candidates):
    """Breaks if quotas starve a cluster: the one row of usage in cluster 3 expects a class that the training data has
    plenty of. Its row is the best of nothing, and comes last."""
    c = make_candidates([10, 10, 0, 1], [2, 2, 20, 0], [60, 60, 60, 60], noise=0.1)
    classes = np.array([0, 1, 2, 2])
    c = dataclasses.replace(c, train_classes=classes[c.train_clusters], pool_classes=classes[c.pool_clusters])
    selection = COMPASS.select(c, 24, seed=0)
    assert selection.spent == 24
    assert (selection.picked[[0, 1, 3]] > 0).all()
    assert selection.reasons[-1] == (
        "added so that its cluster gets at least one row; closest to usage row 21; cluster 3 (gap 0.05)"
    )
    assert selection.scores[-1] == pytest.approx(float(c.usage[20] @ c.pool[selection.indices[-1]]))
    assert not any("added" in reason for reason in selection.reasons[:-1])


def test_filling_one_gap_cluster_empties_no_other(make_candidates):
    """Breaks if the row of an empty cluster takes the place of the only one that another cluster had."""
    usage = [6, 5, 4, 3, 2, 2, 1, 1, 1, 1]
    c = make_candidates(usage, [0] * 9 + [1], [12] * 10, noise=0.6)
    for budget in range(10, 30):
        selection = COMPASS.select(c, budget, seed=0)
        gap = np.bincount(c.usage_clusters, minlength=10) / 26 > np.bincount(c.train_clusters, minlength=10)
        assert (selection.picked[gap] > 0).all(), budget
        assert selection.spent == budget
