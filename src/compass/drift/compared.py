"""A full window beside its reference, both counted in independent prompts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from compass.drift.background import Background
from compass.drift.declustering import SHORT, Declustering
from compass.drift.traffic import Dependence
from compass.drift.window import Block
from compass.semantic.arrays import IntArray, RealArray

BOTH_FITTED, ONE_FITTED, ONE_FITTED_AT_FIRST = 1.1, 1.5, 2.2
"""How much further a window that is declustered lies from a reference that is so too by the same fit, and from one of
single prompts, than as many independent prompts: the window's own shares swell what is its own, and what the fit gets
wrong is in both or in one, the more so where the stream has only begun [ours, simulated]."""
MOSTLY = 0.8
"""Share of a window whose hours must be known, and known to the reference, for hours to be compared [ours]."""


@dataclass(frozen=True, eq=False)
class Begun:
    """What begins a session in a window of prompts without ids, and in its reference by the same fit."""

    counts: RealArray
    """(k,)"""
    reference: RealArray
    """(b, k)"""
    excess: float
    """How much further it lies from the reference than as many independent prompts."""
    persistence: float
    """How often a prompt keeps to what came before it."""

    @classmethod
    def of(cls, model: Declustering, recent: IntArray, window: IntArray, background: Background) -> Begun:
        """Decluster the latest prompts. recent: (n,) categories, those of the window last; window: (k,) its counts.

        Shares of what begins are the mean of window and reference, for both alike. With those of the reference alone, a
        topic that becomes frequent would pass for few sessions that never end.
        """
        n = int(window.sum())
        known = background.units.sum(axis=0)
        shares = (window / n + known / known.sum()) / 2.0
        counts = np.bincount(recent[-n:], model.follows(recent, n).begin(shares), minlength=len(window))
        alone = ONE_FITTED_AT_FIRST if len(recent) < SHORT else ONE_FITTED
        excess = alone if background.rows_in_order is None else BOTH_FITTED
        return cls(counts.astype(np.float64), background.units_by(model, shares), excess, 1.0 - model.begins)


@dataclass(frozen=True, eq=False)
class Compared:
    """What the counts of a window and of its reference are worth."""

    window: RealArray
    """(b, k) by stratum and category; one stratum where hours are not compared."""
    reference: RealArray
    """(b, k)"""
    inflation: float
    """Divergences without drift, relative to those of as many independent prompts."""
    effective: float
    """Independent prompts that the window is worth."""
    effective_reference: float
    """Independent prompts that it is compared with are worth."""
    persistence: float
    """How often a prompt of the window keeps the topic of the one before it, of its session or of the stream."""
    matched: bool
    """Whether hours are compared with themselves."""

    @classmethod
    def of(cls, block: Block, background: Background, begun: Begun | None = None) -> Compared | None:
        """Compare a window; None where all prompts pass for independent, and their counts are what they are."""
        dependence = Dependence.of(block.pairs, block.counts)
        if background.plain and not dependence.found and begun is None:
            return None
        counts = block.counts.astype(np.float64)
        units = begun.counts if begun else dependence.units(counts, block.pairs.follow, block.pairs.later)
        # What a prompt of a category counts for does not depend on the hour.
        worth = units / np.maximum(counts, 1.0)
        by_hour = _by_hour(block, background, worth)
        matched = by_hour is not None
        reference = begun.reference if begun else background.units
        if by_hour is not None:
            window = by_hour
        else:
            window, reference = units[None], reference.sum(axis=0, keepdims=True)
        moves = background.moves(matched=matched)
        window, reference = window / moves, reference / moves
        per_stratum, known = window.sum(axis=1), reference.sum(axis=1)
        used = (per_stratum > 0) & (known > 0)
        n = float(per_stratum[used].sum())
        m = n**2 / float((per_stratum[used] ** 2 / known[used]).sum())
        near = begun.excess if begun else dependence.nearby
        persistence = max(dependence.persistence, begun.persistence if begun else 0.0)
        scale = (near / n + background.dependence.nearby / m) / (1.0 / n + 1.0 / m)
        return cls(window[used], reference[used], scale, n / near, m, persistence, matched)

    def threshold(self, alpha: float) -> float:
        """Return the divergence that is about an alarm, from its chi-squared approximation."""
        from scipy.stats import chi2

        used = np.count_nonzero(self.window.sum(axis=0) + self.reference.sum(axis=0))
        sizes = 1.0 / self.effective + 1.0 / self.effective_reference
        return float(chi2.isf(alpha, max(1, used - 1)) * sizes / (8.0 * np.log(2.0)))


def _by_hour(block: Block, background: Background, worth: RealArray) -> RealArray | None:
    """Return what the window counts for by stratum, if most of it is comparable; else None.

    worth: (k,) of a prompt of each category.
    """
    if background.cycle is None:
        return None
    table = np.zeros(background.units.shape)
    for stratum, counts in block.hours.items():
        if stratum < len(table):
            table[stratum] = counts * worth
    comparable = table[background.units.sum(axis=1) > 0].sum()
    return table if comparable >= MOSTLY * float((block.counts * worth).sum()) else None
