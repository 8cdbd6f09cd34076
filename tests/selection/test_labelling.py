"""Which prompts to answer first: coverage by greedy facility location, against brute force and by its promises."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from compass.selection.coverage import background, nearness, served_share
from compass.selection.labelling import choose_to_label, smoothed
from compass.semantic.arrays import FloatArray, unit_rows

NONE = np.empty((0, 8), dtype=np.float32)


def topic(axis: int, n: int, seed: int, spread: float = 0.3) -> FloatArray:
    """Return n unit rows around one axis of eight."""
    noise = np.random.default_rng(seed).normal(scale=spread / 8**0.5, size=(n, 8))
    return unit_rows(np.eye(8)[axis] + noise)


def usage_of(*sizes: int) -> FloatArray:
    return np.concatenate([topic(axis, n, seed=axis) for axis, n in enumerate(sizes)])


@pytest.mark.parametrize("seed", range(6))
def test_the_greedy_list_is_within_the_bound_of_the_best_list(seed: int) -> None:
    """Nemhauser, Wolsey and Fisher: at least 1 - 1/e of the best value, for each n; here by trying all lists."""
    rng = np.random.default_rng(seed)
    usage = unit_rows(rng.normal(size=(10, 8)))
    train, pool = unit_rows(rng.normal(size=(4, 8))), unit_rows(rng.normal(size=(20, 8)))
    zero = background(usage, pool)
    weights = 1 - served_share(usage, train, pool, zero)
    near = nearness(smoothed(usage), smoothed(usage), zero)

    def value(rows: tuple[int, ...]) -> float:
        return float(weights @ near[:, list(rows)].max(axis=1))

    for n in (1, 2, 3):
        found = choose_to_label(usage, train, pool, n)
        best = max(map(value, combinations(range(10), n)))
        assert value(tuple(found.rows.tolist())) >= (1 - 1 / np.e) * best - 1e-9
        if n == 1:
            assert value((int(found.rows[0]),)) == pytest.approx(best)
        assert found.gains.sum() == pytest.approx(value(tuple(found.rows.tolist())))


def test_each_topic_gets_a_row_before_any_gets_two() -> None:
    usage = usage_of(30, 10, 5)
    found = choose_to_label(usage, NONE, NONE, 3)
    assert sorted(np.digitize(found.rows, [30, 40]).tolist()) == [0, 1, 2]
    assert found.rows[0] < 30, "the largest need comes first"
    assert found.stands_for.tolist() == [30, 10, 5]


def test_a_longer_list_begins_with_the_shorter_one_and_gains_less_and_less() -> None:
    """Somebody who stops early has the best list of that length; the curve says when."""
    usage = usage_of(12, 9, 6)
    short, long = (choose_to_label(usage, NONE, NONE, n) for n in (4, 9))
    assert long.rows[:4].tolist() == short.rows.tolist()
    assert (np.diff(long.gains) <= 1e-9).all()
    assert (np.diff(long.coverage) >= 0).all()
    assert long.coverage[-1] <= 1
    assert len(long.coverage) == 10
    assert long.worthwhile == 3, "after one of each topic an answer covers less than one more prompt"


def test_a_prompt_that_comes_often_changes_nothing_for_others() -> None:
    """Breaks if repeats move the scale of nearness: report and `--budget auto` would tell two shares of one usage."""
    usage, train, pool = usage_of(6, 6, 6), topic(0, 2, seed=9, spread=1.5), unit_rows(topic(1, 40, seed=8) + 1.0)
    once, often = (
        choose_to_label(np.concatenate([usage, np.repeat(usage[:1], n, axis=0)]), train, pool, 12, seed=3)
        for n in (0, 200)
    )
    served = [dict(zip(found.rows.tolist(), found.served, strict=True)) for found in (once, often)]
    both = served[0].keys() & served[1].keys()
    assert len(both) > 6
    assert [served[0][row] for row in both] == pytest.approx([served[1][row] for row in both])


def test_what_the_training_data_serves_comes_last() -> None:
    """Prompts like forty training rows would take the first places by their number alone."""
    usage, train = usage_of(40, 8, 8), topic(0, 40, seed=9)
    found = choose_to_label(usage, train, NONE, 2)
    assert sorted(np.digitize(found.rows, [40, 48]).tolist()) == [1, 2]
    assert found.coverage[0] > 0.5


def test_an_own_row_is_worth_many_picks() -> None:
    """A pool of translations serves a need less than one row in the target language does."""
    usage = topic(0, 20, seed=0)
    zero = 0.0
    one = served_share(usage, topic(0, 1, seed=7), NONE, zero).mean()
    many = served_share(usage, topic(0, 4, seed=7), NONE, zero).mean()
    picks = served_share(usage, NONE, topic(0, 15, seed=8), zero).mean()
    assert 0 < picks < one < many <= 1
    assert served_share(usage, NONE, topic(3, 50, seed=8), zero).mean() < 0.05, "the pool is about something else"


def test_a_prompt_that_is_asked_often_weighs_as_often_and_is_chosen_once() -> None:
    usage = usage_of(6, 6)
    repeated = np.concatenate([usage, np.repeat(usage[8:9], 20, axis=0)])
    found = choose_to_label(repeated, NONE, NONE, 12)
    vectors = repeated[found.rows]
    assert found.rows[0] >= 6
    assert found.stands_for[0] >= 20
    assert (np.triu(vectors @ vectors.T, 1) < 0.98).all()


def test_near_duplicates_of_a_training_row_or_of_a_chosen_row_are_not_chosen() -> None:
    usage = unit_rows(np.eye(8)[[0, 0, 1, 2]] + 1e-3 * np.arange(32).reshape(4, 8) / 32)
    found = choose_to_label(usage, np.eye(8, dtype=np.float32)[[2]], NONE, 4)
    assert len(found.rows) == 2
    assert found.shortfall == 2
    assert {0, 1} & set(found.rows.tolist())
    assert 2 in found.rows
    assert 3 not in found.rows


def test_only_offered_rows_are_chosen_while_all_rows_are_needs() -> None:
    usage = usage_of(10, 10)
    offered = np.arange(20) % 2 == 0
    found = choose_to_label(usage, NONE, NONE, 20, offered=offered)
    assert offered[found.rows].all()
    assert choose_to_label(usage, NONE, NONE, 3, offered=np.zeros(20, dtype=bool)).rows.size == 0
    repeats = choose_to_label(np.repeat(usage[:1], 2, axis=0), NONE, NONE, 1, offered=np.array([False, True]))
    assert repeats.rows.tolist() == [1], "of equal rows the one that is offered"


def test_the_order_of_usage_and_the_scale_of_an_encoder_do_not_matter() -> None:
    """Cosines of many encoders lie between .7 and 1: what all rows have in common must not count as nearness."""
    usage, pool = usage_of(12, 8, 5), usage_of(0, 0, 0, 9, 9, 9)
    found = choose_to_label(usage, NONE, pool, 6)
    order = np.random.default_rng(0).permutation(len(usage))
    shuffled = choose_to_label(usage[order], NONE, pool, 6)
    assert order[shuffled.rows].tolist() == found.rows.tolist()
    raised = [unit_rows(np.concatenate([x, np.full((len(x), 1), 1.5)], axis=1)) for x in (usage, pool)]
    narrow = choose_to_label(raised[0], np.empty((0, 9), dtype=np.float32), raised[1], 3, duplicate_similarity=1.0)
    assert sorted(np.digitize(narrow.rows, [12, 20]).tolist()) == [0, 1, 2]


@pytest.mark.parametrize("n_usage", [0, 1, 2])
def test_tiny_usage(n_usage: int) -> None:
    found = choose_to_label(np.eye(8, dtype=np.float32)[:n_usage], NONE, NONE, 3)
    assert len(found.rows) == n_usage
    assert found.shortfall == 3 - n_usage
    assert len(found.coverage) == n_usage + 1
    assert found.coverage[-1] == pytest.approx(min(n_usage, 1))


def test_usage_that_repeats_the_training_data_has_nothing_to_label() -> None:
    usage = topic(0, 6, seed=0, spread=0.05)
    found = choose_to_label(usage, np.repeat(topic(0, 1, seed=0, spread=0.0), 8, axis=0), NONE, 3)
    assert len(found.rows) == 0
    assert found.shortfall == 3
    assert len(found.coverage) == 1
    assert found.coverage[0] > 0.9


def test_wrong_input_is_named() -> None:
    with pytest.raises(ValueError, match="n must be at least 1; got 0"):
        choose_to_label(usage_of(3), NONE, NONE, 0)
    with pytest.raises(ValueError, match="one value for each of the 3 usage rows; got 2"):
        choose_to_label(usage_of(3), NONE, NONE, 1, offered=np.ones(2, dtype=bool))
