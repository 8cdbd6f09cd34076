"""Where usage points in the pool: the pool's density, a query for each usage row, and the rows that score best [ours].

score(u, a) = q_u · a − ½ density(a)
"""

from __future__ import annotations

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


def pool_density(candidates: Candidates, seed: int) -> RealArray:
    """Return how crowded the surroundings of each pool row are, (n_A,) mean cosines.

    Rows in crowded regions are near to every query; taking part of the density off their score is the correction of
    cross-domain similarity local scaling (Conneau et al. 2018, arXiv 1710.04087). In a large pool the density is taken
    against a sample of it that only the rows' content and the seed decide.
    """
    pool = candidates.pool
    if len(pool) <= DENSITY_REFERENCE:
        return nearest_mean_similarity(pool, pool, DENSITY_NEIGHBOURS, exclude_self=True)
    sample = pool[np.argsort(row_keys(pool, seed), kind="stable")[:DENSITY_REFERENCE]]
    scaled = max(1, round(DENSITY_NEIGHBOURS * DENSITY_REFERENCE / len(pool)))
    return nearest_mean_similarity(pool, sample, scaled)


def queries(candidates: Candidates, density: RealArray) -> FloatArray:
    """Turn each usage row into a query for the pool. density: (n_A,). Returns (n_U, d) unit rows.

    A single prompt is a noisy question: it is averaged with the usage rows nearest to it, and moved towards the mean of
    the pool rows that score best for these (pseudo-relevance feedback, Rocchio 1971). The prompt itself keeps its part,
    so that rows with the same neighbours do not all ask for the same.
    """
    usage = candidates.usage
    neighbours, _ = nearest_rows(usage, usage, USAGE_NEIGHBOURS)
    smooth = unit_rows(usage[neighbours].mean(axis=1))
    feedback, _ = best_rows(candidates, smooth, density, FEEDBACK_ROWS)
    return unit_rows(usage + smooth + candidates.pool[feedback].mean(axis=1))


def best_rows(
    candidates: Candidates, query: FloatArray, density: RealArray, n: int, *, among: IntArray | None = None
) -> tuple[IntArray, FloatArray]:
    """Return the n best pool rows of each query, and their scores, best first. query: (m, d) unit rows.

    among: (k,) pool rows; None: all. Returns (m, min(n, k)) rows and scores.
    """
    pool, crowded = candidates.pool, density
    if among is not None:
        pool, crowded = pool[among], density[among]

    def penalty(chunk: slice) -> RealArray:
        return -DENSITY_WEIGHT * crowded[chunk]

    places, scores = nearest_rows(query, pool, n, bonus=penalty)
    return places if among is None else among[places], scores
