"""Paired permutation tests, and Holm's correction for several of them.

The labels of the two models are swapped at random (Good, Permutation, Parametric, and Bootstrap Tests of Hypotheses,
2005, chapter 3). When rows come in units that are not independent, whole units are swapped.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from compass.stats.units import FloatArray64, by_unit, chunks, tie

Name = TypeVar("Name", bound=Hashable)

PERMUTATION_DRAWS = 10_000
"""Draws of a permutation test, as in the COMPASS paper: a p of 0.05 is then known to about 0.002."""


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
    extreme, least = 0, abs(observed) - max(tie(base_bottom, base_top), tie(other_bottom, other_top))
    for swaps in _all_swaps(n) if exact else _random_swaps(n, draws, seed):
        top, bottom = swaps @ top_change, swaps @ bottom_change
        with np.errstate(divide="ignore", invalid="ignore"):
            other_ratio = (other_top.sum() + top) / (other_bottom.sum() + bottom)
            drawn = other_ratio - (base_top.sum() - top) / (base_bottom.sum() - bottom)
        # A swap that leaves a model without a denominator has no ratio: it counts against the difference.
        extreme += int(np.count_nonzero(~(np.abs(drawn) < least)))
    if exact:
        return PermutationTest(observed, extreme / 2**n, 2**n, True, n)
    return PermutationTest(observed, (1 + extreme) / (1 + draws), draws, False, n)


def holm(p_values: Mapping[Name, float]) -> dict[Name, float]:
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


def _random_swaps(n: int, draws: int, seed: int) -> Iterator[FloatArray64]:
    """Yield chunks of (m, n) zeros and ones, `draws` rows in all."""
    rng = np.random.default_rng(seed)
    for rows in chunks(n, draws):
        bits = np.unpackbits(rng.integers(0, 256, size=(rows, -(-n // 8)), dtype=np.uint8), axis=1, count=n)
        yield bits.astype(np.float64)


def _all_swaps(n: int) -> Iterator[FloatArray64]:
    """Yield (2^n, n) zeros and ones: every way to swap n units."""
    yield (np.arange(2**n)[:, None] >> np.arange(n) & 1).astype(np.float64)
