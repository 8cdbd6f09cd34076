"""Have the vectors changed within clusters? Maximum mean discrepancy with a permutation p-value.

MMD² with a Gaussian kernel (Gretton et al. 2012, JMLR 13, the unbiased estimate). The kernel's width is the median
distance of window and reference together, a function of the pooled rows alone, so that the permutation test is exact.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from compass.drift.level import sequential_p_value
from compass.semantic.arrays import FloatArray, RealArray

Split = RealArray
"""(rows, draws) of 0 and 1: which pooled rows are taken for the window."""


@dataclass(frozen=True)
class VectorResult:
    """One comparison of a window's vectors with the reference's."""

    mmd: float
    """MMD², the unbiased estimate; about 0 without change, and then as often below as above."""
    p_value: float


def mmd_test(window: FloatArray, reference: FloatArray, *, most: int, seed: int) -> VectorResult:
    """Compare two samples of unit rows. window: (n, d), reference: (m, d), two rows or more in each."""
    pooled = np.concatenate([window, reference])
    kernel = gaussian_kernel(pooled)
    np.fill_diagonal(kernel, 0.0)
    n, total = len(window), len(pooled)
    rng = np.random.default_rng(seed)
    observed = float(_mmd(kernel, np.repeat([[1.0], [0.0]], [n, total - n], axis=0))[0])

    def draw(size: int) -> RealArray:
        split = np.zeros((total, size))
        np.put_along_axis(split, rng.permuted(np.tile(np.arange(total)[:, None], size), axis=0)[:n], 1.0, axis=0)
        return _mmd(kernel, split)

    return VectorResult(observed, sequential_p_value(observed, draw, most=most))


def gaussian_kernel(rows: FloatArray) -> RealArray:
    """Return exp(-|x - y|² / (2 w²)) of all pairs, w the median distance. rows: (n, d). Returns (n, n)."""
    x = rows.astype(np.float64)
    squares = (x**2).sum(axis=1)
    distances = np.maximum(squares[:, None] + squares[None, :] - 2.0 * (x @ x.T), 0.0)
    # In sorted order come the zeros of the diagonal, then each pair twice.
    place = len(x) + (len(x) ** 2 - len(x)) // 2
    np.fill_diagonal(distances, 0.0)
    middle = float(np.partition(distances, place, axis=None)[place])
    # More than half of the pairs are repeats of one prompt: any width tells repeats from the rest.
    kernel: RealArray = np.exp(-distances / (2.0 * middle if middle > 1e-12 else 1.0))
    return kernel


def _mmd(kernel: RealArray, split: Split) -> RealArray:
    """Return the unbiased MMD² of each split. kernel: (t, t) with a zero diagonal."""
    n = split[:, 0].sum()
    m = len(kernel) - n
    within = np.einsum("ij,ij->j", split, kernel @ split)
    touching = kernel.sum(axis=1) @ split
    across = touching - within
    rest = kernel.sum() - 2.0 * touching + within
    mmd: RealArray = within / (n * (n - 1)) + rest / (m * (m - 1)) - 2.0 * across / (n * m)
    return mmd
