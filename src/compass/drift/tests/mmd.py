"""Have the vectors changed within clusters? Maximum mean discrepancy with a permutation p-value.

MMD² with a Gaussian kernel (Gretton et al. 2012, JMLR 13, the unbiased estimate). The kernel's width is the median
distance of window and reference together, a function of the pooled rows alone, so that the permutation test is exact.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from compass.drift.catalogue import register
from compass.drift.level import draws_for, sequential_p_value
from compass.drift.protocol import Batch, DriftTest, Stream
from compass.drift.results import Check
from compass.semantic.arrays import FloatArray, IntArray, RealArray

Split = RealArray
"""(rows, draws) of 0 and 1: which pooled rows are taken for the window."""


@register
@dataclass(eq=False)
class VectorsTest(DriftTest):
    """Compare a sample of each window's vectors with vectors of the reference."""

    share: float = 0.2
    rows: int = 300
    """Vectors of a window, and of the reference, that are compared at most."""
    name = "vectors"

    def fit(self, stream: Stream) -> None:
        """Take the reference's vectors."""
        self.stream = stream
        self.alpha_ = stream.level(self.share, every=stream.window)
        self.reference_ = stream.reference.vectors[: self.rows]

    def observe(self, batch: Batch) -> Iterator[Check]:
        """Check once a window, after the batch that finishes it."""
        prompts = batch.prompts.beginning() if batch.sessions else batch.prompts
        sample = self._sample.add(prompts.vectors)
        if sample is None:
            return
        found = self._compare(sample, batch, within=batch.compared is not None)
        if found.p_value <= self.alpha_ and batch.compared is None and batch.if_sessions() is not None:
            found = self._compare(sample, batch, within=True)
        yield batch.check(self.name, found.mmd, found.p_value, self.alpha_)

    def _compare(self, sample: FloatArray, batch: Batch, *, within: bool) -> VectorResult:
        """Compare a window's vectors with the reference's, within clusters or not."""
        clusters = self.stream.nearest(np.concatenate([sample, self.reference_])) if within else None
        seed = self.stream.seed(self.name, batch.block)
        return mmd_test(sample, self.reference_, most=draws_for(self.alpha_), seed=seed, clusters=clusters)

    def restore(self, stored: Mapping[str, Any]) -> None:
        """Begin a new window: vectors of prompts are held in memory alone."""
        self._sample = VectorSample(self.stream.window, self.rows)

    def describe(self, value: float) -> str:
        """Return an MMD² in words."""
        return f"change within clusters, MMD² {value:.4f}"


@dataclass(frozen=True)
class VectorResult:
    """One comparison of a window's vectors with the reference's."""

    mmd: float
    """MMD², the unbiased estimate; about 0 without change, and then as often below as above."""
    p_value: float


def mmd_test(
    window: FloatArray, reference: FloatArray, *, most: int, seed: int, clusters: IntArray | None = None
) -> VectorResult:
    """Compare two samples of unit rows. window: (n, d), reference: (m, d), two rows or more in each.

    clusters: (n + m,) of window and reference, to permute within them alone: how many rows each has is then given, and
    a mix of topics that moves with the hours or comes in sessions is no change.
    """
    pooled = np.concatenate([window, reference])
    kernel = gaussian_kernel(pooled)
    np.fill_diagonal(kernel, 0.0)
    n, total = len(window), len(pooled)
    rng = np.random.default_rng(seed)
    first = np.arange(n)
    if clusters is not None:
        ordered = np.sort(clusters)
        within = np.arange(total) - np.searchsorted(ordered, ordered)
        first = np.flatnonzero(within < np.bincount(clusters[:n], minlength=int(ordered[-1]) + 1)[ordered])
    observed = float(_mmd(kernel, np.repeat([[1.0], [0.0]], [n, total - n], axis=0))[0])

    def draw(size: int) -> RealArray:
        split = np.zeros((total, size))
        if clusters is None:
            chosen = rng.permuted(np.tile(np.arange(total)[:, None], size), axis=0)[:n]
        else:
            # Sorted by cluster and at random within it: the first of each are taken.
            chosen = np.argsort(clusters[:, None] + rng.random((total, size)), axis=0)[first]
        np.put_along_axis(split, chosen, 1.0, axis=0)
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


class VectorSample:
    """Evenly spaced vectors of the last whole window of a stream, in memory alone: vectors are never stored.

    Which prompts are taken depends on their place in the stream only: the sample is as exchangeable as they are.
    """

    def __init__(self, window: int, rows: int) -> None:
        self.window = window
        self.stride = math.ceil(window / rows)
        self.prompts = 0
        """Prompts seen since the process started."""
        self._parts: list[FloatArray] = []

    def add(self, rows: FloatArray) -> FloatArray | None:
        """Take in rows in their order; return the sample of the last window if one or more were finished.

        rows: (n, d). Of several windows that are finished at once only the last is returned.
        """
        start, end = self.prompts, self.prompts + len(rows)
        boundary = end // self.window * self.window
        self.prompts = end
        if boundary <= start:
            self._parts.append(self._every(rows, start))
            return None
        first = max(start, boundary - self.window)
        sample = self._every(rows[first - start : boundary - start], first)
        if first == start:
            sample = np.concatenate([*self._parts, sample])
        self._parts = [self._every(rows[boundary - start :], boundary)]
        return sample

    def _every(self, rows: FloatArray, position: int) -> FloatArray:
        return rows[-(position % self.window) % self.stride :: self.stride].copy()
