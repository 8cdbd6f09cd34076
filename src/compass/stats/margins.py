"""One-sided tests of a paired mean difference against a margin: did it get better, or at least not much worse?

Rows that are right or wrong: the score statistic of Tango (Statistics in Medicine 17, 1998), with its exact
unconditional p-value: the largest over every share of changed rows that the hypothesis allows (Hsueh, Liu and Chen,
Biometrics 57, 2001). It holds its level at every n, also where not one row has changed. Beyond `EXACT_ROWS` rows its
normal limit stands in, whose level is approximate.

Any other scores, and rows in units: the studentised bootstrap (Efron and Tibshirani, An Introduction to the Bootstrap,
1993, section 12.5), which follows skewed differences where a t-test doesn't.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from compass.stats.units import FloatArray64, by_unit, ratio_errors, resamples, share_unseen

EXACT_ROWS = 1000
"""Rows up to which p is exact; there, it lies 0.000 to 0.013 above the normal limit where that says 0.05."""
NUISANCE_POINTS = 96
"""Shares of changed rows at which the exact p is sought, before the largest is refined."""


@dataclass(frozen=True, slots=True)
class PairedTest:
    """Whether after − before exceeds a bound, by one-sided tests in both directions."""

    n: int
    """What was resampled or counted: rows, or units."""
    before: float
    after: float
    difference: float
    low: float
    """One-sided lower confidence limit of the difference at the level; −1 at the least for scores in [0, 1]."""
    high: float
    """One-sided upper confidence limit."""
    p_above: float
    """p of the hypothesis that the difference is at most the bound."""
    p_below: float
    """p of the hypothesis that it is at least the bound."""
    deviation: float
    """Standard deviation of the differences of rows or units."""
    method: str


def paired_test(
    before: npt.ArrayLike,
    after: npt.ArrayLike,
    bound: float,
    *,
    level: float,
    draws: int,
    seed: int,
    units: Sequence[Hashable] | None = None,
) -> PairedTest:
    """Test the mean of after − before against a bound, upwards and downwards.

    before, after: (n,) scores of the same rows, higher is better. bound: what the difference has to exceed (−margin for
    non-inferiority). level: of each one-sided test. draws, seed: of the bootstrap. units: (n,) labels of rows that
    belong together; every row counts alike. Raises ValueError for other shapes, for no rows and for values that are no
    numbers.
    """
    x, y = (np.asarray(values, dtype=np.float64) for values in (before, after))
    if x.shape != y.shape or x.ndim != 1 or not len(x):
        raise ValueError(f"before and after must be one-dimensional, of one length above 0; got {x.shape}, {y.shape}")
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise ValueError("before and after must be finite in every row; leave out rows that can't be scored")
    if units is not None and len(units) != len(x):
        raise ValueError(f"units must name each of the {len(x)} rows; got {len(units)}")
    if units is not None and len(set(units)) == len(x):
        units = None
    if units is None and np.isin(x, (0.0, 1.0)).all() and np.isin(y, (0.0, 1.0)).all():
        return _right_or_wrong(x, y, bound, level)
    return _bootstrap(x, y, bound, level, draws, seed, units)


def exact_p(won: int, lost: int, n: int, bound: float) -> float:
    """Return the exact p of `P(won) − P(lost) <= bound`, given `won` and `lost` rows of n.

    Raises ValueError if the counts don't fit or the bound lies outside (−1, 1).
    """
    if not (won >= 0 and lost >= 0 and won + lost <= n and n > 0):
        raise ValueError(f"won and lost must be counts within n; got {won}, {lost} of {n}")
    if not -1.0 < bound < 1.0:
        raise ValueError(f"bound must lie between -1 and 1; got {bound}")
    observed = float(score_statistic(np.array(won), np.array(lost), n, bound))
    last = _last_lost(observed, n, bound)
    return _largest_tail(last, n, bound)


def score_statistic(won: npt.ArrayLike, lost: npt.ArrayLike, n: int, bound: float) -> FloatArray64:
    """Return Tango's statistic, standard normal for large n where the true difference is the bound; any shape.

    The standard error is taken at the most likely share of lost rows among those with that difference.
    """
    b, c = np.asarray(won, dtype=np.float64), np.asarray(lost, dtype=np.float64)
    # 2n q² + linear q + constant = 0 maximises the likelihood over q = P(lost), with P(won) = q + bound.
    linear = -b - c + (2 * n - b + c) * bound
    constant = -c * bound * (1.0 - bound)
    root = np.sqrt(np.maximum(linear**2 - 8 * n * constant, 0.0))
    q = np.clip((root - linear) / (4 * n), max(0.0, -bound), (1.0 - bound) / 2)
    variance = n * np.maximum(2 * q + bound - bound**2, 0.0)
    top = b - c - n * bound
    small = variance <= 1e-12
    statistic = top / np.sqrt(np.where(small, 1.0, variance))
    certain = np.where(top > 0, np.inf, -np.inf)
    return np.where(small, np.where(np.abs(top) < 1e-9, 0.0, certain), statistic)


def rows_needed(deviation: float, distance: float, *, level: float, power: float) -> float:
    """Return the rows at which a one-sided test finds a true distance from its bound with the given power.

    inf if the distance isn't above 0.
    """
    from scipy.stats import norm

    if distance <= 0:
        return float("inf")
    return float(np.ceil(((norm.isf(level) + norm.ppf(power)) * deviation / distance) ** 2))


def unchanged_rows_needed(distance: float, level: float) -> float:
    """Return the rows that show, none of them changed, that the share of changed rows is below `distance`; inf at 0."""
    if distance <= 0:
        return float("inf")
    return float(np.ceil(np.log(level) / np.log1p(-distance))) if distance < 1 else 1.0


def _right_or_wrong(x: FloatArray64, y: FloatArray64, bound: float, level: float) -> PairedTest:
    n = len(x)
    won, lost = int((y > x).sum()), int((y < x).sum())

    low, high = _limits(won, lost, n, level)
    return PairedTest(
        n=n,
        before=float(x.mean()),
        after=float(y.mean()),
        difference=(won - lost) / n,
        low=low,
        high=high,
        p_above=_p(won, lost, n, bound),
        p_below=_p(lost, won, n, -bound),
        deviation=float((y - x).std()),
        method="exact score test" if n <= EXACT_ROWS else "score test",
    )


@lru_cache(maxsize=8192)
def _p(won: int, lost: int, n: int, bound: float) -> float:
    if abs(bound) >= 1.0:
        return 0.0 if bound < 0 else 1.0
    if n <= EXACT_ROWS:
        return exact_p(won, lost, n, bound)
    from scipy.stats import norm

    return float(norm.sf(score_statistic(won, lost, n, bound)))


@lru_cache(maxsize=8192)
def _limits(won: int, lost: int, n: int, level: float) -> tuple[float, float]:
    """Return the one-sided lower and upper limits of the difference."""
    difference = (won - lost) / n
    return (
        _limit(lambda bound: _p(won, lost, n, bound), difference, -1.0, level),
        _limit(lambda bound: _p(lost, won, n, -bound), difference, 1.0, level),
    )


def _limit(p: Callable[[float], float], start: float, end: float, level: float) -> float:
    """Return the bound between the estimate and ±1 at which p crosses the level, to within 0.0001, on the safe side."""
    inside, outside = start, end
    while abs(outside - inside) > 1e-4:
        middle = (inside + outside) / 2
        if p(middle) > level:
            inside = middle
        else:
            outside = middle
    return outside


def _last_lost(observed: float, n: int, bound: float) -> npt.NDArray[np.int64]:
    """Return (n + 1,): for each number of rows won, the most lost with a statistic at least as large; −1 for none.

    The statistic falls with every row lost, so bisection finds it.
    """
    won = np.arange(n + 1)
    low, high = np.full(n + 1, -1), n - won
    while (low < high).any():
        middle = (low + high + 1) // 2
        reached = score_statistic(won, middle, n, bound) >= observed - 1e-9
        low, high = np.where(reached, middle, low), np.where(reached, high, middle - 1)
        high = np.maximum(low, high)
    return low


def _largest_tail(last: npt.NDArray[np.int64], n: int, bound: float) -> float:
    """Return the largest probability of the region over the shares of lost rows that give the bound."""
    from scipy.optimize import minimize_scalar

    lowest, highest = max(0.0, -bound), (1.0 - bound) / 2
    grid = lowest + (highest - lowest) * np.linspace(0.0, 1.0, NUISANCE_POINTS) ** 2
    tails = _tails(grid, last, n, bound)
    best = int(tails.argmax())
    around = (float(grid[max(0, best - 1)]), float(grid[min(len(grid) - 1, best + 1)]))
    refined = minimize_scalar(
        lambda q: -float(_tails(np.array([q]), last, n, bound)[0]), bounds=around, method="bounded"
    )
    return float(min(1.0, max(tails[best], -refined.fun)))


def _tails(q: FloatArray64, last: npt.NDArray[np.int64], n: int, bound: float) -> FloatArray64:
    """Return (m,): the probability that a row count falls into the region, for each share (m,) of lost rows."""
    from scipy.special import bdtr, gammaln, xlog1py, xlogy

    # Only numbers of rows won that have a part in the region, and lie where the binomial has its mass.
    won = np.flatnonzero(last >= 0)
    p_won = np.clip(q + bound, 0.0, 1.0)[:, None]
    given = np.clip(np.divide(q[:, None], 1.0 - p_won, out=np.ones_like(p_won), where=p_won < 1.0), 0.0, 1.0)
    ways = gammaln(n + 1) - gammaln(won + 1) - gammaln(n - won + 1)
    weight = np.exp(ways + xlogy(won, p_won) + xlog1py(n - won, -p_won))
    rows, columns = np.nonzero(weight > 1e-16)
    tail = np.zeros_like(weight)
    tail[rows, columns] = bdtr(last[won][columns].astype(float), n - won[columns], given[rows, 0])
    return np.asarray((weight * tail).sum(axis=1))


def _bootstrap(
    x: FloatArray64,
    y: FloatArray64,
    bound: float,
    level: float,
    draws: int,
    seed: int,
    units: Sequence[Hashable] | None,
) -> PairedTest:
    sums, counts = by_unit(units, y - x, np.ones(len(x)))
    m = len(sums)
    difference = float(sums.sum() / counts.sum())
    error = float(ratio_errors(sums[None, :], counts[None, :])[0])
    bounded = bool(min(x.min(), y.min()) >= 0.0 and max(x.max(), y.max()) <= 1.0)
    deviation = error * float(np.sqrt(m))
    common = {"n": m, "before": float(x.mean()), "after": float(y.mean()), "difference": difference}
    if error <= 1e-12 or m < 2:
        return _no_spread(common, bound, level, m, difference, bounded)
    pivots = _pivots(sums, counts, difference, draws, seed)
    observed = (difference - bound) / error
    low, high = difference - error * np.quantile(pivots, [1.0 - level, level])
    if bounded:
        low, high = max(low, -1.0), min(high, 1.0)
    return PairedTest(
        **common,  # type: ignore[arg-type]
        low=float(low),
        high=float(high),
        p_above=float((1 + (pivots >= observed).sum()) / (draws + 1)),
        p_below=float((1 + (pivots <= observed).sum()) / (draws + 1)),
        deviation=deviation,
        method="studentised bootstrap" + ("" if units is None else " over units"),
    )


def _no_spread(
    common: dict[str, float], bound: float, level: float, m: int, difference: float, bounded: bool
) -> PairedTest:
    """Every unit differs by the same: a resample has no spread, yet other rows may differ.

    Scores in [0, 1] bound what an unseen row may do: if a share s of rows differed otherwise, m rows would show none of
    them with probability (1 − s)^m, and the mean could be off by at most s times the distance to ±1.
    """
    share = share_unseen(m, level)
    up, down = (1.0 - difference, 1.0 + difference) if bounded else (np.inf, np.inf)

    def p(distance: float, reach: float) -> float:
        if distance <= 0 or not np.isfinite(reach) or reach <= 0:
            return 1.0
        return float(max(0.0, 1.0 - distance / reach) ** m)

    return PairedTest(
        **common,  # type: ignore[arg-type]
        low=float(difference - share * down) if bounded else -np.inf,
        high=float(difference + share * up) if bounded else np.inf,
        p_above=p(difference - bound, down),
        p_below=p(bound - difference, up),
        deviation=0.0,
        method="bound for rows without any spread",
    )


def _pivots(sums: FloatArray64, counts: FloatArray64, difference: float, draws: int, seed: int) -> FloatArray64:
    """Return (draws,): (resampled − measured difference) / its own standard error.

    A resample without spread says nothing of its error: it counts as infinitely far off, in the direction it went.
    """
    pivots = []
    for rows in resamples(len(sums), draws, seed):
        drawn, drawn_counts = sums[rows], counts[rows]
        shift = drawn.sum(axis=1) / drawn_counts.sum(axis=1) - difference
        error = ratio_errors(drawn, drawn_counts)
        flat = error <= 1e-12
        pivots.append(np.where(flat, np.sign(shift) * 1e300, shift / np.where(flat, 1.0, error)))
    return np.concatenate(pivots)
