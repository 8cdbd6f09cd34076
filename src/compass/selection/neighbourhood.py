"""Queries, densities and answers from neighbourhoods in the language-free space. All of it is our own [ours]."""

from __future__ import annotations

import numpy as np

from compass.selection.answers import Expected
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


def best_rows(
    candidates: Candidates,
    query: FloatArray,
    density: RealArray,
    n: int,
    *,
    expected: Expected | None = None,
    answer_weight: float = 0.0,
) -> tuple[IntArray, FloatArray]:
    """Return for each query its n best pool rows and their scores, best first. query: (m, d) unit rows.

    The score is the cosine less the density's share, plus `answer_weight` times the likelihood of the row's kind of
    answer, as far as that is trusted (one row for each query). Returns (m, n) indices and scores.
    """

    def bonus(chunk: slice) -> RealArray:
        crowded: RealArray = -HUB_WEIGHT * density[chunk]
        if expected is None or answer_weight * expected.trust == 0:
            return crowded
        return crowded + answer_weight * expected.trust * expected.likely[:, expected.columns[chunk]]

    return nearest_rows(query, candidates.pool, n, bonus=bonus)


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
