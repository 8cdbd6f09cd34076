"""What usage needs and the training data lacks."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from compass.semantic.arrays import RealArray


def gap(target: npt.ArrayLike, current: npt.ArrayLike) -> RealArray:
    """Return max(0, target - current) for each cluster. target, current: (k,) shares. Returns (k,) [ours].

    Raises ValueError if the shapes differ.
    """
    p, q = np.asarray(target, dtype=np.float64), np.asarray(current, dtype=np.float64)
    if p.shape != q.shape:
        raise ValueError(f"target and current must have one share for each cluster, got shapes {p.shape} and {q.shape}")
    return np.maximum(p - q, 0.0)
