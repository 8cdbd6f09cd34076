from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from compass.config import SelectionConfig
from compass.selection import get_strategy
from compass.selection.classes import expected_answers, neighbours, rows_with_kind
from compass.selection.neighbourhood import hubness, queries
from compass.selection.quotas import water_filling
from compass.selection.requests import ask_by_answer, have_kinds, joined, unknown_share, wanted_answers

OPTIONS = dataclasses.replace(SelectionConfig(), language_cap=1.0, duplicate_similarity=1.0)


def by_topic(candidates):
    """Candidates whose kind of answer is the topic."""
    return dataclasses.replace(
        candidates, current_answers=candidates.current_clusters, pool_answers=candidates.pool_clusters
    )


@pytest.fixture
def skewed(make_candidates):
    """Usage of topics 0 to 2 alike; two rows of 0 and of 1 at hand, ten of 2 and of 3."""
    return by_topic(make_candidates([8, 8, 8, 0], [2, 2, 10, 10], [40, 40, 40, 40], noise=0.05))


def asked_of(candidates, budget):
    density = hubness(candidates, 0)
    expected = expected_answers(candidates, 0)
    return ask_by_answer(candidates, queries(candidates, density), density, expected, budget, 0)[0]


def counts(candidates, selection):
    return np.bincount(candidates.pool_answers[selection.indices], minlength=4)


def test_a_kind_gets_what_usage_asks_of_it_less_what_is_at_hand(skewed):
    """Breaks if the rows at hand do not count, or if picks leave the quotas: (2 + 20, 2 + 20, 10 + 12) are alike."""
    quotas = water_filling([1 / 3, 1 / 3, 1 / 3, 0], [2, 2, 10, 10], [40] * 4, 52)
    assert quotas.tolist() == [20, 20, 12, 0]
    selection = get_strategy("compass").select(skewed, 52, seed=0, options=OPTIONS)
    np.testing.assert_allclose(counts(skewed, selection), quotas, atol=1)
    account = selection.answers
    assert [account.kinds.tolist(), account.at_hand.tolist(), account.supply.tolist()] == [
        [0, 1, 2, 3],
        [2, 2, 10, 10],
        [40] * 4,
    ]
    np.testing.assert_allclose(account.expected, [1 / 3, 1 / 3, 1 / 3, 0], atol=0.02)
    np.testing.assert_array_equal(account.picked, counts(skewed, selection))
    assert account.quotas.sum() == 52


@pytest.mark.parametrize(("usage", "at_hand"), [([30, 30, 30], [2, 2, 6]), ([100, 10, 10], [60, 2, 2])])
def test_quotas_hold_in_tokens(make_candidates, usage, at_hand):
    """Breaks if usage rows that each ask for less than a row are all served, or none: 50 rows' worth for 90 or 120."""
    costs = np.random.default_rng(1).integers(20, 40, 600)
    c = by_topic(make_candidates(usage, at_hand, [200, 200, 200], costs=costs, noise=0.05))
    options = dataclasses.replace(OPTIONS, budget_unit="tokens")
    account = get_strategy("compass").select(c, 1480, seed=0, options=options).answers
    assert account.quotas.sum() == 1480
    np.testing.assert_allclose(account.picked, account.quotas, atol=3 * 39)


def test_the_order_of_the_pool_does_not_matter(skewed, reorder):
    """Breaks if a draw, a vote or a tie goes by a row's place."""
    order = np.random.default_rng(3).permutation(160)
    picks = [
        get_strategy("compass").select(c, 40, seed=0, options=OPTIONS).indices for c in (skewed, reorder(skewed, order))
    ]
    np.testing.assert_array_equal(picks[0], order[picks[1]])


def test_each_line_asks_for_rows_of_one_kind_and_all_together_for_the_budget(skewed):
    """Breaks if members of kinds are mixed up, or if rounding loses a part of the budget."""
    lines = asked_of(skewed, 47)
    assert [set(skewed.pool_answers[line.rows].ravel()) for line in lines] == [{0}, {1}, {2}]
    together = joined(lines)
    assert together.requests.sum() == 47
    assert len(together.askers) == len(together.rows) == len(together.scores) == sum(len(line.askers) for line in lines)
    for line, kind in zip(lines, range(3), strict=True):
        assert (skewed.usage_clusters[line.askers] == kind).all()
        assert (np.diff(line.scores, axis=1) <= 0).all()


def test_numbers_of_kinds_mean_nothing(skewed):
    """Breaks if kinds are used as indices."""
    renamed = np.array([7, 900, 30, 450])
    other = dataclasses.replace(
        skewed, current_answers=renamed[skewed.current_answers], pool_answers=renamed[skewed.pool_answers]
    )
    picks = [get_strategy("compass").select(c, 40, seed=0, options=OPTIONS).indices for c in (skewed, other)]
    np.testing.assert_array_equal(np.sort(picks[0]), np.sort(picks[1]))


@pytest.mark.parametrize(("usage", "truth"), [([12, 12, 0, 0], 0.0), ([6, 6, 6, 6], 0.5), ([0, 0, 12, 12], 1.0)])
@pytest.mark.parametrize("noise", [0.05, 0.3])
def test_the_share_of_usage_that_is_not_at_hand_is_found(make_candidates, usage, truth, noise):
    """Topics 2 and 3 are not at hand. Breaks if the neighbours' errors are not corrected for: at noise .3 they err."""
    c = by_topic(make_candidates(usage, [5, 5, 0, 0], [80, 80, 80, 80], noise=noise))
    votes = c.pool_answers[np.argsort(-(c.usage @ c.pool.T), axis=1)[:, :20]]
    assert unknown_share(c, votes, np.array([0, 1]), 0) == pytest.approx(truth, abs=0.12)


def test_the_share_is_found_where_few_rows_have_neighbours_abroad(make_candidates):
    """Breaks if rows of a row's own language stand in for neighbours abroad: six of the pool's rows are French."""
    c = by_topic(make_candidates([6, 6, 6, 6], [5, 5, 0, 0], [150, 150, 150, 150], noise=0.05))
    languages = tuple("fr" if i % 100 == 50 else "de" for i in range(600))
    c = dataclasses.replace(c, pool_languages=languages)
    _, near = neighbours(c, rows_with_kind(c, 0), 20, abroad=True)
    assert (near >= 0).sum(axis=1).min() == 6
    votes = c.pool_answers[np.argsort(-(c.usage @ c.pool.T), axis=1)[:, :20]]
    assert unknown_share(c, votes, np.array([0, 1]), 0) == pytest.approx(0.5, abs=0.12)


def test_kinds_that_are_not_at_hand_are_asked_for_where_usage_is_far_from_what_is(make_candidates):
    """Breaks if usage of new kinds is taken for one of the kinds at hand, or if known usage asks for new kinds."""
    new = by_topic(make_candidates([0, 0, 8, 8], [6, 6, 0, 0], [60, 60, 60, 60], noise=0.1))
    selection = get_strategy("compass").select(new, 40, seed=0, options=OPTIONS)
    assert counts(new, selection)[2:].min() >= 15
    density = hubness(new, 0)
    kinds, likely = wanted_answers(new, queries(new, density), density, expected_answers(new, 0), 0)
    assert kinds.tolist() == [0, 1, 2, 3]
    np.testing.assert_allclose(likely.sum(axis=1), 1)
    known = by_topic(make_candidates([8, 8, 0, 0], [6, 6, 0, 0], [60, 60, 60, 60], noise=0.1))
    assert counts(known, get_strategy("compass").select(known, 40, seed=0, options=OPTIONS))[2:].sum() == 0


def test_usage_that_is_torn_between_many_kinds_still_asks(make_candidates):
    """Breaks with an error if every likelihood lies under the least one: a hundred kinds, all as near as the others."""
    c = make_candidates([12], [200], [400], noise=0.02)
    c = dataclasses.replace(c, current_answers=np.arange(200) % 100, pool_answers=np.arange(400) // 4)
    expected = dataclasses.replace(
        expected_answers(c, 0), likely=np.hstack([np.full((12, 100), 0.01), np.zeros((12, 1))])
    )
    density = hubness(c, 0)
    _, likely = wanted_answers(c, queries(c, density), density, expected, 0)
    np.testing.assert_allclose(likely.sum(axis=1), 1)


def test_what_the_pool_lacks_of_the_kinds_goes_to_the_nearest_rows(make_candidates):
    """Breaks if the budget is left over, or with an error, where the wanted kinds are few in the pool or none."""
    few = by_topic(make_candidates([8, 8, 0, 0], [2, 2, 4, 0], [5, 3, 60, 60], noise=0.1))
    selection = get_strategy("compass").select(few, 30, seed=0, options=OPTIONS)
    assert selection.spent == 30
    assert counts(few, selection)[:2].tolist() == [5, 3]
    none = by_topic(make_candidates([8, 8, 0, 0], [2, 2, 4, 0], [0, 0, 60, 60], noise=0.1))
    assert get_strategy("compass").select(none, 30, seed=0, options=OPTIONS).spent == 30
    # More of the wanted kind than a list is long.
    large = by_topic(make_candidates([12, 0, 0], [2, 4, 4], [1200, 300, 300], noise=0.1))
    assert get_strategy("compass").select(large, 1300, seed=0, options=OPTIONS).spent == 1300


def test_a_kind_with_few_rows_asks_for_these_alone(make_candidates):
    """Breaks if a short list is filled up with its last row: that would count in demand and in what caps held back."""
    c = make_candidates([12, 12, 0], [2, 2, 10], [12, 120, 120], languages=("de", "fr"), noise=0.05)
    spread = np.where(c.pool_clusters == 0, np.arange(252) % 4, c.pool_clusters + 3)
    c = dataclasses.replace(by_topic(c), pool_clusters=spread, n_clusters=6)
    selection = get_strategy("compass").select(c, 30, seed=0, options=dataclasses.replace(OPTIONS, language_cap=0.25))
    quota = selection.answers.quotas[0]
    assert quota == 12
    np.testing.assert_allclose(selection.demand[:4], quota / 4, atol=0.5)
    assert all(rows <= 252 * 12 for rows in selection.notes.values())


@pytest.mark.parametrize(("quotas", "width"), [(True, 20), (False, 1)])
def test_the_width_of_the_window_is_chosen_by_whether_there_are_quotas(skewed, quotas, width):
    """Breaks if picks by quotas are the best rows, one sentence in many languages, or picks by row a draw."""

    def picks(draw_window):
        options = dataclasses.replace(OPTIONS, answer_quotas=quotas, draw_window=draw_window)
        return get_strategy("compass").select(skewed, 20, seed=0, options=options).indices.tolist()

    assert picks(0) == picks(width) != picks(21 - width)


def test_free_text_and_letters_have_no_quotas(skewed):
    """Breaks if a few kinds among free text decide over all picks, or if kinds do that say nothing of the prompt."""
    text = skewed.pool_answers.copy()
    text[::3] = -1
    letters = np.random.default_rng(0).integers(0, 4, len(text))
    for answers in (text, letters):
        c = dataclasses.replace(skewed, pool_answers=answers)
        options = [dataclasses.replace(OPTIONS, answer_quotas=on) for on in (True, False)]
        picks = [get_strategy("compass").select(c, 40, seed=0, options=o).indices for o in options]
        np.testing.assert_array_equal(*picks)
        assert get_strategy("compass").select(c, 40, seed=0, options=OPTIONS).answers is None
    assert have_kinds(skewed)
    assert not have_kinds(dataclasses.replace(skewed, pool_answers=text))
    assert not have_kinds(dataclasses.replace(skewed, pool_answers=None, current_answers=None))


def test_a_note_says_why_there_are_no_quotas(skewed):
    """Breaks if quotas that were asked for are left out in silence, or if the note comes where they are not."""
    letters = np.random.default_rng(0).integers(0, 4, 160)
    changes = {
        "": {},
        "too many answers are free text": {"pool_answers": np.full(160, -1)},
        "the pool is in one language": {"pool_languages": ("de",) * 160},
        "prompts do not tell the kind of their answer": {"pool_answers": letters},
        "the data at hand has answers of one kind alone": {"current_answers": np.zeros(24, dtype=np.int64)},
        "there is no data at hand": {
            "current": skewed.current[:0],
            "current_clusters": skewed.current_clusters[:0],
            "current_answers": skewed.current_answers[:0],
        },
    }
    for why, change in changes.items():
        c = dataclasses.replace(skewed, **change)
        for on in (True, False):
            options = dataclasses.replace(OPTIONS, answer_quotas=on)
            notes = get_strategy("compass").select(c, 40, seed=0, options=options).notes
            expected = {f"usage rows that take turns without quotas by kind of answer: {why}": 24}
            assert {k: n for k, n in notes.items() if "quotas" in k} == (expected if why and on else {})


def test_every_gap_cluster_with_supply_still_gets_a_row(make_candidates):
    """Breaks if quotas starve a cluster: the one row of usage in cluster 3 expects an answer that is well at hand."""
    c = make_candidates([10, 10, 0, 1], [2, 2, 20, 0], [60, 60, 60, 60], noise=0.1)
    kinds = np.array([0, 1, 2, 2])
    c = dataclasses.replace(c, current_answers=kinds[c.current_clusters], pool_answers=kinds[c.pool_clusters])
    selection = get_strategy("compass").select(c, 24, seed=0, options=OPTIONS)
    assert selection.spent == 24
    assert (selection.picked[[0, 1, 3]] > 0).all()
    (lone,) = [reason for reason in selection.reasons if "cluster 3" in reason]
    assert lone.startswith("lest its cluster has nothing: nearest to usage row 21; cluster 3")


def test_filling_one_gap_cluster_empties_no_other(make_candidates):
    """Breaks if the row of an empty cluster takes the place of the only one that another cluster had."""
    usage = [6, 5, 4, 3, 2, 2, 1, 1, 1, 1]
    c = make_candidates(usage, [0] * 9 + [1], [12] * 10, noise=0.6)
    for budget in range(10, 30):
        selection = get_strategy("compass").select(c, budget, seed=0, options=OPTIONS)
        gap = np.bincount(c.usage_clusters, minlength=10) / 26 > np.bincount(c.current_clusters, minlength=10)
        assert (selection.picked[gap] > 0).all(), budget
        assert selection.spent == budget


def test_neighbours_abroad_are_the_nearest_rows_in_other_languages(skewed):
    """Breaks if a row's own language counts; by hand over the whole matrix."""
    rows, near = neighbours(skewed, rows_with_kind(skewed, 0), 3, abroad=True)
    similarity = skewed.pool @ skewed.pool.T
    for row, language in enumerate(skewed.pool_languages):
        similarity[row, [other == language for other in skewed.pool_languages]] = -np.inf
    best = np.argsort(-similarity, axis=1, kind="stable")[:, :3]
    assert sorted(rows.tolist()) == list(range(160))
    assert {row: set(own) for row, own in zip(rows.tolist(), near.tolist(), strict=True)} == {
        row: set(own) for row, own in enumerate(best.tolist())
    }
