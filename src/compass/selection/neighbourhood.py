"""Scores from neighbourhoods in the language-free space."""

from __future__ import annotations

import numpy as np

from compass.selection.protocol import Candidates
from compass.semantic.arrays import FloatArray, RealArray, nearest_mean_similarity, nearest_rows

SOFT_NEIGHBOURS = 10
"""Pool rows whose clusters a row is spread over [ours]."""


def soft_counts(vectors: FloatArray, candidates: Candidates, neighbours: int = SOFT_NEIGHBOURS) -> RealArray:
    """Spread each row evenly over the clusters of its nearest pool rows, and count. vectors: (n, d). Returns (K,).

    A row near the border of two clusters asks both; a cluster without pool rows is asked by nobody. The counts sum
    to n.
    """
    index, _ = nearest_rows(vectors, candidates.pool, neighbours)
    counts = np.bincount(candidates.pool_clusters[index].ravel(), minlength=candidates.n_clusters)
    spread: RealArray = counts / max(index.shape[1], 1)
    return spread


def closeness(candidates: Candidates, neighbours: int) -> RealArray:
    """Score each pool row by closeness to usage and distance from the data at hand [ours]. Returns (n_A,).

    The mean cosine to the `neighbours` nearest usage rows less that to as many rows of the data at hand: a log
    density ratio of the two but for a factor, with the cosine as log kernel.
    """
    return nearest_mean_similarity(candidates.pool, candidates.usage, neighbours) - nearest_mean_similarity(
        candidates.pool, candidates.current, neighbours
    )
