"""Effect sizes of paired scores: Cohen's d, and the smallest difference that a sample would show."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence

import numpy as np
import numpy.typing as npt

from compass.records import Interval
from compass.stats.intervals import UNKNOWN
from compass.stats.units import by_unit, ratio_errors, tie


def cohens_d(
    base: npt.ArrayLike,
    other: npt.ArrayLike,
    *,
    confidence: float,
    units: Sequence[Hashable] | None = None,
) -> Interval:
    """Return Cohen's d of paired scores, mean over standard deviation of other - base, with its interval.

    base, other: (n,) scores of the same rows. This is d_z (Cohen 1988, section 2.3.5). The interval holds the effects
    whose non-central t distribution has the observed t within its central part (Cumming and Finch 2001): exact for
    normal differences, close for others from some 30 pairs on. units: the means of units are what is compared, each
    counting once. All nan for fewer than two units and for differences without spread, unless all are 0: so is d then.
    Raises ValueError if the shapes differ.
    """
    base_sum, other_sum, size = by_unit(units, base, other, np.ones(np.shape(base)))
    n = len(size)
    if n < 2:
        return UNKNOWN
    differences = (other_sum - base_sum) / size
    mean, spread = float(differences.mean()), float(differences.std(ddof=1))
    least = tie(size, base_sum, other_sum)
    if spread <= least:
        return Interval(0.0, 0.0, 0.0) if abs(mean) <= least else UNKNOWN
    value = mean / spread
    tail = (1.0 - confidence) / 2.0
    low, high = (_noncentrality(value * math.sqrt(n), n - 1, share) / math.sqrt(n) for share in (1.0 - tail, tail))
    return Interval(value, low, high)


def minimum_detectable_effect(
    base: npt.ArrayLike,
    other: npt.ArrayLike,
    *,
    level: float = 0.05,
    power: float = 0.8,
    units: Sequence[Hashable] | None = None,
) -> float:
    """Return the smallest true difference of means that a paired two-sided test on this sample would show.

    base, other: (n,) scores of the same rows. The spread is the sample's own; the test shows the effect at `level` with
    probability `power` (Bloom 1995; power of the t test, to which the permutation test comes close). units: as in
    `ratio_interval`; the standard error is then that of a ratio of unit sums. nan for fewer than two units, and where
    all differ alike: a sample without spread says nothing of the spread.
    Raises ValueError if the shapes differ or level or power lie outside 0..1.
    """
    if not (0.0 < level < 1.0 and level < power < 1.0):
        raise ValueError(f"0 < level < power < 1 must hold; got level {level} and power {power}")
    base_sum, other_sum, size = by_unit(units, base, other, np.ones(np.shape(base)))
    n = len(size)
    if n < 2:
        return float("nan")
    (error,) = ratio_errors((other_sum - base_sum)[None, :], size[None, :])
    if error <= tie(size, base_sum, other_sum):
        return float("nan")
    return _shown(n - 1, level, power) * float(error)


def _noncentrality(t: float, freedom: int, share: float) -> float:
    """Return the non-centrality at which a t with `freedom` degrees of freedom lies below `t` with this share."""
    from scipy.stats import nct

    return _root(lambda c: float(nct.cdf(t, freedom, c)) - share, t)


def _shown(freedom: int, level: float, power: float) -> float:
    """Return the effect, in standard errors, that a two-sided t test shows with this power."""
    from scipy.stats import nct, t

    critical = float(t.isf(level / 2.0, freedom))
    return _root(lambda c: power - float(nct.sf(critical, freedom, c) + nct.cdf(-critical, freedom, c)), critical)


def _root(falling: Callable[[float], float], start: float) -> float:
    """Return where a falling function is 0, looking from `start` outwards; nan where it can't be found."""
    from scipy.optimize import brentq

    width = 2.0
    while not falling(start - width) > 0.0 > falling(start + width):
        width *= 2.0
        if width > 1e6:
            return float("nan")
    try:
        return float(brentq(falling, start - width, start + width, xtol=1e-10))
    except ValueError:
        # scipy's non-central t is nan in places at one degree of freedom.
        return float("nan")
