"""Filling a budget from languages: uniformly from a set of them, or in order, the best language first [ours]."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np

from compass.config import SelectionConfig
from compass.selection.audit import take_in_order
from compass.selection.protocol import Candidates
from compass.selection.round_robin import HELD_COST, HELD_LANGUAGE, rank
from compass.semantic.arrays import IntArray, RealArray, row_keys

RELAXED = "taken above the language cap: the other languages have no more rows"


@dataclass(frozen=True, eq=False)
class Filled:
    """Rows in the order they were taken."""

    indices: IntArray
    relaxed: tuple[bool, ...]
    """(m,) whether the language cap was set aside for a pick."""
    notes: Mapping[str, int]
    """What happened -> rows."""


def draw_from(candidates: Candidates, languages: Collection[str], budget: int, seed: int) -> IntArray:
    """Draw rows of these languages uniformly without replacement until the budget is spent. Returns (m,) rows."""
    order = np.argsort(row_keys(candidates.pool, seed), kind="stable").astype(np.int64)
    wanted = np.array([language in languages for language in candidates.pool_languages], dtype=bool)
    return take_in_order(candidates, order[wanted[order]], budget)


def language_scores(candidates: Candidates, scores: Mapping[str, float]) -> RealArray:
    """Give each pool row the score of its language. Returns (n_A,)."""
    return np.array([scores[language] for language in candidates.pool_languages], dtype=np.float64)


def fill_by_language(
    candidates: Candidates, scores: RealArray, budget: int, options: SelectionConfig, seed: int
) -> Filled:
    """Take the rows of the best language at random until it has its `language_cap`, then those of the next.

    scores: (n_A,) of each row's language. The cap is what makes it several languages: at a cap of 1 the best one gives
    all it has. If every language is exhausted or at its cap, the cap is set aside, the best language first.
    """
    limit = math.ceil(options.language_cap * budget) if options.language_cap < 1 else budget
    order = rank(candidates, scores, seed).tolist()
    spent: Counter[str] = Counter()
    notes: Counter[str] = Counter()
    indices: list[int] = []
    relaxed: list[bool] = []
    left, shortest = budget, candidates.least_cost
    for capped in (True, False):
        passed = []
        for row in order:
            if left < shortest:
                break
            cost, language = int(candidates.pool_costs[row]), candidates.pool_languages[row]
            if cost > left:
                notes[HELD_COST] += 1
            elif capped and spent[language] + cost > limit:
                passed.append(row)
            else:
                indices.append(row)
                relaxed.append(not capped)
                spent[language] += cost
                left -= cost
        if capped and passed:
            notes[HELD_LANGUAGE] = len(passed)
        order = passed
    if any(relaxed):
        notes[RELAXED] = sum(relaxed)
    return Filled(np.array(indices, dtype=np.int64), tuple(relaxed), dict(sorted(notes.items())))
