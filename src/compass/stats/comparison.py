"""Models against a reference on the same rows: everything that a table of differences needs."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from compass.records import Interval
from compass.stats.effects import cohens_d, minimum_detectable_effect
from compass.stats.intervals import UNKNOWN, paired_difference
from compass.stats.permutation import PERMUTATION_DRAWS, holm, permutation_test
from compass.stats.units import by_unit, tie


@dataclass(frozen=True, slots=True)
class PairedComparison:
    """One model against a reference on the same rows: everything that a table of differences needs."""

    name: str
    difference: Interval
    """name - reference, with its interval, of which `paired_difference` knows if all scores are 0 or 1."""
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
        raise ValueError(
            f"every score must be finite; {', '.join(infinite)} has others. Leave those rows out everywhere"
        )
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
                (base, ones),
                (other, ones),
                draws=draws,
                confidence=confidence,
                seed=seed,
                units=units,
                proportion=bool(np.isin([base, other], (0.0, 1.0)).all()),
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
    if pairs < 2 or float(differences.std(ddof=1)) <= tie(size, base_sum, other_sum):
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
