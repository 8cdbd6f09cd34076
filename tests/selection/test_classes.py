from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from compass.config import SelectionConfig
from compass.errors import DataError
from compass.selection import get_strategy
from compass.selection.classes import Expected, agreement, answer_kinds, answer_limits, expected_answers, familiarity

OPTIONS = dataclasses.replace(SelectionConfig(), language_cap=1.0, duplicate_similarity=1.0, answer_quotas=False)
"""The budget is not split over kinds: that is tested in test_answer_quotas.py."""


@pytest.fixture
def answering(make_candidates):
    """Candidates whose kind of answer is the topic: usage of topics 0 and 1, rows at hand of 0 to 2."""
    c = make_candidates([6, 6, 0, 0], [2, 2, 8, 0], [40, 40, 40, 40], noise=0.1)
    return dataclasses.replace(c, current_answers=c.current_clusters, pool_answers=c.pool_clusters)


def test_a_usage_row_expects_the_answer_of_the_rows_at_hand_like_it(answering):
    """Breaks if kinds and columns are mixed up, or if a kind that is not at hand gets a likelihood."""
    expected = expected_answers(answering, 0)
    assert expected.likely.shape == (12, 4)
    np.testing.assert_array_equal(expected.likely.argmax(axis=1), answering.usage_clusters)
    np.testing.assert_allclose(expected.likely.sum(axis=1), 1)
    assert (expected.likely[:, 3] == 0).all()
    np.testing.assert_array_equal(expected.columns, np.minimum(answering.pool_answers, 3))
    assert expected.trust == familiarity(answering)


def test_numbers_of_kinds_mean_nothing(answering):
    """Breaks if kinds are used as indices: the numbers may have gaps, and a number of the pool's may lie between."""
    renamed = np.array([7, 900, 30, 450])
    other = dataclasses.replace(
        answering,
        current_answers=renamed[answering.current_answers],
        pool_answers=renamed[answering.pool_answers],
    )
    one, two = expected_answers(answering, 0), expected_answers(other, 0)
    np.testing.assert_allclose(one.likely[:, one.columns], two.likely[:, two.columns])


def test_a_kind_with_many_rows_is_not_expected_for_being_near_to_everything(make_candidates):
    """Breaks if hubness is not taken off: between two kinds at equal distance the one with fewer rows is as likely."""
    c = make_candidates([10, 0, 0, 0], [2, 30, 8, 8], [60, 60, 60, 60], noise=0.4)
    c = dataclasses.replace(c, current_answers=c.current_clusters, pool_answers=c.pool_clusters)
    expected = expected_answers(c, 0).likely
    near = c.usage @ c.current.T
    raw = np.stack([near[:, c.current_clusters == k].max(axis=1) for k in range(4)], axis=1)
    likely = np.exp(raw / 0.05) / np.exp(raw / 0.05).sum(axis=1, keepdims=True)
    assert expected[:, 0].mean() > likely[:, 0].mean() + 0.05


def test_usage_that_is_far_from_the_rows_at_hand_expects_nothing(make_candidates):
    """Breaks if the nearest kind is taken however far it is: here no row at hand is of the usage's topics."""
    c = make_candidates([6, 6, 0, 0], [0, 0, 8, 8], [40, 40, 40, 40], noise=0.1)
    c = dataclasses.replace(c, current_answers=c.current_clusters, pool_answers=c.pool_clusters)
    assert familiarity(c) < 0.2
    same = make_candidates([6, 6, 0, 0], [8, 8, 0, 0], [40, 40, 40, 40], noise=0.1)
    same = dataclasses.replace(same, current_answers=same.current_clusters, pool_answers=same.pool_clusters)
    assert familiarity(same) > 0.8
    # In chunks, as where rows at hand are many.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("compass.selection.classes.CHUNK_ROWS", 7)
        chunked = familiarity(c), familiarity(same)
    assert chunked == pytest.approx((familiarity(c), familiarity(same)), rel=1e-6)


@pytest.mark.parametrize("mixed_languages", [True, False])
def test_agreement_is_cohens_kappa_with_the_nearest_row_abroad_or_at_home(answering, mixed_languages):
    """Breaks if a row is its own neighbour, if chance is not taken off, or if not the smaller of the two counts."""
    mixed = np.where(np.arange(160) % 3 == 0, 3, answering.pool_answers)
    languages = answering.pool_languages if mixed_languages else tuple("de" if kind % 2 else "fr" for kind in mixed)
    c = dataclasses.replace(answering, pool_answers=mixed, pool_languages=languages)
    similarity = c.pool @ c.pool.T
    np.fill_diagonal(similarity, -1)
    alike = np.array([[own == other for other in languages] for own in languages])
    kappas = [
        cohen_kappa_score(mixed, mixed[np.where(passed_over, -1, similarity).argmax(axis=1)])
        for passed_over in (alike, ~alike)
    ]
    assert agreement(c, 0) == pytest.approx(min(kappas))
    assert agreement(answering, 0) == pytest.approx(1.0)


def test_translations_of_one_question_are_no_kind(make_candidates):
    """Breaks if the answer to one question, the same in all languages, counts as a kind that the prompt decides."""
    c = make_candidates([6, 6, 0, 0], [3, 3, 3, 3], [40, 40, 40, 40], noise=0.2)
    questions = np.arange(160) // 4
    vectors = c.pool[questions * 4] + 1e-3 * c.pool
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    translated = dataclasses.replace(
        c,
        pool=vectors,
        pool_answers=questions,
        pool_languages=("de", "fr", "it", "es") * 40,
        current_answers=np.arange(12),
    )
    assert answer_kinds(translated, 0) is None
    topics = dataclasses.replace(translated, pool_answers=c.pool_clusters, current_answers=c.current_clusters)
    assert answer_kinds(topics, 0) is not None


def test_choices_a_to_d_say_nothing(answering):
    """Breaks if answers that are not a matter of the prompt steer the picks: they must be as if there were none."""
    rng = np.random.default_rng(0)
    letters = dataclasses.replace(
        answering, current_answers=rng.integers(0, 4, 12), pool_answers=rng.integers(0, 4, 160)
    )
    assert answer_kinds(letters, 0) is None
    without = dataclasses.replace(answering, current_answers=None, pool_answers=None)
    assert answer_kinds(without, 0) is None
    picks = [get_strategy("compass").select(c, 40, seed=0, options=OPTIONS).indices for c in (letters, without)]
    np.testing.assert_array_equal(*picks)


def test_one_language_has_nothing_to_agree_with(answering):
    """Breaks with an error, or a kappa, where the pool has one language or one kind of answer."""
    assert agreement(dataclasses.replace(answering, pool_languages=("de",) * 160), 0) == 0.0
    assert agreement(dataclasses.replace(answering, pool_answers=np.zeros(160, dtype=np.int64)), 0) == 0.0
    assert agreement(dataclasses.replace(answering, pool_answers=np.full(160, -1)), 0) == 0.0


def test_the_rows_at_hand_tell_opposites_apart(make_candidates):
    """Breaks if the bridge is not used: topics 0 and 1 lie together in the pool, the rows at hand tell them apart."""
    rng = np.random.default_rng(0)
    c = make_candidates([10, 0, 0, 0], [4, 4, 4, 0], [60, 60, 60, 60], noise=0.05)
    pool = c.pool.copy()
    pool[:120, :2] = pool[:120, :2].mean(axis=1, keepdims=True) + 0.05 * rng.normal(size=(120, 2))
    pool /= np.linalg.norm(pool, axis=1, keepdims=True)
    # A third of the rows keeps what tells the two apart, so that kinds are a matter of the prompt in the pool too.
    pool[:120:3] = c.pool[:120:3]
    kinds = np.repeat(np.arange(4), 60)
    bridged = dataclasses.replace(c, pool=pool, current_answers=c.current_clusters, pool_answers=kinds)
    plain = dataclasses.replace(bridged, current_answers=None, pool_answers=None)
    options = dataclasses.replace(OPTIONS, answer_cap=1.0)
    share = {
        name: np.mean(kinds[get_strategy("compass").select(x, 50, seed=0, options=options).indices] == 0)
        for name, x in (("bridged", bridged), ("plain", plain))
    }
    assert share["plain"] < 0.75 < 0.9 < share["bridged"], share


def test_a_kind_may_take_what_usage_asks_of_it(answering):
    """Breaks if the cap spreads the picks over all kinds although usage asks for two of four."""
    options = dataclasses.replace(OPTIONS, answer_cap=0.25)
    selection = get_strategy("compass").select(answering, 60, seed=0, options=options)
    assert np.isin(answering.pool_answers[selection.indices], [0, 1]).mean() > 0.9


def test_limits_are_the_larger_of_the_cap_and_what_usage_expects():
    """Two usage rows ask for 30 and 10 of a budget of 40; the kinds 2 and 7 are at hand, 4 is not, -1 is no kind."""
    kinds, columns = np.array([2, 7, 4, -1, 2]), np.array([0, 1, 2, 2, 0])
    expected = Expected(np.array([[1.0, 0.0, 0.0], [0.25, 0.75, 0.0]]), columns, trust=0.0)
    requests = np.array([30, 10])
    limits = answer_limits(kinds, expected, requests, 0.15).most
    assert limits[[2, 7, 4]].tolist() == [33, 8, 6]
    assert answer_limits(kinds, None, requests, 0.15).most[[2, 7, 4]].tolist() == [6, 6, 6]
    assert answer_limits(np.full(3, -1), None, requests, 0.15).most.tolist() == []


@pytest.mark.parametrize("budget", [20, 60])
def test_a_kind_of_answer_has_its_share_at_most(answering, budget):
    """Breaks if the cap is not held as long as there is other supply, or if it holds back what nothing can replace."""
    options = dataclasses.replace(OPTIONS, answer_cap=0.3)
    unexpected = dataclasses.replace(answering, current_answers=np.full(12, -1))
    selection = get_strategy("compass").select(unexpected, budget, seed=0, options=options)
    assert np.bincount(answering.pool_answers[selection.indices]).max() <= np.ceil(0.3 * budget)
    two = dataclasses.replace(unexpected, pool_answers=answering.pool_answers % 2)
    filled = get_strategy("compass").select(two, budget, seed=0, options=options)
    assert filled.spent == budget
    assert any("kind of answer" in note for note in filled.notes)


def test_half_of_the_answers_is_refused(answering):
    """Breaks if arrays that do not belong together go through."""
    with pytest.raises(DataError, match="give both or none"):
        dataclasses.replace(answering, current_answers=None)
    with pytest.raises(DataError, match="12 rows and 3 answers"):
        dataclasses.replace(answering, current_answers=answering.current_answers[:3])
    with pytest.raises(DataError, match="160 rows and 5 answers"):
        dataclasses.replace(answering, pool_answers=answering.pool_answers[:5])
