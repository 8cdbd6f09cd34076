"""Which class a usage row expects: P(class | usage row), where responses are classes [ours].

Usage comes without responses, and an encoder can take "turn it on" for "turn it off". Within one language it errs less
than across languages, so the training data serves as a bridge: a usage row is judged by the nearest training row of
each class. Classes that the training data lacks are judged by the votes of the nearest pool rows.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from compass.selection.agreement import has_free_text, neighbours, rows_with_class
from compass.selection.density import Density, best_rows
from compass.selection.protocol import Candidates
from compass.semantic.arrays import FloatArray, IntArray, RealArray, row_keys

TEMPERATURE = 0.05
"""Cosine by which a class must be nearer to be e times as likely [ours]."""
HUB_ROWS = 5000
"""Pool rows against which the nearness of a class is corrected, drawn by their content."""
HUB_SHARE = 0.03
"""A class's hubness is its mean closeness to this share of those rows, the nearest ones [ours]."""
VOTES = 20
"""Pool rows that vote on the class of a usage row [ours]."""
MUCH_UNSEEN = 0.3
"""Share of usage with unseen classes from which it is believed; up to .26 is found where no class is unseen [ours]."""
LEAST_LIKELY = 0.02
"""Probability below which a usage row does not ask for a class [ours]."""
CHUNK_ROWS = 2048
"""Training rows that are compared with all others at once: memory goes by this, not by the square of them."""


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
    by their votes. A large `unseen_share` is that of the usage rows which are furthest from the training data: u is 1
    for them and 0 for the others. A small one may be an error: u is that share times the lack of `confidence`, for all.
    """
    pool_classes, known = _pool_classes(candidates), known_classes(candidates)
    votes = pool_classes[best_rows(candidates, query, density, VOTES)[0]]
    classes = np.union1d(known, votes[votes >= 0])
    is_known = np.isin(classes, known)
    unseen = np.isin(votes, classes[~is_known])
    voted = np.zeros((len(query), int(np.sum(~is_known))))
    np.add.at(voted, (np.nonzero(unseen)[0], np.searchsorted(classes[~is_known], votes[unseen])), 1.0 / votes.shape[1])
    total = voted.sum(axis=1, keepdims=True)
    u = np.where(total > 0, _unseen(candidates, unseen_share(candidates, votes, known, seed)), 0.0)
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


def unseen_share(candidates: Candidates, votes: IntArray, known: IntArray, seed: int) -> float:
    """Return what part of usage expects classes that the training data lacks, by its pool neighbours, from 0 to 1.

    votes: (n_U, k) classes of the pool rows nearest to each usage row. Neighbours err, and how often is seen on the
    pool itself: with f and t the share of neighbours in other languages whose class is unseen, for pool rows whose own
    class is seen and unseen, the votes' share v says (v - f) / (t - f) (the correction of label shift by a confusion
    matrix, Lipton et al. 2018, arXiv 1802.03916).
    """
    pool_classes = _pool_classes(candidates)
    rows, near = neighbours(candidates, rows_with_class(candidates, seed), VOTES, cross_lingual=True)
    found = near >= 0
    own = ~np.isin(pool_classes[rows], known)
    if not own.any():
        return 0.0
    if own.all():
        return 1.0
    seen = np.sum(~np.isin(pool_classes[near], known) & found, axis=1) / found.sum(axis=1)
    wrong, right = float(seen[~own].mean()), float(seen[own].mean())
    counted = votes[votes >= 0]
    if right <= wrong or not len(counted):
        return 0.0
    return float(np.clip((np.mean(~np.isin(counted, known)) - wrong) / (right - wrong), 0.0, 1.0))


def _unseen(candidates: Candidates, share: float) -> RealArray:
    """Return P(a class that the training data lacks | usage row), (n_U, 1). share: of usage, from `unseen_share`."""
    usage = candidates.usage
    if share < MUCH_UNSEEN:
        return np.full((len(usage), 1), share * (1.0 - confidence(candidates)))
    nearness = (usage @ candidates.train.T).max(axis=1)
    furthest = np.argsort(nearness, kind="stable")[: round(share * len(usage))]
    unseen = np.zeros((len(usage), 1))
    unseen[furthest] = 1.0
    return unseen


def confidence(candidates: Candidates) -> float:
    """Return how far the training data is to be believed about usage, from 0 to 1.

    1: usage is as near to it as rows of one class are to each other; 0: no nearer than rows of different classes are. A
    training row whose class has others is compared with the nearest of its class and with the nearest of another; each
    class counts alike.
    """
    classes = candidates.train_classes
    if classes is None or not (classes >= 0).any():
        return 0.0
    rows = candidates.train[classes >= 0]
    classes = classes[classes >= 0]
    same, other = np.empty(len(rows)), np.empty(len(rows))
    for start in range(0, len(rows), CHUNK_ROWS):
        chunk = np.arange(start, min(start + CHUNK_ROWS, len(rows)))
        similarity = rows[chunk] @ rows.T
        similarity[np.arange(len(chunk)), chunk] = -np.inf
        alike = classes[chunk, None] == classes[None, :]
        same[chunk] = np.where(alike, similarity, -np.inf).max(axis=1)
        other[chunk] = np.where(alike, -np.inf, similarity).max(axis=1)
    usable = np.isfinite(same) & np.isfinite(other)
    if not usable.any():
        return 0.0
    weights = 1.0 / np.bincount(classes)[classes[usable]]
    near, far = (float(np.average(values[usable], weights=weights)) for values in (same, other))
    if near <= far:
        return 0.0
    usage = float((candidates.usage @ rows.T).max(axis=1).mean())
    return float(np.clip((usage - far) / (near - far), 0.0, 1.0))


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
