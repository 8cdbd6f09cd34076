"""What tests are told of a reference besides its counts: dependence, cycles, and how much is known."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import lru_cache

import numpy as np

from compass.drift.declustering import Declustering, Followed
from compass.drift.hours import ALMOST, BINS, CYCLES, DAY, FEWEST_ROWS, WEEK, Cycle, days_covered, find_cycle
from compass.drift.traffic import Dependence, Pairing, Sequence, inflation
from compass.semantic.arrays import IntArray, RealArray

SHORT = 5
"""Parts of a window that are a short stretch."""
FEW_EFFECTIVE = 100
"""Independent prompts below which a reference tells little [ours]."""


@dataclass(frozen=True, eq=False)
class Order:
    """The rows of a reference in the order in which they came."""

    categories: IntArray
    """(m,)"""
    far: IntArray
    """(m,) 1 for rows in the tail of the distances, else 0."""
    sessions: IntArray
    """(m,) -1 where there is no id."""
    times: RealArray
    """(m,) seconds since 1970, NaN where unknown."""

    def __len__(self) -> int:
        return len(self.categories)


@dataclass(frozen=True, eq=False)
class Background:
    """How the prompts of a reference hang together; by default not at all."""

    rows: int
    units: RealArray
    """(b, k) what the rows of each stratum and category count for; one stratum where no cycle was found."""
    affinity: RealArray
    """(k, k) of the categories: how alike their prompts are, 1 for each with itself."""
    dependence: Dependence = field(default_factory=Dependence)
    inflation: float = 1.0
    """Of divergences, where the whole reference is compared."""
    matched_inflation: float = 1.0
    """Of divergences, where hours are compared with themselves."""
    short_inflation: float = 1.0
    """Of divergences, as far as short stretches show it."""
    far_inflation: float = 1.0
    """Of counts of prompts far from every cluster."""
    cycle: Cycle | None = None
    days: float | None = None
    sessions: bool = False
    declustering: Declustering | None = None
    """How prompts without ids follow each other."""
    rows_in_order: Sequence | None = None
    """Its rows, where they hang together and no id says how."""
    untimed: int = 0
    """Rows without a time, where others have one."""

    @classmethod
    def independent(cls, counts: IntArray) -> Background:
        """Return the background of rows whose order is not known. counts: (k,)."""
        return cls(int(counts.sum()), counts[None].astype(np.float64), np.eye(len(counts)))

    @classmethod
    def of(cls, order: Order, k: int, window: int, *, seed: int, affinity: RealArray | None = None) -> Background:
        """Estimate the dependence of a reference. k: categories; window: prompts that will be compared with it."""
        lesser, pairs = Pairing(k, remembered=len(order) + 1).add(order.categories, order.sessions)
        counts = np.bincount(order.categories, minlength=k)
        dependence = Dependence.of(pairs, counts)
        kept = 1.0 - dependence.kept(counts.astype(np.float64))[order.categories]
        weights = np.where(lesser, np.where(order.sessions >= 0, dependence.later_weight, kept), 1.0)
        sessions, declustering = bool((order.sessions >= 0).any()), None
        affinity = np.eye(k) if affinity is None else affinity
        if not sessions:
            declustering = Declustering.fit(order.categories, affinity, suspected=dependence.found)
        if declustering:
            weights = declustering.weights(order.categories)
            dependence = replace(dependence, follow=0.0, nearby=1.0)
        flat = Sequence(order.categories, weights, np.zeros(len(order), dtype=np.int64), k)
        cycle = find_cycle(order.times, flat, seed=seed)
        # With ids a session that stays with its topic is one unit, and nothing is left to doubt.
        known = not declustering and (dependence.follow > 0.0 or dependence.nearby > 1.0)
        whole = inflation(flat, window, seed=seed, known=known)
        matched, units = whole, flat
        if cycle:
            units = replace(flat, strata=cycle.strata(order.times))
            matched = inflation(units, window, seed=seed, known=known)
        # What short stretches show already is of sessions, which are alike in topics of any size.
        short = inflation(flat, max(1, window // SHORT), seed=seed, known=known) if whole > 1.0 else 1.0
        far = Sequence(order.far, weights, flat.strata, 2)
        untimed = np.isnan(order.times)
        days = days_covered(order.times)
        return cls(
            len(order),
            replace(units, weights=weights).table(),
            affinity,
            dependence,
            whole,
            matched,
            short,
            inflation(far, window, seed=seed),
            cycle,
            days,
            sessions,
            declustering,
            units if declustering else None,
            0 if untimed.all() else int(untimed.sum()),
        )

    def units_by(self, model: Declustering, shares: RealArray) -> RealArray:
        """Return what its rows count for by a fit that is not its own, (b, k); `units` where they are independent.

        shares: (k,) of what begins.
        """
        if self.rows_in_order is None:
            return self.units
        weights = _follows(model, self).begin(shares)
        return replace(self.rows_in_order, weights=weights).table()

    @property
    def plain(self) -> bool:
        """Whether nothing was found: the rows are taken for independent."""
        return (
            not self.dependence.found
            and not self.declustering
            and self.inflation == self.far_inflation == 1.0
            and self.cycle is None
        )

    @property
    def persistence(self) -> float:
        """How often a prompt keeps the topic of one before it."""
        return max(self.dependence.persistence, 1.0 - self.declustering.begins if self.declustering else 0.0)

    @property
    def effective(self) -> float:
        """Independent prompts that the reference is worth."""
        return float((self.units / self.moves(matched=True)).sum()) / self.dependence.nearby

    def moves(self, *, matched: bool) -> RealArray:
        """Return by how much the counts of each category vary more than those of independent prompts, (k,).

        matched: within the hours of the cycle. What moves with time moves each topic by a share of its own, so that the
        variance of large ones exceeds chance the most: 1 + k p (inflation - 1), whose mean is the inflation; what
        short stretches show already is the same for all topics [ours].
        """
        totals = self.units.sum(axis=0)
        inflation = self.matched_inflation if matched else self.inflation
        short = min(self.short_inflation, inflation)
        moves: RealArray = short * (1.0 + len(totals) * totals / totals.sum() * (inflation / short - 1.0))
        return moves

    def warnings(self) -> list[str]:
        """Return what people should know of the reference, a sentence each."""
        said = []
        if self.effective < min(FEW_EFFECTIVE, self.rows / 2):
            said.append(
                f"The {self.rows} reference prompts are worth only {self.effective:.0f} independent ones, so drift is "
                "found late. Give more of them, from more sessions and days; shuffle them if their order is not that "
                "in which they came."
            )
        if self.untimed:
            said.append(
                f"{self.untimed} of the {self.rows} reference prompts have no time that can be read, so hours are not "
                "compared with themselves. Leave these prompts out, or give them a time."
            )
        if self.days is not None and self.days < ALMOST * CYCLES * WEEK / DAY:
            matched = f"is matched by {self.cycle.name}" if self.cycle else "is not matched by the hour"
            said.append(
                f"The reference covers {self.days:.1f} days and {matched}: what changes with the weekday looks like "
                "drift. Give two weeks of usage with --reference."
            )
        elif self.days is not None and self.rows < BINS[WEEK][-1] * FEWEST_ROWS:
            said.append(
                f"The reference covers {self.days:.1f} days with {self.rows} prompts; {BINS[WEEK][-1] * FEWEST_ROWS} "
                "are needed to compare hours of the week, so what changes with the weekday looks like drift. Give more "
                "usage with --reference."
            )
        return said


@lru_cache(maxsize=4)
def _follows(model: Declustering, background: Background) -> Followed:
    """Return how the rows of a reference follow each other by a fit; asked at each check, and the same for a window."""
    assert background.rows_in_order is not None
    return model.follows(background.rows_in_order.categories)
