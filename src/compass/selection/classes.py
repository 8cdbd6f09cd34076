"""Which class a usage row expects: P(class | usage row), where responses are classes [ours].

Usage comes without responses, and an encoder can take "turn it on" for "turn it off". Within one language it errs less
than across languages, so the training data serves as a bridge: a usage row is judged by the nearest training row of
each class. Classes that the training data lacks are judged by the votes of the nearest pool rows.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from compass.selection.agreement import has_free_text
from compass.selection.density import Density, best_rows
from compass.selection.protocol import Candidates
from compass.selection.unseen import unseen_probabilities
from compass.semantic.arrays import FloatArray, IntArray, RealArray, row_keys

TEMPERATURE = 0.05
"""Cosine by which a class must be nearer to be e times as likely [ours]."""
HUB_ROWS = 5000
"""Pool rows against which the nearness of a class is corrected, drawn by their content."""
HUB_SHARE = 0.03
"""A class's hubness is its mean closeness to this share of those rows, the nearest ones [ours]."""
VOTES = 20
"""Pool rows that vote on the class of a usage row [ours]."""
LEAST_LIKELY = 0.02
"""Probability below which a usage row does not ask for a class [ours]."""


def with_free_text(candidates: Candidates) -> tuple[Candidates, int | None]:
    """Let free text be one class more, where there is more than a little of it. Returns its number, None without it.

    What usage expects is then a class or free text, by the same rule, and each gets its quota.
    """
    pool, train = candidates.pool_classes, candidates.train_classes
    if pool is None or train is None or not has_free_text(candidates):
        return candidates, None
    number = int(max(pool.max(initial=-1), train.max(initial=-1))) + 1
    numbered = replace(
        candidates,
        pool_classes=np.where(pool < 0, number, pool),
        train_classes=np.where(train < 0, number, train),
    )
    return numbered, number


def class_probabilities(
    candidates: Candidates, query: FloatArray, density: Density, seed: int
) -> tuple[IntArray, RealArray]:
    """Return the classes that usage may expect, (G,), and P(class | usage row), (n_U, G) with rows of sum 1.

    query: (n_U, d), density: (n_A,), as in `density`. Classes of the training data share 1 - u by closeness, others u
    by their votes, where u is how likely the row asks for a class that the training data lacks (`unseen`).
    """
    pool_classes, known = _pool_classes(candidates), known_classes(candidates)
    votes = pool_classes[best_rows(candidates, query, density, VOTES)[0]]
    classes = np.union1d(known, votes[votes >= 0])
    is_known = np.isin(classes, known)
    unseen = np.isin(votes, classes[~is_known])
    voted = np.zeros((len(query), int(np.sum(~is_known))))
    np.add.at(voted, (np.nonzero(unseen)[0], np.searchsorted(classes[~is_known], votes[unseen])), 1.0 / votes.shape[1])
    total = voted.sum(axis=1, keepdims=True)
    u = np.where(total > 0, unseen_probabilities(candidates, votes, known, seed)[:, None], 0.0)
    likely = np.empty((len(query), len(classes)))
    likely[:, is_known] = (1.0 - u) * known_probabilities(candidates, known, seed)
    likely[:, ~is_known] = u * voted / np.maximum(total, 1e-12)
    return classes, cut(likely)


def known_classes(candidates: Candidates) -> IntArray:
    """Return the classes of the training data, (G,), ascending."""
    classes = candidates.train_classes
    return np.unique(classes[classes >= 0]) if classes is not None else np.empty(0, dtype=np.int64)


def known_probabilities(candidates: Candidates, known: IntArray, seed: int) -> RealArray:
    """Judge each usage row by the nearest training row of each class. known: (G,). Returns (n_U, G), rows of sum 1.

    A class with many rows is near to everything, so the closeness is corrected like that of pool rows (cross-domain
    similarity local scaling): by the mean closeness of the class to the pool rows that are nearest to it.
    """
    rows = candidates.pool[np.argsort(row_keys(candidates.pool, seed), kind="stable")[:HUB_ROWS]]
    to_pool = np.sort(_closeness(candidates, rows, known), axis=0)
    hubness: RealArray = to_pool[-max(1, round(HUB_SHARE * len(rows))) :].mean(axis=0, dtype=np.float64)
    nearest = _closeness(candidates, candidates.usage, known) - hubness
    weights = np.exp((nearest - nearest.max(axis=1, keepdims=True)).astype(np.float64) / TEMPERATURE)
    probabilities: RealArray = weights / weights.sum(axis=1, keepdims=True)
    return probabilities


def cut(likely: RealArray) -> RealArray:
    """Drop what is unlikely, and let rows sum to 1 again; a row that is torn between many classes keeps the likeliest.

    likely: (n_U, G).
    """
    kept = np.where(likely < np.minimum(LEAST_LIKELY, likely.max(axis=1, keepdims=True)), 0.0, likely)
    probabilities: RealArray = kept / kept.sum(axis=1, keepdims=True)
    return probabilities


def _closeness(candidates: Candidates, rows: FloatArray, classes: IntArray) -> FloatArray:
    """Return the cosine of each row to the nearest training row of each class. rows: (n, d). Returns (n, G)."""
    similarity = rows @ candidates.train.T
    return np.stack([similarity[:, candidates.train_classes == c].max(axis=1) for c in classes], axis=1)


def _pool_classes(candidates: Candidates) -> IntArray:
    if candidates.pool_classes is None:
        raise ValueError("the pool's rows have no classes")
    return candidates.pool_classes
