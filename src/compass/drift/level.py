"""How often a monitor may be wrong, and p-values that cost little while nothing happens.

The promise is an expected number: without drift, at most one false alarm in N prompts. Each test gets a share w
of it, and the shares sum to 1 at most.
A test that checks once in s prompts is run at level s·w/N, so whatever the dependence between checks whose windows
overlap, between tests and through the common reference, the expected number of false alarms in T prompts is at most
the sum of the levels, (T/s)·(s·w/N) summed over the tests, which is at most T/N (linearity of expectation; the
"per-family error rate" of multiple testing) [ours]. It only needs that each check's p-value is valid, which the tests
get from exchangeability of reference and window: exact permutation and rank tests, in which a small reference is a
small sample and not taken for the truth.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import numpy as np

from compass.semantic.arrays import RealArray

ENOUGH = 20
"""Draws as extreme as the observed value after which a p-value is known well enough [ours]."""
DRAWS_PER_LEVEL = 4
"""Draws, at most, times the level: the smallest p-value that can be had is a quarter of the level [ours]."""
FIRST_CHUNK = 64
LARGEST_CHUNK = 4096


def total_share(shares: Iterable[float]) -> float:
    """Return what each test's share is divided by, so that all together spend the promise once at most."""
    return max(1.0, math.fsum(shares))


def level(prompts_between_checks: int, share: float, prompts_per_false_alarm: int) -> float:
    """Return the level of one check, so that its test spends its share of the promise and no more."""
    return min(1.0, prompts_between_checks * share / prompts_per_false_alarm)


def draws_for(alpha: float) -> int:
    """Return how many draws, at most, a p-value needs to be able to fall below alpha."""
    return max(FIRST_CHUNK, math.ceil(DRAWS_PER_LEVEL / alpha))


def sequential_p_value(
    observed: float, draw: Callable[[int], RealArray], *, most: int, enough: int = ENOUGH, tolerance: float = 1e-9
) -> float:
    """Return a valid Monte Carlo p-value that stops early where it is plainly large.

    draw(n): (n,) values of the statistic under no change, large is extreme. Draws until `enough` of them reach the
    observed value and returns enough / draws, else (reached + 1) / (most + 1): Besag and Clifford 1991, Biometrika
    78(2). Values within `tolerance` of the observed one count as reaching it, which can only raise the p-value.
    """
    reached = done = 0
    chunk = FIRST_CHUNK
    while done < most:
        hits = draw(min(chunk, most - done)) >= observed - tolerance
        if reached + int(hits.sum()) >= enough:
            place = int(np.flatnonzero(hits)[enough - reached - 1])
            return enough / (done + place + 1)
        reached += int(hits.sum())
        done += len(hits)
        chunk = min(4 * chunk, LARGEST_CHUNK)
    return (reached + 1) / (most + 1)
