"""Where usage points in the pool: the pool's density, a query for each usage row, and the rows that score best [ours].

score(u, a) = q_u · a − ½ density(a)
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

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
DENSITY_WEIGHT = 0.5
"""Weight of a pool row's density in its score [ours]."""
DENSITY_NEIGHBOURS = 100
DENSITY_REFERENCE = 5000
"""A pool row's density is its mean cosine to this many of its nearest rows, among at most so many of the pool."""


class LazyDensity(Protocol):
    """The density of a large pool, known of the rows that matter."""

    @property
    def feedback(self) -> IntArray:
        """(n_U, `FEEDBACK_ROWS`) the best rows of each smoothed usage row."""
        ...

    def best_rows(self, query: FloatArray, n: int, among: IntArray | None = None) -> tuple[IntArray, FloatArray]:
        """Return the n best pool rows of each query, and their scores, as the function `best_rows`."""
        ...


Density = RealArray | LazyDensity
"""(n_A,) density of each pool row, or one that finds it where it is needed."""


def pool_density(candidates: Candidates, seed: int) -> RealArray:
    """Return how crowded the surroundings of each pool row are, (n_A,) mean cosines.

    Rows in crowded regions are near to every query; taking part of the density off their score is the correction of
    cross-domain similarity local scaling (Conneau et al. 2018, arXiv 1710.04087). In a large pool the density is taken
    against a sample of it that only the rows' content and the seed decide.
    """
    pool = candidates.pool
    if len(pool) <= DENSITY_REFERENCE:
        rows = pool[:]
        return nearest_mean_similarity(rows, rows, DENSITY_NEIGHBOURS, exclude_self=True)
    return nearest_mean_similarity(pool, *density_sample(candidates, seed))


def density_sample(candidates: Candidates, seed: int) -> tuple[FloatArray, int]:
    """Return the rows of a large pool that its density is taken against, and how many of the nearest count."""
    keys = row_keys(candidates.pool, seed)
    sample = candidates.pool[np.argsort(keys, kind="stable")[:DENSITY_REFERENCE]]
    return sample, max(1, round(DENSITY_NEIGHBOURS * DENSITY_REFERENCE / len(keys)))


def queries(candidates: Candidates, density: Density) -> FloatArray:
    """Turn each usage row into a query for the pool. density: (n_A,). Returns (n_U, d) unit rows.

    A single prompt is a noisy question: it is averaged with the usage rows nearest to it, and moved towards the mean of
    the pool rows that score best for these (pseudo-relevance feedback, Rocchio 1971). The prompt itself keeps its part,
    so that rows with the same neighbours do not all ask for the same.
    """
    smooth, _ = smoothed(candidates.usage)
    if isinstance(density, np.ndarray):
        feedback, _ = best_rows(candidates, smooth, density, FEEDBACK_ROWS)
    else:
        feedback = density.feedback
    return unit_rows(candidates.usage + smooth + candidates.pool[feedback.ravel()].reshape(*feedback.shape, -1).mean(1))


def smoothed(usage: FloatArray) -> tuple[FloatArray, Any]:
    """Return the mean of each usage row and those nearest to it, (n_U, d) unit rows.

    Also what makes them of the usage rows, a sparse (n_U, n_U): cosines with the one are sums of cosines with the
    other.
    """
    from scipy.sparse import csr_array

    neighbours, _ = nearest_rows(usage, usage, USAGE_NEIGHBOURS)
    means = usage[neighbours].mean(axis=1)
    n, k = neighbours.shape
    lengths = np.linalg.norm(means, axis=1)
    weights = np.repeat(1.0 / (k * np.where(lengths > 0, lengths, 1.0)), k).astype(np.float32)
    return unit_rows(means), csr_array((weights, neighbours.ravel(), np.arange(n + 1) * k), shape=(n, n))


def best_rows(
    candidates: Candidates, query: FloatArray, density: Density, n: int, *, among: IntArray | None = None
) -> tuple[IntArray, FloatArray]:
    """Return the n best pool rows of each query, and their scores, best first. query: (m, d) unit rows.

    among: (k,) pool rows; None: all. Returns (m, min(n, k)) rows and scores.
    """
    if not isinstance(density, np.ndarray):
        return density.best_rows(query, n, among)
    pool, crowded = candidates.pool, density
    if among is not None:
        pool, crowded = pool[among], density[among]

    def penalty(chunk: slice) -> RealArray:
        return -DENSITY_WEIGHT * crowded[chunk]

    places, scores = nearest_rows(query, pool, n, bonus=penalty)
    return places if among is None else among[places], scores
