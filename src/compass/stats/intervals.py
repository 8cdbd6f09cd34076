"""Bootstrap intervals for ratios of sums, and for paired differences of such ratios.

Intervals are percentile bootstraps (Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13): rows are
resampled with replacement and both sums of the ratio are taken over the same rows. When rows come in units that are not
independent (one item asked in several languages, or answered by the models of several seeds), whole units are drawn.

All of that is for the models as they were trained. Another draw of the data or another seed gives other models, and how
far these scatter no resampling of test rows can tell: `difference_between_runs` can.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence

import numpy as np
import numpy.typing as npt

from compass.records import Interval
from compass.stats.units import FloatArray64, by_unit, resamples, share_unseen

BOOTSTRAP_DRAWS = 2000
"""Draws behind the intervals of evaluations and comparisons."""
UNKNOWN = Interval(math.nan, math.nan, math.nan)


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
    top, bottom = by_unit(units, numerators, denominators)
    total = float(bottom.sum())
    if total == 0.0:
        return UNKNOWN
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
    proportion: bool = False,
) -> Interval:
    """Bootstrap the difference other − base of two ratios measured on the same rows.

    base, other: (numerators, denominators), each (n,), row i of both being the same item; one draw resamples both
    alike, so that what is hard for both cancels. units: as in `ratio_interval`. proportion=True says that the ratios
    count successes; then, where every unit differs by the same, the interval is what so many units leave possible of
    others: a resample of them has no spread, yet 3 of 3 is no certainty. Raises ValueError if the shapes differ.
    """
    base_top, base_bottom, other_top, other_bottom = by_unit(units, *base, *other)
    if base_bottom.sum() == 0.0 or other_bottom.sum() == 0.0:
        return UNKNOWN
    value = float(other_top.sum() / other_bottom.sum() - base_top.sum() / base_bottom.sum())
    if proportion:
        counted = (base_bottom > 0) & (other_bottom > 0)
        each = other_top[counted] / other_bottom[counted] - base_top[counted] / base_bottom[counted]
        if len(each) and np.ptp(each) == 0.0:
            unseen = share_unseen(len(each), (1.0 - confidence) / 2)
            return Interval(value, value - unseen * (1.0 + value), value + unseen * (1.0 - value))
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


def _ratios(top: FloatArray64, bottom: FloatArray64, draws: int, seed: int) -> FloatArray64:
    tops = []
    bottoms = []
    for rows in resamples(len(top), draws, seed):
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
