"""Which class a usage row expects, on candidates whose topics are known."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from compass.errors import DataError
from compass.selection import get_strategy
from compass.selection.agreement import neighbours, rows_with_class
from compass.selection.caps import NO_CAPS
from compass.selection.classes import class_probabilities, cut, known_probabilities
from compass.selection.density import pool_density, queries
from compass.selection.unseen import _odds, unseen_probabilities


def by_topic(candidates):
    """Candidates whose class is the topic."""
    return dataclasses.replace(
        candidates, train_classes=candidates.train_clusters, pool_classes=candidates.pool_clusters
    )


def probabilities(candidates):
    density = pool_density(candidates, 0)
    return class_probabilities(candidates, queries(candidates, density), density, 0)


@pytest.fixture
def answering(make_candidates):
    """Usage of topics 0 and 1, training rows of 0 to 2."""
    return by_topic(make_candidates([6, 6, 0, 0], [2, 2, 8, 0], [40, 40, 40, 40], noise=0.1))


def test_a_usage_row_expects_the_class_of_the_training_rows_like_it(answering):
    """Breaks if classes and columns are mixed up."""
    likely = known_probabilities(answering, np.array([0, 1, 2]), 0)
    assert likely.shape == (12, 3)
    np.testing.assert_array_equal(likely.argmax(axis=1), answering.usage_clusters)
    np.testing.assert_allclose(likely.sum(axis=1), 1)


def test_numbers_of_classes_mean_nothing(answering):
    """Breaks if classes are used as indices: the numbers may have gaps, and a number of the pool's may lie between."""
    renamed = np.array([7, 900, 30, 450])
    other = dataclasses.replace(
        answering, train_classes=renamed[answering.train_classes], pool_classes=renamed[answering.pool_classes]
    )
    (classes, one), (numbers, two) = probabilities(answering), probabilities(other)
    assert sorted(renamed[classes]) == numbers.tolist()
    np.testing.assert_allclose(one, two[:, np.searchsorted(numbers, renamed[classes])])
    picks = [get_strategy("compass", NO_CAPS).select(c, 40, seed=0).indices for c in (answering, other)]
    np.testing.assert_array_equal(np.sort(picks[0]), np.sort(picks[1]))


def test_a_class_with_many_rows_is_not_expected_for_being_near_to_everything(make_candidates):
    """Breaks if hubness is not taken off: of two classes at equal distance the one with fewer rows is as likely."""
    c = by_topic(make_candidates([10, 0, 0, 0], [2, 30, 8, 8], [60, 60, 60, 60], noise=0.4))
    near = c.usage @ c.train.T
    raw = np.stack([near[:, c.train_clusters == k].max(axis=1) for k in range(4)], axis=1)
    plain = np.exp(raw / 0.05) / np.exp(raw / 0.05).sum(axis=1, keepdims=True)
    assert known_probabilities(c, np.arange(4), 0)[:, 0].mean() > plain[:, 0].mean() + 0.05


def test_the_half_of_usage_that_is_known_does_not_hide_the_half_that_is_not(make_candidates):
    """Breaks if usage is judged as a whole: what is known of one half says nothing of the other."""
    c = by_topic(make_candidates([12, 12, 0, 0], [12, 0, 12, 12], [60, 60, 60, 60], noise=0.3))
    classes, likely = probabilities(c)
    assert np.mean(classes[likely.argmax(axis=1)] == c.usage_clusters) > 0.85
    picks = get_strategy("compass", NO_CAPS).select(c, 24, seed=0).indices
    assert np.mean(c.pool_clusters[picks] == 1) > 0.4


def unseen(candidates, known):
    """How likely each usage row asks for another class than the known ones, by plain neighbours."""
    votes = candidates.pool_classes[np.argsort(-(candidates.usage @ candidates.pool.T), axis=1)[:, :20]]
    return unseen_probabilities(candidates, votes, np.array(known), 0)


@pytest.mark.parametrize("rows", [7, 14])
def test_few_usage_rows_of_an_unseen_class_are_found_among_many_of_known_ones(make_candidates, rows):
    """Breaks if usage is judged as a whole: a seventh or a quarter of it is about topic 2, and got no pick."""
    c = by_topic(make_candidates([20, 20, rows, 0], [12, 12, 0, 12], [60, 60, 60, 60], noise=0.3))
    likely, asks = unseen(c, [0, 1, 3]), c.usage_clusters == 2
    assert likely[asks].mean() > 0.6
    assert likely[~asks].mean() < 0.1
    picks = get_strategy("compass", NO_CAPS).select(c, 40, seed=0).indices
    assert np.mean(c.pool_clusters[picks] == 2) > 0.7 * asks.mean()


def test_training_rows_are_compared_in_chunks(make_candidates):
    c = by_topic(make_candidates([6, 6, 6, 0], [8, 8, 0, 8], [40, 40, 40, 40], noise=0.3))
    whole = unseen(c, [0, 1, 3])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("compass.selection.unseen.CHUNK_ROWS", 7)
        np.testing.assert_allclose(unseen(c, [0, 1, 3]), whole, rtol=1e-6)


def test_without_a_sign_votes_alone_tell(make_candidates):
    """One row of each class has none of its own to be near to, in one language none is cross-lingual."""
    c = by_topic(make_candidates([6, 0, 6, 0], [1, 0, 0, 0], [40, 40, 40, 40], noise=0.05))
    c = dataclasses.replace(c, pool_languages=("de",) * 160)
    likely = unseen(c, [0])
    np.testing.assert_allclose(likely[:6], 0.0, atol=0.05)
    np.testing.assert_allclose(likely[6:], 1.0, atol=0.05)


def test_the_training_data_tells_opposites_apart(make_candidates):
    """Breaks if the bridge is not used: topics 0 and 1 lie together in the pool, the training rows tell them apart."""
    rng = np.random.default_rng(0)
    c = make_candidates([10, 0, 0, 0], [4, 4, 4, 0], [60, 60, 60, 60], noise=0.05)
    pool = c.pool.copy()
    pool[:120, :2] = pool[:120, :2].mean(axis=1, keepdims=True) + 0.05 * rng.normal(size=(120, 2))
    pool /= np.linalg.norm(pool, axis=1, keepdims=True)
    # A third of the rows keeps what tells the two apart, so that the class follows from the prompt in the pool too.
    pool[:120:3] = c.pool[:120:3]
    classes = np.repeat(np.arange(4), 60)
    bridged = dataclasses.replace(c, pool=pool, train_classes=c.train_clusters, pool_classes=classes)
    share = {
        text: np.mean(classes[get_strategy(text, NO_CAPS).select(bridged, 50, seed=0).indices] == 0)
        for text in ("compass", "compass:class_quotas=false")
    }
    assert share["compass:class_quotas=false"] < 0.75 < 0.9 < share["compass"], share


def test_a_usage_row_is_judged_with_those_that_are_like_it(make_candidates):
    """Breaks if one row whose pool neighbours are all mistaken is believed against the rows around it."""
    c = by_topic(make_candidates([12, 12, 6, 0], [12, 12, 0, 0], [60, 60, 60, 60], noise=0.3))
    votes = c.pool_classes[np.argsort(-(c.usage @ c.pool.T), axis=1)[:, :20]]
    votes[3] = 2
    likely = unseen_probabilities(c, votes, np.array([0, 1]), 0)
    assert likely[3] < 0.5
    assert likely[24:].mean() > 0.8


def test_what_a_sign_says_does_not_hang_on_its_unit():
    """Breaks if cosines that lie close together are flattened by the penalty: .90 and .85 tell as much as 90 and 85."""
    rng = np.random.default_rng(0)
    seen, wholly_unseen, even = 0.90 + 0.01 * rng.normal(size=40), 0.85 + 0.01 * rng.normal(size=40), np.ones(40)
    odds = _odds(seen, wholly_unseen, even, even)
    np.testing.assert_allclose(
        _odds(100 * seen, 100 * wholly_unseen, even, even)(np.array([85.0])), odds(np.array([0.85]))
    )
    assert odds(np.array([0.85]))[0] > 2 > -2 > odds(np.array([0.90]))[0]


@pytest.mark.parametrize(("usage", "truth"), [([12, 12, 0, 0], 0.0), ([6, 6, 6, 6], 0.5), ([0, 0, 12, 12], 1.0)])
@pytest.mark.parametrize("noise", [0.05, 0.3])
def test_the_share_of_usage_whose_class_is_unseen_is_found(make_candidates, usage, truth, noise):
    """No training row is of topics 2 and 3. Breaks if the neighbours' errors are not corrected for: at noise .3 they
    err."""
    c = by_topic(make_candidates(usage, [5, 5, 0, 0], [80, 80, 80, 80], noise=noise))
    assert unseen(c, [0, 1]).mean() == pytest.approx(truth, abs=0.12)


def test_the_share_is_found_where_few_rows_have_cross_lingual_neighbours(make_candidates):
    """Breaks if rows of a row's own language stand in for cross-lingual ones: six of the pool's rows are French."""
    c = by_topic(make_candidates([6, 6, 6, 6], [5, 5, 0, 0], [150, 150, 150, 150], noise=0.05))
    languages = tuple("fr" if i % 100 == 50 else "de" for i in range(600))
    c = dataclasses.replace(c, pool_languages=languages)
    _, near = neighbours(c, rows_with_class(c, 0), 20, cross_lingual=True)
    assert (near >= 0).sum(axis=1).min() == 6
    assert unseen(c, [0, 1]).mean() == pytest.approx(0.5, abs=0.12)


def test_unseen_classes_are_expected_where_usage_is_far_from_the_training_data(make_candidates):
    """Breaks if usage of unseen classes is taken for a known one, or if known usage asks for unseen classes."""
    new = by_topic(make_candidates([0, 0, 8, 8], [6, 6, 0, 0], [60, 60, 60, 60], noise=0.1))
    classes, likely = probabilities(new)
    assert classes.tolist() == [0, 1, 2, 3]
    np.testing.assert_allclose(likely.sum(axis=1), 1)
    picked = new.pool_classes[get_strategy("compass", NO_CAPS).select(new, 40, seed=0).indices]
    assert np.bincount(picked, minlength=4)[2:].min() >= 15
    known = by_topic(make_candidates([8, 8, 0, 0], [6, 6, 0, 0], [60, 60, 60, 60], noise=0.1))
    picked = known.pool_classes[get_strategy("compass", NO_CAPS).select(known, 40, seed=0).indices]
    assert (picked < 2).all()


def test_usage_that_is_torn_between_many_classes_still_asks():
    """Breaks if every probability lies under the least one: a hundred classes, all as near as the others."""
    np.testing.assert_allclose(cut(np.full((12, 100), 0.01)), 0.01)
    np.testing.assert_allclose(cut(np.array([[0.9, 0.085, 0.015]])), [[0.9 / 0.985, 0.085 / 0.985, 0.0]])


def test_half_of_the_classes_is_refused(answering):
    """Breaks if arrays that do not belong together go through."""
    with pytest.raises(DataError, match="give both or none"):
        dataclasses.replace(answering, train_classes=None)
    with pytest.raises(DataError, match="12 rows and 3 classes"):
        dataclasses.replace(answering, train_classes=answering.train_classes[:3])
    with pytest.raises(DataError, match="160 rows and 5 classes"):
        dataclasses.replace(answering, pool_classes=answering.pool_classes[:5])
