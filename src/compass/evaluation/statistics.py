"""Intervals for ratios of sums, and for paired differences of such ratios.

Percentile bootstrap (Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13): rows are resampled
with replacement and both sums of the ratio are taken over the same rows. When rows come in units that are not
independent (one item asked in several languages), whole units are resampled instead.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FloatArray64 = npt.NDArray[np.float64]

CHUNK_CELLS = 4_000_000
"""Resampled indices held at once (32 MB of int64)."""


@dataclass(frozen=True, slots=True)
class Interval:
    """A value with its interval; all three are nan where the denominator is empty."""

    value: float
    low: float
    high: float


def ratio_interval(
    numerators: npt.ArrayLike,
    denominators: npt.ArrayLike,
    *,
    draws: int,
    confidence: float,
    seed: int,
    units: Sequence[Hashable] | None = None,
    proportion: bool = False,
) -> Interval:
    """Bootstrap the ratio of two sums.

    numerators, denominators: (n,). units: (n,) labels of what is resampled; None resamples rows. A draw whose
    denominator is 0 is left out. proportion=True says that the ratio counts successes; then, when every row agrees,
    the interval is Wilson's: a resample of identical rows has no spread, yet 0 of 20 does not prove 0.
    Raises ValueError if the shapes differ.
    """
    top, bottom = _by_unit(units, numerators, denominators)
    total = float(bottom.sum())
    if total == 0.0:
        return Interval(float("nan"), float("nan"), float("nan"))
    value = float(top.sum()) / total
    if proportion and value in (0.0, 1.0):
        counted = int(np.count_nonzero(bottom))
        low, high = wilson(counted if value else 0, counted, confidence)
        return Interval(value, low, high)
    samples = _ratios(top, bottom, draws, seed)
    low, high = _percentiles(samples, confidence)
    return Interval(value, low, high)


def paired_difference(
    base: tuple[npt.ArrayLike, npt.ArrayLike],
    other: tuple[npt.ArrayLike, npt.ArrayLike],
    *,
    draws: int,
    confidence: float,
    seed: int,
    units: Sequence[Hashable] | None = None,
) -> Interval:
    """Bootstrap the difference other − base of two ratios measured on the same rows.

    base, other: (numerators, denominators), each (n,), row i of both being the same item; one draw resamples both
    alike, so that what is hard for both cancels. units: as in `ratio_interval`. Raises ValueError if the shapes differ.
    """
    base_top, base_bottom, other_top, other_bottom = _by_unit(units, *base, *other)
    if base_bottom.sum() == 0.0 or other_bottom.sum() == 0.0:
        return Interval(float("nan"), float("nan"), float("nan"))
    value = float(other_top.sum() / other_bottom.sum() - base_top.sum() / base_bottom.sum())
    samples = _ratios(other_top, other_bottom, draws, seed) - _ratios(base_top, base_bottom, draws, seed)
    low, high = _percentiles(samples, confidence)
    return Interval(value, low, high)


def wilson(successes: int, n: int, confidence: float) -> tuple[float, float]:
    """Return Wilson's score interval of a binomial proportion (Wilson, JASA 1927): sound for small n and at 0 or n.

    Raises ValueError if n is below 1 or successes are outside 0..n.
    """
    from scipy.stats import binomtest

    if not 0 <= successes <= n or n < 1:
        raise ValueError(f"successes must lie in 0..n with n >= 1; got {successes} of {n}")
    interval = binomtest(successes, n).proportion_ci(confidence_level=confidence, method="wilson")
    return float(interval.low), float(interval.high)


def _by_unit(units: Sequence[Hashable] | None, *columns: npt.ArrayLike) -> tuple[FloatArray64, ...]:
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
    sums = np.zeros((len(arrays), len(number)))
    for row, array in zip(sums, arrays, strict=True):
        np.add.at(row, index, array)
    return tuple(sums)


def _resamples(n: int, draws: int, seed: int) -> Iterator[npt.NDArray[np.int64]]:
    rng = np.random.default_rng(seed)
    step = max(1, CHUNK_CELLS // n)
    for start in range(0, draws, step):
        yield rng.integers(0, n, size=(min(step, draws - start), n))


def _ratios(top: FloatArray64, bottom: FloatArray64, draws: int, seed: int) -> FloatArray64:
    tops = []
    bottoms = []
    for rows in _resamples(len(top), draws, seed):
        tops.append(top[rows].sum(axis=1))
        bottoms.append(bottom[rows].sum(axis=1))
    denominators = np.concatenate(bottoms)
    out = np.full(len(denominators), np.nan)
    np.divide(np.concatenate(tops), denominators, out=out, where=denominators != 0.0)
    return out


def _percentiles(samples: FloatArray64, confidence: float) -> tuple[float, float]:
    usable = samples[~np.isnan(samples)]
    if not len(usable):
        return float("nan"), float("nan")
    tail = (1.0 - confidence) / 2.0
    low, high = np.quantile(usable, [tail, 1.0 - tail])
    return float(low), float(high)
