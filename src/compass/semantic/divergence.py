"""How far apart two distributions over clusters are."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from compass.semantic.arrays import RealArray


def jensen_shannon_divergence(p: npt.ArrayLike, q: npt.ArrayLike) -> float:
    """Return the Jensen-Shannon divergence (not its root, the distance) in bits, in [0, 1].

    p, q: (k,) non-negative weights; each is normalised. Raises ValueError if the shapes differ or a side is empty.
    """
    from scipy.spatial.distance import jensenshannon

    a, b = np.asarray(p, dtype=np.float64), np.asarray(q, dtype=np.float64)
    if a.shape != b.shape or a.ndim != 1:
        raise ValueError(f"p and q must be 1-D and of one length, got shapes {a.shape} and {b.shape}")
    if not (a.sum() > 0 and b.sum() > 0):
        raise ValueError("p and q must each hold some weight, got a distribution that sums to 0")
    # Rounding can bring the square of the distance of near-equal distributions below 0, whose root is NaN.
    return float(np.nan_to_num(jensenshannon(a, b, base=2), nan=0.0) ** 2)


def jensen_shannon_divergences(p: npt.ArrayLike, q: npt.ArrayLike) -> RealArray:
    """Return the divergence in bits of each row of p from the same row of q. p, q: (n, k) non-negative weights.

    Each row is normalised. Returns (n,). Raises ValueError if the shapes differ or a row is empty.
    """
    from scipy.spatial.distance import jensenshannon

    a, b = np.asarray(p, dtype=np.float64), np.asarray(q, dtype=np.float64)
    if a.shape != b.shape or a.ndim != 2:
        raise ValueError(f"p and q must be 2-D and of one shape, got shapes {a.shape} and {b.shape}")
    if not (a.sum(axis=1) > 0).all() or not (b.sum(axis=1) > 0).all():
        raise ValueError("each row of p and q must hold some weight, got a row that sums to 0")
    distances = np.nan_to_num(jensenshannon(a, b, base=2, axis=1), nan=0.0)
    return np.asarray(distances, dtype=np.float64) ** 2
