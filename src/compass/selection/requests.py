"""The gap over kinds of answer: each kind that usage asks for and the data at hand lacks gets a quota [ours].

Where the kind of an answer is a matter of the prompt, kinds say more exactly than clusters what usage needs, and the
pool's rows bear their kind. Usage does not, so its kinds are estimated twice: by the rows at hand, within the language
(`answers`), and, as far as usage asks for kinds that are not at hand, by the pool rows nearest to it. The budget is
split over kinds as over clusters; within a kind the usage rows that expect it take turns.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from compass.selection.audit import current_amounts
from compass.selection.classes import Expected, neighbours, rows_with_kind
from compass.selection.neighbourhood import SHORTEST_LIST, best_rows, crowding
from compass.selection.protocol import AnswerAccount, Candidates
from compass.selection.quotas import proportional, water_filling
from compass.semantic.arrays import FloatArray, IntArray, RealArray, nearest_rows

NEIGHBOURS = 20
"""Pool rows that vote on the kind of answer of a usage row [ours]."""
WINDOW = 20
"""Times the rows that it asks for among which a usage row draws, unless `draw_window` says otherwise [ours]."""
LEAST_LIKELY = 0.02
"""Likelihood below which a usage row does not ask for a kind [ours]."""
LEAST_WITH_KIND = 0.95
"""Share of the pool and of the rows at hand that must have a kind of answer: free text has none [ours]."""


@dataclass(frozen=True, eq=False)
class Asked:
    """What usage rows ask for, a line each; a usage row that expects several kinds of answer asks several times."""

    askers: IntArray
    """(n,) usage row."""
    rows: IntArray
    """(n, m) pool rows that it may have, best first; -1 behind the last of a shorter list."""
    scores: FloatArray
    """(n, m) of these rows for the asker."""
    requests: IntArray
    """(n,) in units of the budget."""


def have_kinds(candidates: Candidates) -> bool:
    """Say whether (nearly) all answers are of some kind, which quotas need."""
    parts = (candidates.pool_answers, candidates.current_answers)
    return all(kinds is not None and len(kinds) and np.mean(kinds >= 0) >= LEAST_WITH_KIND for kinds in parts)


def what_hinders(candidates: Candidates, kinds: IntArray | None, expected: Expected | None) -> str:
    """Say in plain words why the budget can't be split over kinds of answer; nothing if it can.

    kinds: from `answer_kinds`, expected: from `expected_answers`.
    """
    if not len(candidates.current):
        return "there is no data at hand"
    if not have_kinds(candidates):
        return "too many answers are free text"
    if len(set(candidates.pool_languages)) < 2:
        return "the pool is in one language"
    if kinds is None:
        return "prompts do not tell the kind of their answer"
    return "" if expected is not None else "the data at hand has answers of one kind alone"


def of_kinds(candidates: Candidates, kinds: IntArray) -> npt.NDArray[np.bool_]:
    """Say which pool rows are of one of these kinds. (n_A,)."""
    return np.isin(_numbers(candidates)[0], kinds)


def ask_by_answer(
    candidates: Candidates, query: FloatArray, density: RealArray, expected: Expected, budget: int, seed: int
) -> tuple[list[Asked], AnswerAccount]:
    """Split the budget over kinds of answer; for each the usage rows that expect it ask for rows of this kind.

    query: (n_E, d) unit rows and density: (n_A,), from `neighbourhood`. Asks for less than the budget if the pool holds
    less of these kinds. Returns the requests, and the account of all kinds without picks.
    """
    pool_answers, current_answers = _numbers(candidates)
    kinds, likely = wanted_answers(candidates, query, density, expected, seed)
    at_hand = np.array([len(rows) for rows in _rows_of(current_answers, kinds)])
    members = _rows_of(pool_answers, kinds)
    supply = np.array([candidates.pool_costs[rows].sum() for rows in members], dtype=np.int64)
    asked = likely.mean(axis=0)
    quotas = water_filling(asked, current_amounts(candidates, at_hand), supply, budget)

    crowded = crowding(density)
    lines = []
    for k in np.flatnonzero(quotas).tolist():
        own, quota = members[k], int(quotas[k])
        wanting = np.flatnonzero(likely[:, k])
        # All who want a kind take from the same rows.
        length = max(SHORTEST_LIST, math.ceil(2 * quota / candidates.mean_cost))
        near, scores = nearest_rows(query[wanting], candidates.pool[own], length, bonus=_part(crowded[own]))
        # In whole rows: who asks for less than one would take one all the same, and more than the kind's quota.
        n_rows = max(1, round(quota / candidates.mean_cost))
        whole = proportional(likely[wanting, k], np.full(len(wanting), n_rows), n_rows)
        requests = proportional(whole, np.full(len(wanting), quota), quota)
        asking = whole > 0
        lines.append(Asked(wanting[asking], own[near[asking]], scores[asking], requests[asking]))
    return lines, AnswerAccount(kinds, asked, at_hand, supply, quotas, picked=np.zeros_like(quotas))


def joined(lines: Sequence[Asked]) -> Asked:
    """Put requests together; shorter lists end with row -1 at a score of minus infinity."""
    width = max(line.rows.shape[1] for line in lines)
    return Asked(
        np.concatenate([line.askers for line in lines]),
        np.concatenate([_padded(line.rows, width, -1) for line in lines]),
        np.concatenate([_padded(line.scores, width, -np.inf) for line in lines]),
        np.concatenate([line.requests for line in lines]),
    )


def wanted_answers(
    candidates: Candidates, query: FloatArray, density: RealArray, expected: Expected, seed: int
) -> tuple[IntArray, RealArray]:
    """Return the kinds of answer that usage may want, (G,), and how likely each row does, (n_E, G) with rows of sum 1.

    Kinds at hand are judged by the rows at hand, others by the votes of the nearest pool rows. These get as much as
    both deny that usage is about what is at hand: `unknown_share` times the distrust in the rows at hand.
    """
    pool_answers, current_answers = _numbers(candidates)
    known = np.unique(current_answers[current_answers >= 0])
    votes = pool_answers[best_rows(candidates, query, density, NEIGHBOURS)[0]]
    kinds = np.union1d(known, votes[votes >= 0])
    is_known = np.isin(kinds, known)
    others = np.isin(votes, kinds[~is_known])
    other = np.zeros((len(query), int(np.sum(~is_known))))
    np.add.at(other, (np.nonzero(others)[0], np.searchsorted(kinds[~is_known], votes[others])), 1.0 / votes.shape[1])
    voted = other.sum(axis=1, keepdims=True)
    unknown = np.where(voted > 0, unknown_share(candidates, votes, known, seed) * (1.0 - expected.trust), 0.0)
    likely = np.empty((len(query), len(kinds)))
    likely[:, is_known] = (1.0 - unknown) * expected.likely[:, :-1]
    likely[:, ~is_known] = unknown * other / np.maximum(voted, 1e-12)
    # A row that is torn between many kinds keeps the likeliest.
    likely[likely < np.minimum(LEAST_LIKELY, likely.max(axis=1, keepdims=True))] = 0.0
    return kinds, likely / likely.sum(axis=1, keepdims=True)


def unknown_share(candidates: Candidates, votes: IntArray, known: IntArray, seed: int) -> float:
    """Return what part of usage asks for kinds of answer that are not at hand, by its pool neighbours, from 0 to 1.

    votes: (n_E, k) kinds of the pool rows nearest to each usage row. Neighbours err, and how often is seen on the pool
    itself: with f and t the share of neighbours in other languages whose kind is not at hand, for pool rows whose own
    kind is and is not, the votes' share v says (v - f) / (t - f) (the correction of label shift by a confusion matrix,
    Lipton et al. 2018, arXiv 1802.03916).
    """
    pool_answers, _ = _numbers(candidates)
    rows, near = neighbours(candidates, rows_with_kind(candidates, seed), NEIGHBOURS, abroad=True)
    found = near >= 0
    own = ~np.isin(pool_answers[rows], known)
    if not own.any():
        return 0.0
    if own.all():
        return 1.0
    seen = np.sum(~np.isin(pool_answers[near], known) & found, axis=1) / found.sum(axis=1)
    wrong, right = float(seen[~own].mean()), float(seen[own].mean())
    if right <= wrong:
        return 0.0
    counted = votes[votes >= 0]
    if not len(counted):
        return 0.0
    return float(np.clip((np.mean(~np.isin(counted, known)) - wrong) / (right - wrong), 0.0, 1.0))


def _rows_of(answers: IntArray, kinds: IntArray) -> list[IntArray]:
    """Return the rows of each kind, ascending. answers: (n,), kinds: sorted."""
    order = np.argsort(answers, kind="stable")
    starts, ends = (np.searchsorted(answers[order], kinds, side=side) for side in ("left", "right"))
    return [order[start:end] for start, end in zip(starts, ends, strict=True)]


def _part(values: RealArray) -> Callable[[slice], RealArray]:
    return lambda chunk: values[chunk]


def _padded(lists: npt.NDArray[Any], width: int, fill: float) -> npt.NDArray[Any]:
    return np.pad(lists, ((0, 0), (0, width - lists.shape[1])), constant_values=fill)


def _numbers(candidates: Candidates) -> tuple[IntArray, IntArray]:
    if candidates.pool_answers is None or candidates.current_answers is None:
        raise ValueError("quotas by kind of answer need the kinds of the pool and of the data at hand")
    return candidates.pool_answers, candidates.current_answers
