"""Rows in units that are not independent: their sums, draws of whole units, and the error of a ratio of sums."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence

import numpy as np
import numpy.typing as npt

FloatArray64 = npt.NDArray[np.float64]

TIE = 1e-12
"""Statistics of scores up to 1 that differ by less are equal: sums of the same numbers in another order."""

CHUNK_CELLS = 4_000_000
"""Resampled indices held at once (32 MB of int64)."""


def by_unit(units: Sequence[Hashable] | None, *columns: npt.ArrayLike) -> tuple[FloatArray64, ...]:
    """Return the sums of each column (n,) over each unit, in the order of their first rows.

    units: (n,) labels; None returns the rows. Raises ValueError if the shapes differ.
    """
    arrays = tuple(np.asarray(column, dtype=np.float64) for column in columns)
    shapes = {array.shape for array in arrays}
    if len(shapes) != 1 or arrays[0].ndim != 1:
        raise ValueError(f"the arrays must be one-dimensional and of one length; got shapes {sorted(shapes)}")
    if units is None:
        return arrays
    if len(units) != len(arrays[0]):
        raise ValueError(f"units must name each of the {len(arrays[0])} rows; got {len(units)}")
    number = {unit: i for i, unit in enumerate(dict.fromkeys(units))}
    index = np.fromiter((number[unit] for unit in units), dtype=np.int64, count=len(units))
    sums = (np.bincount(index, weights=array, minlength=len(number)) for array in arrays)
    return tuple(np.asarray(column, dtype=np.float64) for column in sums)


def tie(bottoms: FloatArray64, *tops: FloatArray64) -> float:
    """Return how far ratios of sums of these may lie apart and be equal: `TIE`, and more where they are above 1."""
    return TIE * max(1.0, *(float(np.abs(top).sum() / bottoms.sum()) for top in tops))


def share_unseen(n: int, level: float) -> float:
    """Return the largest share of other units that a sample of `n` like ones would miss with probability `level`."""
    return 1.0 - level ** (1.0 / n) if n else 1.0


def resamples(n: int, draws: int, seed: int) -> Iterator[npt.NDArray[np.int64]]:
    """Yield chunks of (m, n) indices drawn with replacement, `draws` rows in all."""
    rng = np.random.default_rng(seed)
    for rows in chunks(n, draws):
        yield rng.integers(0, n, size=(rows, n))


def chunks(n: int, draws: int) -> Iterator[int]:
    """Yield how many of the draws, of n cells each, are held at once."""
    step = max(1, CHUNK_CELLS // n)
    for start in range(0, draws, step):
        yield min(step, draws - start)


def ratio_errors(tops: FloatArray64, bottoms: FloatArray64) -> FloatArray64:
    """Return (draws,): the standard error of each row's ratio of sums, (draws, units) each, by linearisation."""
    m = tops.shape[1]
    ratio = tops.sum(axis=1, keepdims=True) / bottoms.sum(axis=1, keepdims=True)
    residual = (tops - ratio * bottoms) / bottoms.mean(axis=1, keepdims=True)
    return np.asarray(np.sqrt((residual**2).sum(axis=1) / max(m - 1, 1) / m))
