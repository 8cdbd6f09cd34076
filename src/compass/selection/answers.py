"""What the rows at hand say about the answer that a usage row expects. All of it is our own [ours].

Usage comes without answers, and an encoder can take "turn it on" for "turn it off". Within one language it errs less
than across languages, so the rows at hand serve as a bridge: usage -> rows at hand of the same language -> their kind
of answer -> pool rows with that kind (figures in docs/selection.md).
"""

from __future__ import annotations

import numpy as np

from compass.selection.protocol import Candidates
from compass.semantic.arrays import IntArray, RealArray, row_keys

TEMPERATURE = 0.05
"""Cosine by which a kind of answer must be nearer to be e times as likely [ours]."""
LEAST_AGREEMENT = 0.2
"""Cohen's kappa between the kinds of neighbours in different languages, below which kinds say nothing [ours]."""
AGREEMENT_ROWS = 3000
"""Pool rows on which the agreement is measured, drawn by their content."""


def answer_kinds(candidates: Candidates, seed: int) -> IntArray | None:
    """Return the kind of each pool row's answer, (n_A,), or None where kinds are not a matter of the prompt."""
    return candidates.pool_answers if agreement(candidates, seed) >= LEAST_AGREEMENT else None


def expected_answers(candidates: Candidates) -> tuple[RealArray, IntArray] | None:
    """Return how likely each usage row expects each kind of answer at hand, and the kind of each pool row.

    Returns (n_E, G + 1) and (n_A,) places in its columns; the last column is 0, for pool rows whose kind of answer is
    not at hand. None where the rows at hand say nothing: no kinds of answer, or usage that is far from all of them.
    """
    if candidates.current_answers is None or candidates.pool_answers is None:
        return None
    known = np.unique(candidates.current_answers[candidates.current_answers >= 0])
    trust = familiarity(candidates) if len(known) > 1 else 0.0
    if trust == 0:
        return None
    similarity = candidates.usage @ candidates.current.T
    nearest = np.stack([similarity[:, candidates.current_answers == kind].max(axis=1) for kind in known], axis=1)
    weights = np.exp((nearest - nearest.max(axis=1, keepdims=True)).astype(np.float64) / TEMPERATURE)
    expected = np.zeros((len(candidates.usage), len(known) + 1))
    expected[:, :-1] = trust * weights / weights.sum(axis=1, keepdims=True)
    column = np.searchsorted(known, candidates.pool_answers).clip(max=len(known) - 1)
    return expected, np.where(known[column] == candidates.pool_answers, column, len(known)).astype(np.int64)


def agreement(candidates: Candidates, seed: int) -> float:
    """Return how well a pool row's kind of answer is that of its nearest row in another language: Cohen's kappa.

    1: always; 0: no more often than by chance, as with choices A to D or a coin's yes and no.
    """
    kinds = candidates.pool_answers
    if kinds is None:
        return 0.0
    rows = np.flatnonzero(kinds >= 0)
    rows = rows[np.argsort(row_keys(candidates.pool[rows], seed), kind="stable")[:AGREEMENT_ROWS]]
    languages = np.unique([candidates.pool_languages[int(row)] for row in rows], return_inverse=True)[1]
    if len(np.unique(languages)) < 2:
        return 0.0
    similarity = candidates.pool[rows] @ candidates.pool[rows].T
    similarity[languages[:, None] == languages[None, :]] = -np.inf
    own, nearest = kinds[rows], kinds[rows[similarity.argmax(axis=1)]]
    size = int(max(own.max(), nearest.max())) + 1
    chance = float(np.bincount(own, minlength=size) @ np.bincount(nearest, minlength=size)) / len(rows) ** 2
    return float((np.mean(own == nearest) - chance) / (1 - chance)) if chance < 1 else 0.0


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
    similarity = rows @ rows.T
    np.fill_diagonal(similarity, -np.inf)
    alike = kinds[:, None] == kinds[None, :]
    same = np.where(alike, similarity, -np.inf).max(axis=1)
    other = np.where(alike, -np.inf, similarity).max(axis=1)
    usable = np.isfinite(same) & np.isfinite(other)
    if not usable.any():
        return 0.0
    weights = 1.0 / np.bincount(kinds)[kinds[usable]]
    near, far = (float(np.average(values[usable], weights=weights)) for values in (same, other))
    if near <= far:
        return 0.0
    usage = float((candidates.usage @ rows.T).max(axis=1).mean())
    return float(np.clip((usage - far) / (near - far), 0.0, 1.0))
