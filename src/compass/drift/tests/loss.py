"""Is the adapter doing worse where people say what was right? A one-sided permutation test on losses."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from compass.drift.level import sequential_p_value
from compass.semantic.arrays import RealArray


def loss_p_value(window: npt.ArrayLike, reference: npt.ArrayLike, *, most: int, seed: int) -> float:
    """Return the permutation p-value of a higher mean loss in the window. window: (n,), reference: (m,) losses.

    Losses may be of any kind (1 for wrong and 0 for right, cross-entropy, a rating turned over); higher is worse.
    """
    new, old = np.asarray(window, dtype=np.float64), np.asarray(reference, dtype=np.float64)
    pooled = np.concatenate([new, old])
    rng = np.random.default_rng(seed)

    def draw(size: int) -> RealArray:
        means: RealArray = rng.permuted(np.tile(pooled, (size, 1)), axis=1)[:, : len(new)].mean(axis=1)
        return means

    return sequential_p_value(float(new.mean()), draw, most=most)
