"""How much to pick: on pools where it is known how many rows help, and what must never move the budget."""

from __future__ import annotations

import json

import numpy as np
import pytest

from compass.found_budget import FoundBudget
from compass.selection import PICKS_FOR_A_NEED, get_strategy, how_many
from compass.selection.coverage import background, served_share

COMPASS = get_strategy("compass")


def test_the_curve_is_what_labels_are_chosen_by(make_candidates) -> None:
    """Breaks if the budget goes by another coverage than `compass label` and its report."""
    c = make_candidates([9, 6, 3], [2, 0, 1], [40, 30, 20, 60], noise=0.4)
    found = how_many(c, COMPASS, 0)
    picks = COMPASS.select(c, found.largest, 0).indices
    zero = background(c.usage, c.pool)
    for place in range(0, len(found.spent), 7):
        rows = picks[: int(found.spent[place])]
        served = served_share(c.usage, c.train, c.pool[rows], zero).mean()
        assert found.covered[place] == pytest.approx(served, abs=1e-6)


@pytest.mark.parametrize("helpful", [(12, 8), (30, 3), (1, 1)])
def test_it_ends_with_the_rows_that_usage_asks_for(make_candidates, helpful: tuple[int, int]) -> None:
    """Breaks if rows about other things are picked once the pool's needed rows are used up, or if some are left."""
    c = make_candidates([12, 8], [0, 0, 20], [*helpful, 150, 150], noise=0.1)
    found = how_many(c, COMPASS, 0)
    count = min(helpful[0], PICKS_FOR_A_NEED) + min(helpful[1], PICKS_FOR_A_NEED)
    assert count <= found.budget <= count + 10
    assert found.rows == found.budget
    assert found.largest == 20 * PICKS_FOR_A_NEED if sum(helpful) > 480 else found.largest <= len(c.pool)


def test_training_rows_lower_it_and_further_needs_raise_it(make_candidates) -> None:
    """Breaks if a budget is spent on what the training data serves already."""
    pool = [60, 60, 60, 60, 60]
    own = [how_many(make_candidates([10, 10], [n, n], pool, noise=0.1), COMPASS, 0).budget for n in (0, 2, 3, 8, 400)]
    assert own == sorted(own, reverse=True)
    assert own[-1] == 0, "usage is served in full"
    needs = [how_many(make_candidates([10] * n, [0] * n, pool, noise=0.1), COMPASS, 0).budget for n in (1, 2, 4)]
    assert needs == sorted(needs)
    assert needs[-1] >= 3 * needs[0]


def test_a_need_takes_no_more_rows_than_count_for_it(make_candidates) -> None:
    c = make_candidates([20], [0, 5], [400, 400], noise=0.1)
    found = how_many(c, COMPASS, 0)
    assert PICKS_FOR_A_NEED / 2 <= found.budget <= 3 * PICKS_FOR_A_NEED
    ahead = np.array(found.covered) - found.at_random * np.array(found.spent)
    assert ahead[found.place] == pytest.approx(ahead.max())


@pytest.mark.parametrize("costs", [False, True])
def test_the_pools_order_does_not_matter_and_curves_rise(make_candidates, reorder, costs: bool) -> None:
    """Breaks if the same data gives another budget, or coverage falls where rows are added."""
    tokens = np.random.default_rng(2).integers(3, 30, size=170).tolist() if costs else None
    c = make_candidates([9, 6, 3], [2, 0, 1], [40, 50, 20, 60], costs=tokens, noise=0.3)
    found = how_many(c, COMPASS, 3)
    other = how_many(reorder(c, np.random.default_rng(5).permutation(170)), COMPASS, 3)
    assert (found.budget, found.rows) == (other.budget, other.rows)
    assert (np.diff(found.covered) >= -1e-12).all()
    assert (np.diff(found.spent) > 0).all()
    assert found.unit == ("tokens" if costs else "examples")
    assert found.budget == int(found.spent[found.place])
    assert len(COMPASS.select(c, found.budget, 3).indices) > 0


@pytest.mark.parametrize("n", [1, 2, 5])
def test_a_pool_of_a_few_rows(make_candidates, n: int) -> None:
    c = make_candidates([8, 4], [1, 1], [n, 0], noise=0.1)
    found = how_many(c, COMPASS, 0)
    assert 0 <= found.budget <= n
    assert found.largest == n


def test_it_is_read_back_as_it_was(make_candidates) -> None:
    found = how_many(make_candidates([9, 6], [2, 0], [40, 30, 20], noise=0.4), COMPASS, 0)
    back = FoundBudget.from_dict(json.loads(json.dumps(found.to_dict())))
    assert (back.summary(), back.place) == (found.summary(), found.place)
    assert f"{found.budget:,} examples" in found.summary()
