"""What the rows at hand say about the answer that a usage row expects. All of it is our own [ours].

Usage comes without answers, and an encoder can take "turn it on" for "turn it off". Within one language it errs less
than across languages, so the rows at hand serve as a bridge: usage -> rows at hand of the same language -> their kind
of answer -> pool rows with that kind (figures in docs/selection.md).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from compass.selection.protocol import Candidates
from compass.semantic.arrays import FloatArray, IntArray, RealArray, nearest_rows, row_keys

TEMPERATURE = 0.05
"""Cosine by which a kind of answer must be nearer to be e times as likely [ours]."""
LEAST_AGREEMENT = 0.2
"""Cohen's kappa between the kinds of neighbours, below which kinds say nothing [ours]."""
AGREEMENT_ROWS = 3000
"""Pool rows on which the agreement is measured, drawn by their content."""
HUB_ROWS = 5000
"""Pool rows against which the nearness of a kind is corrected, drawn by their content."""
CHUNK_ROWS = 2048
"""Rows at hand that are compared with all others at once: memory goes by this, not by the square of them."""
HUB_SHARE = 0.03
"""A kind's hubness is its mean closeness to this share of those rows, the nearest ones [ours]."""


def answer_kinds(candidates: Candidates, seed: int) -> IntArray | None:
    """Return the kind of each pool row's answer, (n_A,), or None where kinds are not a matter of the prompt."""
    return candidates.pool_answers if agreement(candidates, seed) >= LEAST_AGREEMENT else None


@dataclass(frozen=True, eq=False)
class Expected:
    """How likely each usage row expects each kind of answer at hand."""

    likely: RealArray
    """(n_E, G + 1) rows of sum 1; the last column is 0, for pool rows whose kind of answer is not at hand."""
    columns: IntArray
    """(n_A,) the column of each pool row's kind."""
    trust: float
    """How far this is to be believed, from 0 to 1: the usage's `familiarity`."""


def expected_answers(candidates: Candidates, seed: int) -> Expected | None:
    """Judge each usage row by the rows at hand; None where these have no two kinds of answer."""
    if candidates.current_answers is None or candidates.pool_answers is None:
        return None
    known = np.unique(candidates.current_answers[candidates.current_answers >= 0])
    if len(known) < 2:
        return None
    nearest = _closeness(candidates, candidates.usage, known) - _hubness_of_kinds(candidates, known, seed)
    weights = np.exp((nearest - nearest.max(axis=1, keepdims=True)).astype(np.float64) / TEMPERATURE)
    likely = np.zeros((len(candidates.usage), len(known) + 1))
    likely[:, :-1] = weights / weights.sum(axis=1, keepdims=True)
    column = np.searchsorted(known, candidates.pool_answers).clip(max=len(known) - 1)
    columns = np.where(known[column] == candidates.pool_answers, column, len(known)).astype(np.int64)
    return Expected(likely, columns, familiarity(candidates))


@dataclass(frozen=True, eq=False)
class AnswerLimits:
    """How much of the budget each kind of answer may take."""

    kinds: IntArray
    """(n_A,) kind of each pool row's answer, -1 for none."""
    most: IntArray
    """(largest kind + 1,) in units of the budget."""


def answer_limits(kinds: IntArray, expected: Expected | None, requests: IntArray, cap: float) -> AnswerLimits:
    """Limit each kind of answer to `cap` of the budget, or to what usage expects if that is more.

    kinds: (n_A,) of the pool's rows, -1 for none. requests: (n_E,) of the usage rows, in units of the budget. A cap
    alone would spread the picks over all kinds where usage asks for a few. What is expected is taken as it is, whatever
    the trust in it: a limit that is too high only lets the turns decide.
    """
    most = np.full(int(kinds.max(initial=-1)) + 1, math.ceil(cap * int(requests.sum())), dtype=np.int64)
    if expected is not None:
        asked = requests @ expected.likely
        known = kinds >= 0
        np.maximum.at(most, kinds[known], np.ceil(asked[expected.columns[known]]).astype(np.int64))
    return AnswerLimits(kinds, most)


def _closeness(candidates: Candidates, rows: FloatArray, kinds: IntArray) -> FloatArray:
    """Return the cosine of each row to the nearest row at hand of each kind. rows: (n, d). Returns (n, G)."""
    similarity = rows @ candidates.current.T
    return np.stack([similarity[:, candidates.current_answers == kind].max(axis=1) for kind in kinds], axis=1)


def _hubness_of_kinds(candidates: Candidates, kinds: IntArray, seed: int) -> RealArray:
    """Return how near each kind at hand is to whatever comes, (G,): a kind with many rows is near to everything.

    The same correction as for pool rows (cross-domain similarity local scaling).
    """
    rows = candidates.pool[np.argsort(row_keys(candidates.pool, seed), kind="stable")[:HUB_ROWS]]
    closeness = np.sort(_closeness(candidates, rows, kinds), axis=0)
    means: RealArray = closeness[-max(1, round(HUB_SHARE * len(rows))) :].mean(axis=0, dtype=np.float64)
    return means


def agreement(candidates: Candidates, seed: int) -> float:
    """Return how well a pool row's kind of answer is that of its nearest row, in other languages and in its own.

    Cohen's kappa of each, and the smaller of the two. 1: always; 0: no more often than by chance, as with choices A to
    D or a coin's yes and no. A pool of translations needs the row's own language: one question has one answer in all of
    them, be it a year or a name that no other question asks for.
    """
    sample = rows_with_kind(candidates, seed)
    return min(_kappa(candidates, sample, abroad=abroad) for abroad in (True, False))


def _kappa(candidates: Candidates, sample: IntArray, *, abroad: bool) -> float:
    kinds = candidates.pool_answers
    if kinds is None:
        return 0.0
    rows, near = neighbours(candidates, sample, 1, abroad=abroad)
    if not len(rows):
        return 0.0
    own, nearest = kinds[rows], kinds[near[:, 0]]
    size = int(max(own.max(), nearest.max())) + 1
    chance = float(np.bincount(own, minlength=size) @ np.bincount(nearest, minlength=size)) / len(rows) ** 2
    return float((np.mean(own == nearest) - chance) / (1 - chance)) if chance < 1 else 0.0


def rows_with_kind(candidates: Candidates, seed: int) -> IntArray:
    """Return the pool rows whose answer is of a kind, (n,); of a large pool a sample, drawn by content."""
    if candidates.pool_answers is None:
        return np.empty(0, dtype=np.int64)
    with_kind = np.flatnonzero(candidates.pool_answers >= 0)
    order = np.argsort(row_keys(candidates.pool, seed)[with_kind], kind="stable")
    return with_kind[order[:AGREEMENT_ROWS]]


def neighbours(candidates: Candidates, rows: IntArray, k: int, *, abroad: bool) -> tuple[IntArray, IntArray]:
    """Return those of the rows that have a neighbour among them, (m,), and the k nearest of each, (m, k).

    rows: (n,) from `rows_with_kind`; where they are a sample, k is the same share of it. abroad: neighbours are in
    other languages, else in the row's own. A row that has fewer than k has -1 behind them.
    """
    if candidates.pool_answers is None or not len(rows):
        return rows, np.empty((0, k), dtype=np.int64)
    languages = np.unique([candidates.pool_languages[int(row)] for row in rows], return_inverse=True)[1]
    places = np.arange(len(rows))

    def only(chunk: slice) -> RealArray:
        alike = languages[:, None] == languages[None, chunk]
        passed_over = alike if abroad else ~alike | (places[:, None] == places[None, chunk])
        return np.where(passed_over, -np.inf, 0.0)

    wanted = max(1, round(k * len(rows) / int(np.sum(candidates.pool_answers >= 0))))
    near, cosines = nearest_rows(candidates.pool[rows], candidates.pool[rows], wanted, bonus=only)
    found = np.isfinite(cosines[:, 0])
    return rows[found], np.where(np.isfinite(cosines), rows[near], -1)[found]


def familiarity(candidates: Candidates) -> float:
    """Return how far the usage is of the kinds of answer at hand, from 0 to 1.

    1: as near to them as rows of one kind are to each other; 0: no nearer than rows of different kinds are.

    A row at hand of a kind that has others is compared with the nearest of its kind and with the nearest of another;
    each kind counts alike.
    """
    kinds = candidates.current_answers
    if kinds is None or not (kinds >= 0).any():
        return 0.0
    rows = candidates.current[kinds >= 0]
    kinds = kinds[kinds >= 0]
    same, other = np.empty(len(rows)), np.empty(len(rows))
    for start in range(0, len(rows), CHUNK_ROWS):
        chunk = np.arange(start, min(start + CHUNK_ROWS, len(rows)))
        similarity = rows[chunk] @ rows.T
        similarity[np.arange(len(chunk)), chunk] = -np.inf
        alike = kinds[chunk, None] == kinds[None, :]
        same[chunk] = np.where(alike, similarity, -np.inf).max(axis=1)
        other[chunk] = np.where(alike, -np.inf, similarity).max(axis=1)
    usable = np.isfinite(same) & np.isfinite(other)
    if not usable.any():
        return 0.0
    weights = 1.0 / np.bincount(kinds)[kinds[usable]]
    near, far = (float(np.average(values[usable], weights=weights)) for values in (same, other))
    if near <= far:
        return 0.0
    usage = float((candidates.usage @ rows.T).max(axis=1).mean())
    return float(np.clip((usage - far) / (near - far), 0.0, 1.0))
