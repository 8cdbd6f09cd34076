"""Hours that are compared with themselves: does the mix of topics move with the day or the week?"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from compass.drift.traffic import Sequence, excess
from compass.semantic.arrays import IntArray, RealArray

HOUR = 3600.0
DAY, WEEK = 24, 168
"""Hours of a cycle."""
NAMES = {DAY: "the hour of the day", WEEK: "the hour of the week"}
BINS = {DAY: (24, 12, 8, 6, 4), WEEK: (168, 84, 56, 28)}
"""Strata that a cycle is cut into: as many as leave each with FEWEST_ROWS of the reference."""
FEWEST_ROWS = 30
CYCLES = 2
"""Cycles that a reference has to cover: what is seen once may be anything [ours]."""
ALMOST = 0.95
"""Share of these cycles from which they count as covered: nobody's log begins and ends on the minute."""
UNKNOWN = -1


@dataclass(frozen=True)
class Cycle:
    """Strata of times."""

    hours: int
    """Length: a day or a week."""
    bins: int

    @property
    def name(self) -> str:
        """In words."""
        return NAMES[self.hours]

    def strata(self, times: RealArray) -> IntArray:
        """Return the stratum of each time, UNKNOWN where it is NaN. times: (n,) seconds since 1970, UTC."""
        known = np.isfinite(times)
        phase = np.where(known, times, 0.0) / HOUR % self.hours
        return np.where(known, np.minimum(phase * self.bins // self.hours, self.bins - 1), UNKNOWN).astype(np.int64)


def days_covered(times: RealArray) -> float | None:
    """Return the days from the first to the last of some times; None where any is unknown."""
    if not len(times) or not np.isfinite(times).all():
        return None
    return float(np.ptp(times)) / HOUR / DAY


def find_cycle(times: RealArray, sequence: Sequence, *, seed: int) -> Cycle | None:
    """Return the cycle that a reference's mix of categories moves with, if it covers it often enough to tell.

    times: (m,) of the sequence's prompts. None where it does not move, where it is too short, or without times.
    """
    days = days_covered(times)
    if days is None:
        return None
    found = None
    for hours in (DAY, WEEK):
        if days * DAY < ALMOST * CYCLES * hours:
            break
        # Weekdays are compared at the same hours, so that only what the day does not explain counts.
        groups = Cycle(hours, 8 if hours == DAY else 7).strata(times)
        strata = found.strata(times) if found else np.zeros(len(times), dtype=np.int64)
        if excess(replace(sequence, strata=strata), groups, seed=seed) > 1.0:
            found = _cut(hours, len(times)) or found
    return found


def _cut(hours: int, rows: int) -> Cycle | None:
    return next((Cycle(hours, bins) for bins in BINS[hours] if rows >= bins * FEWEST_ROWS), None)
