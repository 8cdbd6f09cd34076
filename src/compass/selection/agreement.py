"""Whether the class of a response follows from its prompt: what class quotas need [ours]."""

from __future__ import annotations

import numpy as np

from compass.selection.protocol import Candidates
from compass.semantic.arrays import IntArray, RealArray, nearest_rows, row_keys

LEAST_AGREEMENT = 0.2
"""Cohen's kappa between the classes of neighbours, below which classes say nothing [ours]."""
FEW = 0.05
"""Share of rows that may be passed over: of free text beside classes, or of classes beside free text [ours]."""
ROWS_OF_A_CLASS = 2
"""Mean training rows of a class beside free text, at least: short responses that don't repeat are no classes [ours]."""
AGREEMENT_ROWS = 3000
"""Pool rows on which the agreement is measured, drawn by their content."""


def why_no_class_quotas(candidates: Candidates, seed: int) -> str:
    """Say in plain words why the budget cannot be split over classes; nothing if it can."""
    train = candidates.train_classes
    if not len(candidates.train):
        return "there is no training data"
    if not has_classes(candidates):
        return "too many responses are free text"
    if len(set(candidates.pool_languages)) < 2:
        return "the pool is in one language"
    if agreement(candidates, seed) < LEAST_AGREEMENT:
        return "the class does not follow from the prompt"
    return "" if train is not None and len(set(train[train >= 0].tolist())) > 1 else "the training data has one class"


def has_classes(candidates: Candidates) -> bool:
    """Say whether the responses of the pool and of the training data have classes, all of them or beside free text."""
    pool, train = candidates.pool_classes, candidates.train_classes
    if pool is None or train is None or any(not len(part) or np.mean(part >= 0) < FEW for part in (pool, train)):
        return False
    known = train[train >= 0]
    return not has_free_text(candidates) or len(known) >= ROWS_OF_A_CLASS * len(np.unique(known))


def has_free_text(candidates: Candidates) -> bool:
    """Say whether more than a few responses of the pool or of the training data are free text."""
    parts = (candidates.pool_classes, candidates.train_classes)
    return any(part is not None and len(part) and np.mean(part < 0) > FEW for part in parts)


def agreement(candidates: Candidates, seed: int) -> float:
    """Return how well a pool row's class is that of its nearest row, in other languages and in its own.

    Cohen's kappa of each, and the smaller of the two. 1: always; 0: no more often than by chance, as with choices A to
    D or a coin's yes and no. A pool of translations needs the row's own language: one question has one answer in all of
    them, be it a year or a name that no other question asks for.
    """
    sample = rows_with_class(candidates, seed)
    return min(_kappa(candidates, sample, cross_lingual=cross_lingual) for cross_lingual in (True, False))


def rows_with_class(candidates: Candidates, seed: int) -> IntArray:
    """Return the pool rows that have a class, (n,); of a large pool a sample, drawn by content."""
    if candidates.pool_classes is None:
        return np.empty(0, dtype=np.int64)
    rows = np.flatnonzero(candidates.pool_classes >= 0)
    order = np.argsort(row_keys(candidates.pool, seed)[rows], kind="stable")
    return rows[order[:AGREEMENT_ROWS]]


def neighbours(candidates: Candidates, rows: IntArray, k: int, *, cross_lingual: bool) -> tuple[IntArray, IntArray]:
    """Return those of the rows that have a neighbour among them, (m,), and the k nearest of each, (m, k).

    rows: (n,) from `rows_with_class`; where they are a sample, k is the same share of it. cross_lingual: neighbours are
    in other languages, else in the row's own. A row that has fewer than k has -1 behind them.
    """
    if candidates.pool_classes is None or not len(rows):
        return rows, np.empty((0, k), dtype=np.int64)
    languages = np.unique([candidates.pool_languages[int(row)] for row in rows], return_inverse=True)[1]
    places = np.arange(len(rows))

    def only(chunk: slice) -> RealArray:
        alike = languages[:, None] == languages[None, chunk]
        passed_over = alike if cross_lingual else ~alike | (places[:, None] == places[None, chunk])
        return np.where(passed_over, -np.inf, 0.0)

    wanted = max(1, round(k * len(rows) / int(np.sum(candidates.pool_classes >= 0))))
    near, cosines = nearest_rows(candidates.pool[rows], candidates.pool[rows], wanted, bonus=only)
    found = np.isfinite(cosines[:, 0])
    return rows[found], np.where(np.isfinite(cosines), rows[near], -1)[found]


def _kappa(candidates: Candidates, sample: IntArray, *, cross_lingual: bool) -> float:
    """Return Cohen's kappa between the classes of rows and of their nearest rows."""
    classes = candidates.pool_classes
    if classes is None:
        return 0.0
    rows, near = neighbours(candidates, sample, 1, cross_lingual=cross_lingual)
    if not len(rows):
        return 0.0
    own, nearest = classes[rows], classes[near[:, 0]]
    size = int(max(own.max(), nearest.max())) + 1
    chance = float(np.bincount(own, minlength=size) @ np.bincount(nearest, minlength=size)) / len(rows) ** 2
    return float((np.mean(own == nearest) - chance) / (1 - chance)) if chance < 1 else 0.0
