"""How many pool rows to pick: as long as a further one adds more to usage than a row drawn at random would [ours].

    C(b)  share of usage that training data and the picks of the first b of the budget serve (`served_share`)
    r     what a unit of the budget adds to it, on average over the pool's rows, while nothing is picked
    budget = argmax_b C(b) − r b

Where C is concave, its slope is above r before that budget and below r after it: the pool's rows that usage asks for
are used up, or usage is served. The rule has no constant of its own. What an own row and a picked row are worth is
decided in `served_share`: a usage row that the training data serves in full asks for no pick, and none asks for more
than `PICKS_FOR_A_NEED`, which bounds the budgets that are looked at.
"""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np

from compass.found_budget import FoundBudget
from compass.selection.coverage import (
    OWN_ROWS_FOR_A_NEED,
    PICKS_FOR_A_NEED,
    as_near,
    background,
    distinct,
    levels,
    rows_as_near,
    served_by,
)
from compass.selection.density import DENSITY_REFERENCE
from compass.selection.protocol import Candidates, Strategy
from compass.semantic.arrays import PRODUCT_CELLS, IntArray, RealArray, row_chunks, row_keys

POINTS = 200
"""Points of the curve beyond its first, at most: each has an equal part of the rows."""


def how_many(candidates: Candidates, strategy: Strategy, seed: int) -> FoundBudget:
    """Find the budget from the picks of a strategy. The same seed gives the same budget in any order of the pool.

    The strategy picks with the largest budget that could count; the curve is read in the order of its picks.
    """
    need = _Need(candidates, seed)
    all_rows = float(candidates.pool_costs.sum())
    largest = math.ceil(max(1.0, min(need.most_rows * candidates.mean_cost, all_rows)))
    picks = strategy.select(candidates, largest, seed).indices
    spent, covered = need.curve(picks)
    at_random = need.added_by_one(seed) / candidates.mean_cost
    # Of points that are equally far ahead the first is the cheapest.
    best = int(np.argmax(np.round(covered - at_random * spent, 9)))
    return FoundBudget(
        budget=int(spent[best]),
        rows=int(_points(len(picks))[best]),
        largest=largest,
        unit=candidates.unit,
        at_random=at_random,
        spent=tuple(spent.tolist()),
        covered=tuple(covered.tolist()),
    )


class _Need:
    """What usage needs, and what training data serves of it."""

    def __init__(self, candidates: Candidates, seed: int) -> None:
        self._candidates = candidates
        usage = candidates.usage
        _, rows, self._counts, _ = distinct(usage, np.ones(len(usage), dtype=bool), seed)
        self._usage = usage[rows]
        self._zero = background(self._usage, candidates.pool)
        self._level = levels(self._usage, self._zero)
        self._own = rows_as_near(self._usage, candidates.train, OWN_ROWS_FOR_A_NEED, self._zero, self._level)
        self.most_rows = PICKS_FOR_A_NEED * int((self._own < OWN_ROWS_FOR_A_NEED).sum())
        """Pool rows that could count, at most."""

    def curve(self, rows: IntArray) -> tuple[RealArray, RealArray]:
        """Return what the first of these pool rows cost and what usage they and the training data serve, (m,) each."""
        points = _points(len(rows))
        spent = np.concatenate([[0.0], np.cumsum(self._candidates.pool_costs[rows], dtype=np.float64)])[points]
        best = np.zeros((len(self._usage), 0))
        covered = [self._covered(best)]
        for start, stop in pairwise(points.tolist()):
            cosines = self._usage @ self._candidates.pool[rows[start:stop]].T
            best = np.concatenate([best, as_near(cosines, self._zero, self._level)], axis=1)
            if best.shape[1] > PICKS_FOR_A_NEED:
                best = np.partition(best, -PICKS_FOR_A_NEED, axis=1)[:, -PICKS_FOR_A_NEED:]
            covered.append(self._covered(best))
        return spent, np.array(covered)

    def added_by_one(self, seed: int) -> float:
        """Return what one pool row adds to what training data serves of usage, on average over a sample of the pool."""
        sample = np.argsort(row_keys(self._candidates.pool, seed), kind="stable")[:DENSITY_REFERENCE]
        before, added = served_by(self._own, np.zeros(len(self._own))), 0.0
        for chunk in row_chunks(len(sample), max(1, PRODUCT_CELLS // len(self._usage))):
            parts = as_near(self._usage @ self._candidates.pool[sample[chunk]].T, self._zero, self._level)
            added += float((self._counts @ (served_by(self._own[:, None], parts) - before[:, None])).sum())
        return added / len(sample) / float(self._counts.sum())

    def _covered(self, best: RealArray) -> float:
        return float(self._counts @ served_by(self._own, best.sum(axis=1)) / self._counts.sum())


def _points(n: int) -> IntArray:
    """Return the numbers of rows at which a curve over n rows is read, from 0 to n."""
    return np.unique(np.linspace(0, n, min(n, POINTS) + 1).round().astype(np.int64))
