"""The default strategy: usage rows take turns at the pool, in the language-free space [ours].

The paper picks "from under-represented semantic clusters"; how its budget is split and its rows are ranked is not
known to us. Here usage rows take pool rows in turns, which keeps the picks as even over meanings as usage is. Where
answers are of kinds (functions, classes), the budget is split over kinds, and a usage row asks for those that it
expects (`answer_quotas`). Elsewhere it asks for an equal part of the budget, less what the data at hand already answers
(water-filling, as over clusters, but row by row). The plain nearest rows are the worse training set: they crowd around
the few usage rows that lie in the densest region (LOG.md). Clusters give coverage, since each gap cluster that has
supply gets a row, and the account of demand and supply.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from compass.config import SelectionConfig
from compass.selection.audit import current_amounts, finish
from compass.selection.classes import AnswerLimits, Expected, answer_kinds, answer_limits, expected_answers
from compass.selection.neighbourhood import (
    SHORTEST_LIST,
    answered,
    best_rows,
    hubness,
    queries,
    shuffled_within,
    windows,
)
from compass.selection.protocol import AnswerAccount, Candidates, Selection
from compass.selection.quotas import water_filling
from compass.selection.requests import WINDOW, Asked, ask_by_answer, joined, of_kinds, what_hinders
from compass.selection.round_robin import Turns, pick_in_turns
from compass.semantic.arrays import FloatArray, IntArray, RealArray, row_keys
from compass.semantic.distributions import histogram, shares
from compass.semantic.gap import gap

LIST_FACTOR = 8
"""How many times its share of the budget, or twice its window if that is more, a usage row's list is long: others take
rows from it."""

NO_QUOTAS = "usage rows that take turns without quotas by kind of answer"


class Compass:
    """Turns of usage rows, each asking for what the data at hand does not answer."""

    name = "compass"
    language_removal = None

    def select(self, candidates: Candidates, budget: int, *, seed: int, options: SelectionConfig) -> Selection:
        """Pick rows of the pool that cost no more than `budget` together. The same seed gives the same rows."""
        density = hubness(candidates, seed)
        query = queries(candidates, density)
        kinds = answer_kinds(candidates, seed)
        expected = expected_answers(candidates, seed) if kinds is not None else None
        limits: AnswerLimits | None = None
        answers: AnswerAccount | None = None
        width = options.draw_window
        hindered = what_hinders(candidates, kinds, expected)
        if options.answer_quotas and expected is not None and not hindered:
            width = width or WINDOW
            lines, answers = ask_by_answer(candidates, query, density, expected, budget, seed)
            left = budget - int(answers.quotas.sum())
            if left or not lines:
                # What is wanted is exhausted: of the rest, the rows that are nearest.
                taken = of_kinds(candidates, answers.kinds[answers.quotas > 0])
                lines.append(_ask_by_row(candidates, query, density, expected, left, options, width, last=taken))
            asked = joined(lines)
        else:
            width = width or 1
            asked = _ask_by_row(candidates, query, density, expected, budget, options, width)
            limits = answer_limits(kinds, expected, asked.requests, options.answer_cap) if kinds is not None else None
        n_rows = np.ceil(asked.requests / candidates.mean_cost).astype(np.int64)
        window = windows(n_rows, width, asked.scores)
        demand = _demand(candidates, asked, np.maximum(n_rows, window))
        rows, scores = asked.rows, asked.scores
        if window.any():
            rows, scores = shuffled_within(window, rows, scores, row_keys(candidates.pool, seed))

        usage = shares(histogram(candidates.usage_clusters, candidates.n_clusters), options.smoothing)
        current = shares(histogram(candidates.current_clusters, candidates.n_clusters), options.smoothing)
        missing = gap(usage, current)
        turns = pick_in_turns(candidates, rows, scores, asked.requests, options, limits)
        # A usage row that asks for nothing lends its question to the first line.
        lines_of = {asker: line for line, asker in reversed(list(enumerate(asked.askers.tolist())))}
        unfilled: dict[int, tuple[int, float]] = {}
        # Filling one cluster can take the only row of another, which is then filled too.
        while more := _best_of_unfilled(candidates, missing, turns).items() - unfilled.items():
            unfilled |= dict(more)
            clusters = {row: int(candidates.pool_clusters[row]) for row in unfilled}
            widest_first = sorted(unfilled, key=lambda row: (-missing[clusters[row]], clusters[row]))
            first = [(lines_of.get(unfilled[row][0], 0), row, unfilled[row][1]) for row in widest_first]
            turns = pick_in_turns(candidates, rows, scores, asked.requests, options, limits, first=first)
        return finish(
            self.name,
            candidates,
            budget,
            options,
            indices=turns.indices,
            scores=turns.scores,
            reasons=_reasons(candidates, asked, turns, unfilled, missing, options.budget_unit),
            demand=demand,
            notes=_notes(turns, hindered if options.answer_quotas else "", len(candidates.usage)),
            answers=answers,
        )


def _ask_by_row(
    candidates: Candidates,
    query: FloatArray,
    density: RealArray,
    expected: Expected | None,
    budget: int,
    options: SelectionConfig,
    width: int,
    *,
    last: npt.NDArray[np.bool_] | None = None,
) -> Asked:
    """Let each usage row ask for an equal part of the budget, less what the data at hand answers of it.

    last: (n_A,) pool rows that come behind all others.
    """
    n_usage = len(candidates.usage)
    equal = np.full(n_usage, 1 / n_usage)
    at_hand = current_amounts(candidates, answered(candidates))
    requests = water_filling(equal, at_hand, np.full(n_usage, budget), budget)
    factor = max(LIST_FACTOR, 2 * width)
    length = max(SHORTEST_LIST, math.ceil(factor * budget / n_usage / candidates.mean_cost))
    rows, scores = best_rows(
        candidates, query, density, length, expected=expected, answer_weight=options.answer_weight, last=last
    )
    return Asked(np.arange(n_usage), rows, scores, requests)


def _demand(candidates: Candidates, asked: Asked, width: IntArray) -> RealArray:
    """Spread each request over the clusters of the rows that may be taken for it: its `width` best ones. (K,)."""
    demand = np.zeros(candidates.n_clusters)
    for line, request in enumerate(asked.requests.tolist()):
        own = asked.rows[line, : max(1, width[line])]
        own = own[own >= 0]
        demand += request * np.bincount(candidates.pool_clusters[own], minlength=len(demand)) / max(1, len(own))
    return demand


def _best_of_unfilled(candidates: Candidates, missing: RealArray, turns: Turns) -> dict[int, tuple[int, float]]:
    """Return the best pool row of each gap cluster with supply and no pick -> its usage row and cosine.

    The widest gap comes first.
    """
    picked = np.unique(candidates.pool_clusters[turns.indices])
    found = {}
    for cluster in np.lexsort((np.arange(len(missing)), -missing)).tolist():
        members = np.flatnonzero(candidates.pool_clusters == cluster)
        askers = np.flatnonzero(candidates.usage_clusters == cluster)
        if missing[cluster] <= 0 or cluster in picked or not len(members) or not len(askers):
            continue
        similarity: FloatArray = candidates.usage[askers] @ candidates.pool[members].T
        asker, member = np.unravel_index(int(similarity.argmax()), similarity.shape)
        found[int(members[member])] = int(askers[asker]), float(similarity[asker, member])
    return found


def _notes(turns: Turns, hindered: str, n_usage: int) -> dict[str, int]:
    """Add to the notes why quotas that were asked for are not there."""
    return {**turns.notes, **({f"{NO_QUOTAS}: {hindered}": n_usage} if hindered else {})}


def _reasons(
    candidates: Candidates,
    asked: Asked,
    turns: Turns,
    unfilled: Mapping[int, tuple[int, float]],
    missing: RealArray,
    budget_unit: str,
) -> list[str]:
    """Say of each pick who asked for it, in plain words."""
    requests = np.bincount(asked.askers, weights=asked.requests).astype(np.int64)
    places: Counter[int] = Counter()
    reasons = []
    for row, line, relaxed in zip(turns.indices.tolist(), turns.askers.tolist(), turns.relaxed, strict=True):
        cluster = int(candidates.pool_clusters[row])
        if row in unfilled:
            reason = f"lest its cluster has nothing: nearest to usage row {unfilled[row][0] + 1}"
        else:
            asker = int(asked.askers[line])
            places[asker] += 1
            unit = budget_unit.removesuffix("s") if requests[asker] == 1 else budget_unit
            reason = f"no. {places[asker]} of usage row {asker + 1}, which asks for {requests[asker]} {unit}"
        reason += f"; cluster {cluster} (gap {missing[cluster]:.2f})"
        reasons.append(f"{reason}; {relaxed}" if relaxed else reason)
    return reasons
