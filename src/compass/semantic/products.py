"""Cosines of very many rows with a few fixed ones: bfloat16 says which are close, float32 decides between those.

Processors with instructions for bfloat16 multiply it six or more times as fast as float32. What rounding can do to a
cosine is bounded (`Cosines.margin`), so that whatever may be the nearest in float32 is found and compared in float32.
Other processors, and pools for which loading torch would take longer than it saves, use float32 from the start.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from compass.runs.machine import multiplies_bfloat16
from compass.semantic.arrays import FloatArray, IntArray, RealArray, nearest_mean_similarity, row_chunks
from compass.semantic.kmeans import assign_nearest

FAST_ROWS = 500_000
"""Rows from which bfloat16 saves more than the 1.5 s that torch takes to load."""
CHUNK_CELLS = 1_000_000
"""Cosines that are looked at together: they stay in the processor's cache."""
ROUNDING = 2.0**-8
"""Largest relative change of a number that is rounded to bfloat16."""
TIE = 1e-6
"""Difference of two float32 cosines that the order of their sums can turn round."""
MOST_CLOSE = 4
"""Fixed rows, on average, that may be close to a row: with more of them float32 is as fast from the start."""


class Cosines:
    """Cosines of rows with fixed rows, each at most `margin` from the float32 product."""

    def __init__(self, fixed: FloatArray, rows: int) -> None:
        """fixed: (m, d), of length 1 or less. rows: how many they will be compared with, about; of length 1 or less."""
        self.fixed = fixed
        self.margin = 0.0
        self._rows = rows
        self._columns: Any = None
        if rows >= FAST_ROWS and len(fixed) and multiplies_bfloat16():
            self._round()

    def __reduce__(self) -> tuple[type[Cosines], tuple[FloatArray, int]]:
        """Have a worker that this is sent to make its own: its processor may have other instructions."""
        return Cosines, (self.fixed, self._rows)

    def _round(self) -> None:
        import torch

        exact = torch.from_numpy(np.ascontiguousarray(self.fixed))
        rounded = exact.bfloat16()
        self._columns = rounded.T.contiguous()
        lost = float((exact - rounded.float()).norm(dim=1).max())
        # Rounding of the fixed rows, of the others and of the result; then the sums of both products in float32.
        sums = 2 * self.fixed.shape[1] * 2.0**-24
        self.margin = 1.01 * (lost + 2 * ROUNDING + sums)

    def of(self, rows: FloatArray) -> FloatArray:
        """Return (n, m) cosines. rows: (n, d)."""
        if self._columns is None:
            cosines: FloatArray = rows @ self.fixed.T
            return cosines
        found = np.empty((len(rows), len(self.fixed)), dtype=np.float32)
        for chunk in self._chunks(len(rows)):
            found[chunk] = (_rounded(rows[chunk]) @ self._columns).float().numpy()
        return found

    def nearest(self, rows: FloatArray) -> IntArray:
        """Return the fixed row with the highest cosine, (n,), as `assign_nearest` does. rows: (n, d)."""
        if self._columns is None:
            return assign_nearest(rows, self.fixed)
        labels = np.empty(len(rows), dtype=np.int64)
        for chunk in self._chunks(len(rows)):
            labels[chunk] = self._nearest(rows[chunk])
        return labels

    def mean_of_nearest(self, rows: FloatArray, k: int) -> RealArray:
        """Return the mean cosine to the k nearest fixed rows, (n,), as `nearest_mean_similarity` does."""
        if self._columns is None:
            return nearest_mean_similarity(rows, self.fixed, k)
        means = np.empty(len(rows), dtype=np.float64)
        for chunk in self._chunks(len(rows)):
            means[chunk] = self._mean_of_nearest(rows[chunk], k)
        return means

    def _nearest(self, rows: FloatArray) -> IntArray:
        pairs = self._close(rows, 1)
        if pairs is None:
            return assign_nearest(rows, self.fixed)
        row, place = pairs
        counts = np.bincount(row, minlength=len(rows))
        labels: IntArray = place[np.cumsum(counts) - counts]
        several = counts[row] > 1
        row, place, cosine = self._in_order(rows, row[several], place[several])
        first = np.flatnonzero(np.diff(row, prepend=-1))
        labels[row[first]] = place[first]
        tied = row[first][cosine[first] - cosine[first + 1] < TIE]
        if len(tied):
            labels[tied] = assign_nearest(rows[tied], self.fixed)
        return labels

    def _mean_of_nearest(self, rows: FloatArray, k: int) -> RealArray:
        k = min(k, len(self.fixed))
        pairs = self._close(rows, k)
        if pairs is None:
            return nearest_mean_similarity(rows, self.fixed, k)
        row, _, cosine = self._in_order(rows, *pairs)
        counts = np.bincount(row, minlength=len(rows))
        among = np.arange(len(row)) - np.repeat(np.cumsum(counts) - counts, counts) < k
        means: RealArray = np.bincount(row[among], weights=cosine[among], minlength=len(rows)) / k
        return means

    def _close(self, rows: FloatArray, k: int) -> tuple[IntArray, IntArray] | None:
        """Return row and fixed row of each pair that may be among the k nearest of the row; None: they are too many."""
        cosines = self.of(rows)
        last = cosines.max(axis=1, keepdims=True) if k == 1 else np.partition(cosines, -k, axis=1)[:, -k, None]
        pairs = np.flatnonzero(cosines >= last - np.float32(2 * self.margin))
        return None if len(pairs) > MOST_CLOSE * k * len(rows) else np.divmod(pairs, len(self.fixed))

    def _in_order(self, rows: FloatArray, row: IntArray, place: IntArray) -> tuple[IntArray, IntArray, FloatArray]:
        """Put the pairs of each row in order, nearest first, of equals the lower fixed row; add float32 cosines."""
        cosine: FloatArray = np.einsum("ij,ij->i", rows[row], self.fixed[place])
        order = np.lexsort((place, -cosine, row))
        return row[order], place[order], cosine[order]

    def _chunks(self, n: int) -> Iterator[slice]:
        return row_chunks(n, max(1, CHUNK_CELLS // len(self.fixed)))


@contextmanager
def one_torch_thread() -> Iterator[None]:
    """Have each thread multiply by itself meanwhile, if torch is loaded."""
    torch = sys.modules.get("torch")
    if torch is None:
        yield
        return
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _rounded(rows: FloatArray) -> Any:
    import torch

    return torch.from_numpy(np.ascontiguousarray(rows)).bfloat16()
