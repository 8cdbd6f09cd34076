"""How rows spread over the clusters of a space."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from compass.semantic.arrays import IntArray, RealArray


def histogram(labels: npt.ArrayLike, n_clusters: int) -> IntArray:
    """Count the rows of each cluster. labels: (n,) ints in [0, n_clusters). Returns (n_clusters,) ints.

    Raises ValueError if a label lies outside the space's clusters.
    """
    x = np.asarray(labels, dtype=np.int64)
    if x.size and (x.min() < 0 or x.max() >= n_clusters):
        raise ValueError(f"labels must lie in [0, {n_clusters}), got {x.min()} to {x.max()}")
    return np.bincount(x, minlength=n_clusters).astype(np.int64)


def shares(counts: npt.ArrayLike) -> RealArray:
    """Turn counts into shares that sum to 1. counts: (k,).

    No rows: all shares are 0, for there is no distribution to speak of. Returns (k,).
    """
    x = np.asarray(counts, dtype=np.float64)
    total = x.sum()
    return x / total if total > 0 else np.zeros_like(x)
