"""Intervals, tests and effect sizes for ratios of sums, and for paired differences of such ratios.

Intervals are percentile bootstraps (Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13): rows are
resampled with replacement and both sums of the ratio are taken over the same rows. Tests are paired permutation tests
(Good, Permutation, Parametric, and Bootstrap Tests of Hypotheses, 2005, chapter 3): the labels of the two models are
swapped at random. When rows come in units that are not independent (one item asked in several languages, or answered
by the models of several seeds), whole units are resampled or swapped instead.

All of that is for the models as they were trained. Another draw of the data or another seed gives other models, and how
far these scatter no resampling of test rows can tell: `difference_between_runs` can.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from compass.records import Interval
from compass.stats.units import FloatArray64, by_unit, chunks, ratio_errors, resamples, share_unseen

PERMUTATION_DRAWS = 10_000
"""Draws of a permutation test, as in the COMPASS paper: a p of 0.05 is then known to about 0.002."""
TIE = 1e-12
"""Statistics that differ by less are equal: sums of the same numbers in another order."""


UNKNOWN = Interval(math.nan, math.nan, math.nan)


@dataclass(frozen=True, slots=True)
class PermutationTest:
    """What swapping labels at random says about a difference."""

    difference: float
    """other - base; nan where a denominator is empty."""
    p_value: float
    """Share of swaps, the one observed included, whose difference is as far from 0; nan with the difference."""
    draws: int
    """Swaps that were looked at."""
    exact: bool
    """True if they are all that there are."""
    units: int
    """What was swapped as a whole."""


@dataclass(frozen=True, slots=True)
class PairedComparison:
    """One model against a reference on the same rows: everything that a table of differences needs."""

    name: str
    difference: Interval
    """name - reference, with its bootstrap interval."""
    p_value: float
    """Of the paired permutation test."""
    p_holm: float
    """The same, corrected for the number of comparisons by Holm's method."""
    effect: Interval
    """Cohen's d of the paired differences, with its interval."""
    detectable: float
    """Smallest difference that the sample would have shown with a power of 0.8 at a level of 1 - confidence."""
    units: int
    runs: int = 0
    """Pairs of trainings that were compared; 0 if it was not said which rows belong to which."""
    between_runs: Interval = UNKNOWN
    """Mean of their differences, each pair counting once, with its t interval."""
    runs_p_value: float = math.nan
    """Of the paired t test over them."""
    runs_p_holm: float = math.nan

    def to_dict(self) -> dict[str, float | int | str]:
        """Return a JSON-ready dict."""
        return {
            "name": self.name,
            "difference": self.difference.value,
            "low": self.difference.low,
            "high": self.difference.high,
            "p_value": self.p_value,
            "p_holm": self.p_holm,
            "cohens_d": self.effect.value,
            "cohens_d_low": self.effect.low,
            "cohens_d_high": self.effect.high,
            "detectable": self.detectable,
            "units": self.units,
            "runs": self.runs,
            "runs_difference": self.between_runs.value,
            "runs_low": self.between_runs.low,
            "runs_high": self.between_runs.high,
            "runs_p_value": self.runs_p_value,
            "runs_p_holm": self.runs_p_holm,
        }


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


def permutation_test(
    base: tuple[npt.ArrayLike, npt.ArrayLike],
    other: tuple[npt.ArrayLike, npt.ArrayLike],
    *,
    draws: int = PERMUTATION_DRAWS,
    seed: int,
    units: Sequence[Hashable] | None = None,
) -> PermutationTest:
    """Test, two-sided, whether two ratios measured on the same rows differ by more than chance.

    base, other: (numerators, denominators), each (n,), as in `paired_difference`. Under the null the two models'
    results are exchangeable within a unit, so each unit's are swapped with probability one half; with equal
    denominators that flips the signs of the differences. Where no more than `draws` swaps exist all of them are looked
    at, else p = (1 + extreme) / (1 + draws) (Phipson and Smyth 2010), which is never 0. units: as in `ratio_interval`.
    Raises ValueError if the shapes differ.
    """
    base_top, base_bottom, other_top, other_bottom = by_unit(units, *base, *other)
    n = len(base_top)
    if base_bottom.sum() == 0.0 or other_bottom.sum() == 0.0:
        return PermutationTest(float("nan"), float("nan"), 0, False, n)
    observed = float(other_top.sum() / other_bottom.sum() - base_top.sum() / base_bottom.sum())
    top_change, bottom_change = base_top - other_top, base_bottom - other_bottom
    exact = n < 63 and 2**n <= draws
    extreme = 0
    for swaps in _all_swaps(n) if exact else _random_swaps(n, draws, seed):
        top, bottom = swaps @ top_change, swaps @ bottom_change
        with np.errstate(divide="ignore", invalid="ignore"):
            other_ratio = (other_top.sum() + top) / (other_bottom.sum() + bottom)
            drawn = other_ratio - (base_top.sum() - top) / (base_bottom.sum() - bottom)
        # A swap that leaves a model without a denominator has no ratio: it counts against the difference.
        extreme += int(np.count_nonzero(~(np.abs(drawn) < abs(observed) - TIE)))
    if exact:
        return PermutationTest(observed, extreme / 2**n, 2**n, True, n)
    return PermutationTest(observed, (1 + extreme) / (1 + draws), draws, False, n)


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
    if spread <= TIE:
        return Interval(0.0, 0.0, 0.0) if abs(mean) <= TIE else UNKNOWN
    value = mean / spread
    tail = (1.0 - confidence) / 2.0
    low, high = (_noncentrality(value * math.sqrt(n), n - 1, share) / math.sqrt(n) for share in (1.0 - tail, tail))
    return Interval(value, low, high)


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Return p values corrected for the number of tests (Holm 1979): the family-wise error rate stays at the level.

    nan stays nan and counts as no test. The order of the names is kept. Raises ValueError for a p outside 0..1.
    """
    tested = {name: p for name, p in p_values.items() if not math.isnan(p)}
    wrong = {name: p for name, p in tested.items() if not 0.0 <= p <= 1.0}
    if wrong:
        raise ValueError(f"p values must lie in 0..1; got {wrong}")
    corrected = dict(p_values)
    highest = 0.0
    for place, name in enumerate(sorted(tested, key=lambda name: tested[name])):
        highest = max(highest, min(1.0, (len(tested) - place) * tested[name]))
        corrected[name] = highest
    return corrected


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
    return _shown(n - 1, level, power) * float(error) if error > TIE else float("nan")


def difference_between_runs(
    base: npt.ArrayLike,
    other: npt.ArrayLike,
    runs: Sequence[Hashable],
    *,
    confidence: float,
    units: Sequence[Hashable] | None = None,
) -> tuple[Interval, float]:
    """Return the mean difference other − base over pairs of trainings with its t interval, and the p of its t test.

    base, other: (n,) scores of the same rows. runs: (n,) what was trained together, such as (language, seed); each
    pair counts once, by the mean of its rows. Interval and test hold what varies from one training to the next as well
    as what varies between rows (Bouthillier et al. 2021, arXiv 2103.03098, on why a comparison needs that).
    units: (n,) items, as in `ratio_interval`. Trainings that share test items share their luck with them, which the
    spread between trainings does not show: what they vary together is added to it, from the products of their residuals
    on the same items (as two-way clustering does, Cameron, Gelbach and Miller 2011; degrees of freedom by Satterthwaite
    1946). Without shared items that is the paired t test.
    nan for fewer than two pairs, and where all differ alike: accuracies move in steps of a row, so a few pairs agree by
    chance. Raises ValueError if the shapes differ.
    """
    from scipy.stats import t

    base_sum, other_sum, size = by_unit(runs, base, other, np.ones(np.shape(base)))
    differences = (other_sum - base_sum) / size
    pairs, value = len(size), float(differences.mean())
    if pairs < 2 or float(differences.std(ddof=1)) <= TIE:
        return Interval(value, math.nan, math.nan), math.nan
    between, shared, items = float(differences.var(ddof=1)) / pairs, 0.0, pairs
    if units is not None:
        rows_of = Counter(runs)
        weights = np.array([1.0 / rows_of[run] for run in runs])
        residuals = weights * (np.asarray(other, np.float64) - np.asarray(base, np.float64) - value)
        (of_item,) = by_unit(units, residuals)
        (of_item_in_run,) = by_unit(list(zip(runs, units, strict=True)), residuals)
        covariance = float((of_item**2).sum() - (of_item_in_run**2).sum()) / (pairs * (pairs - 1))
        shared, items = max(0.0, covariance), len(of_item)
    error = math.sqrt(between + shared)
    freedom = error**4 / (between**2 / (pairs - 1) + shared**2 / max(items - 1, 1))
    reach = float(t.isf((1.0 - confidence) / 2.0, freedom)) * error
    return Interval(value, value - reach, value + reach), 2.0 * float(t.sf(abs(value) / error, freedom))


def compare_paired(
    scores: Mapping[str, npt.ArrayLike],
    reference: str,
    *,
    draws: int = PERMUTATION_DRAWS,
    confidence: float = 0.95,
    seed: int,
    units: Sequence[Hashable] | None = None,
    runs: Sequence[Hashable] | None = None,
) -> tuple[PairedComparison, ...]:
    """Compare each model with the reference on the same rows: differences, tests, Holm's correction, effect sizes.

    scores: name -> (n,) scores of the rows in one order, the reference among them. units: as in `ratio_interval`; pass
    the item's name where rows repeat it in several languages or seeds. runs: as in `difference_between_runs`, which
    gets the units too; None leaves that out. Raises ValueError if a shape differs, a score is not finite, or the
    reference is missing.
    """
    if reference not in scores:
        raise ValueError(f"the reference {reference!r} has no scores; there are {', '.join(scores)}")
    arrays = {name: np.asarray(values, dtype=np.float64) for name, values in scores.items()}
    infinite = [name for name, values in arrays.items() if not np.isfinite(values).all()]
    if infinite:
        raise ValueError(f"every score must be finite; {', '.join(infinite)} has others. Leave those rows out of all")
    base = arrays.pop(reference)
    ones = np.ones(len(base))
    tests = {
        name: permutation_test((base, ones), (other, ones), draws=draws, seed=seed, units=units)
        for name, other in arrays.items()
    }
    corrected = holm({name: test.p_value for name, test in tests.items()})
    between = {
        name: (UNKNOWN, math.nan)
        if runs is None
        else difference_between_runs(base, other, runs, confidence=confidence, units=units)
        for name, other in arrays.items()
    }
    between_corrected = holm({name: p for name, (_, p) in between.items()})
    return tuple(
        PairedComparison(
            name=name,
            difference=paired_difference(
                (base, ones), (other, ones), draws=draws, confidence=confidence, seed=seed, units=units
            ),
            p_value=tests[name].p_value,
            p_holm=corrected[name],
            effect=cohens_d(base, other, confidence=confidence, units=units),
            detectable=minimum_detectable_effect(base, other, level=1.0 - confidence, units=units),
            units=tests[name].units,
            runs=len(set(runs)) if runs is not None else 0,
            between_runs=between[name][0],
            runs_p_value=between[name][1],
            runs_p_holm=between_corrected[name],
        )
        for name, other in arrays.items()
    )


def wilson(successes: int, n: int, confidence: float) -> tuple[float, float]:
    """Return Wilson's score interval of a binomial proportion (Wilson, JASA 1927): sound for small n and at 0 or n.

    Raises ValueError if n is below 1 or successes are outside 0..n.
    """
    from scipy.stats import binomtest

    if not 0 <= successes <= n or n < 1:
        raise ValueError(f"successes must lie in 0..n with n >= 1; got {successes} of {n}")
    interval = binomtest(successes, n).proportion_ci(confidence_level=confidence, method="wilson")
    return float(interval.low), float(interval.high)


def _random_swaps(n: int, draws: int, seed: int) -> Iterator[FloatArray64]:
    """Yield chunks of (m, n) zeros and ones, `draws` rows in all."""
    rng = np.random.default_rng(seed)
    for rows in chunks(n, draws):
        bits = np.unpackbits(rng.integers(0, 256, size=(rows, -(-n // 8)), dtype=np.uint8), axis=1, count=n)
        yield bits.astype(np.float64)


def _all_swaps(n: int) -> Iterator[FloatArray64]:
    """Yield (2^n, n) zeros and ones: every way to swap n units."""
    yield (np.arange(2**n)[:, None] >> np.arange(n) & 1).astype(np.float64)


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
