"""Queries, densities and answers from neighbourhoods in the language-free space. All of it is our own [ours]."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from compass.selection.classes import Expected
from compass.selection.protocol import Candidates
from compass.semantic.arrays import (
    FloatArray,
    IntArray,
    RealArray,
    nearest_mean_similarity,
    nearest_rows,
    row_keys,
    unit_rows,
)

USAGE_NEIGHBOURS = 5
"""Usage rows, itself included, whose mean stands for a usage row [ours]."""
FEEDBACK_ROWS = 15
"""Pool rows whose mean is added to a usage row's query [ours]."""
HUB_WEIGHT = 0.5
"""Weight of a pool row's own density in its score [ours]."""
HUB_NEIGHBOURS = 100
HUB_REFERENCE = 5000
"""A pool row's density is its mean cosine to this many of its nearest rows, among at most so many of the pool."""
WINDOW_DEPTH = 0.2
"""Cosine below the last row asked for down to which a usage row draws [ours]."""
LAST = 10.0
"""What a row's score loses if it is to come behind all others."""
SHORTEST_LIST = 1000
"""Rows of a usage row's list, at least: others take rows from it."""
ANSWERED_WITHIN = 10
"""A row at hand answers a usage row if fewer than this many pool rows lie nearer to it [ours]."""


def hubness(candidates: Candidates, seed: int) -> RealArray:
    """Return how crowded the surroundings of each pool row are, (n_A,) mean cosines.

    Rows in crowded regions are near to every query; taking part of the density off their score is the correction of
    cross-domain similarity local scaling (Conneau et al. 2018, arXiv 1710.04087). In a large pool the density is taken
    against a sample of it that only the rows' content and the seed decide.
    """
    pool = candidates.pool
    if len(pool) <= HUB_REFERENCE:
        return nearest_mean_similarity(pool, pool, HUB_NEIGHBOURS, exclude_self=True)
    sample = pool[np.argsort(row_keys(pool, seed), kind="stable")[:HUB_REFERENCE]]
    scaled = max(1, round(HUB_NEIGHBOURS * HUB_REFERENCE / len(pool)))
    return nearest_mean_similarity(pool, sample, scaled)


def queries(candidates: Candidates, density: RealArray) -> FloatArray:
    """Turn each usage row into a query for the pool. density: (n_A,) from `hubness`. Returns (n_E, d) unit rows [ours].

    A single prompt is a noisy question: it is averaged with the usage rows nearest to it, and moved towards the mean of
    the pool rows that answer these best (pseudo-relevance feedback, Rocchio 1971). The prompt itself keeps its part, so
    that rows with the same neighbours do not all ask the same.
    """
    usage = candidates.usage
    index, _ = nearest_rows(usage, usage, USAGE_NEIGHBOURS)
    smooth = unit_rows(usage[index].mean(axis=1))
    found, _ = best_rows(candidates, smooth, density, FEEDBACK_ROWS)
    return unit_rows(usage + smooth + candidates.pool[found].mean(axis=1))


def crowding(density: RealArray) -> RealArray:
    """Return what a pool row's score gains or loses by its density: crowded rows are near to everything."""
    return -HUB_WEIGHT * density


def best_rows(
    candidates: Candidates,
    query: FloatArray,
    density: RealArray,
    n: int,
    *,
    expected: Expected | None = None,
    answer_weight: float = 0.0,
    last: npt.NDArray[np.bool_] | None = None,
) -> tuple[IntArray, FloatArray]:
    """Return for each query its n best pool rows and their scores, best first. query: (m, d) unit rows.

    The score is the cosine less the density's share, plus `answer_weight` times the likelihood of the row's kind of
    answer, as far as that is trusted (one row for each query). last: (n_A,) rows that come behind all others.
    Returns (m, n) indices and scores.
    """

    def bonus(chunk: slice) -> RealArray:
        crowded = crowding(density[chunk])
        if last is not None:
            crowded = crowded - LAST * last[chunk]
        if expected is None or answer_weight * expected.trust == 0:
            return crowded
        return crowded + answer_weight * expected.trust * expected.likely[:, expected.columns[chunk]]

    return nearest_rows(query, candidates.pool, n, bonus=bonus)


def windows(asked: IntArray, factor: int, scores: FloatArray) -> IntArray:
    """Return how many of its best rows each usage row may draw among, (m,) [ours].

    `factor` times the rows that it asks for, as far as they score at most WINDOW_DEPTH less than the last of the rows
    that it would take if it took the best: what lies deeper is about something else. asked: (m,) rows. scores: (m, n),
    best first, minus infinity behind the last of a shorter list. With a factor of 1 it takes the best.
    """
    lengths = np.isfinite(scores).sum(axis=1)
    last = np.take_along_axis(scores, np.clip(asked - 1, 0, np.maximum(lengths - 1, 0))[:, None], axis=1)
    near = (scores >= last - WINDOW_DEPTH).sum(axis=1)
    return np.minimum(factor * asked, near) if factor > 1 else np.zeros_like(asked)


def shuffled_within(
    window: IntArray, rows: IntArray, scores: FloatArray, keys: npt.NDArray[np.uint64]
) -> tuple[IntArray, FloatArray]:
    """Put the first `window[i]` rows of each list in the order of their keys; the others follow, best first [ours].

    window: (m,). rows, scores: (m, n), best first. keys: (n_A,) numbers of the pool's rows that only their content and
    the seed decide.
    """
    ranks = np.argsort(np.argsort(keys, kind="stable"), kind="stable")
    place = np.arange(rows.shape[1])
    order = np.argsort(np.where(place < window[:, None], ranks[rows], len(keys) + place), axis=1, kind="stable")
    return np.take_along_axis(rows, order, axis=1), np.take_along_axis(scores, order, axis=1)


def answered(candidates: Candidates) -> RealArray:
    """Return how many rows at hand answer each usage row, (n_E,); a row that answers several is shared among them.

    Where many pool rows lie nearer to a usage row than a row at hand does, that row is no answer to it.
    """
    amount = np.zeros(len(candidates.usage), dtype=np.float64)
    if not len(candidates.current):
        return amount
    _, nearest = nearest_rows(candidates.usage, candidates.pool, ANSWERED_WITHIN)
    answers = candidates.usage @ candidates.current.T >= nearest[:, -1:]
    shared = answers.sum(axis=0)
    divided: RealArray = (answers / np.maximum(shared, 1)).sum(axis=1)
    return divided
