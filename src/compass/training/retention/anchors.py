"""Anchors: the few rows of an adapter's history that an update goes on seeing.

5 % of the history is the paper's, by a secondary source. How they are drawn is ours: strata of period and cluster, each
in proportion to its rows, so that no period and no topic fades out of what is rehearsed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from compass.errors import DataError
from compass.selection.quotas import proportional
from compass.semantic.arrays import IntArray

ANCHOR_SHARE = 0.05
RULES = ("clusters", "random")


@dataclass(frozen=True, eq=False)
class Anchors:
    """Which rows of the history were drawn, and how many of each period could and should have been."""

    indices: IntArray
    """(m,) rows of the history, ascending."""
    rule: str
    wanted: int
    """Anchors asked for: the share of the history, at most the bound."""
    by_period: Mapping[int, tuple[int, int]]
    """Period -> (rows that it had, anchors drawn of it), oldest first."""

    @property
    def shortfall(self) -> int:
        """Anchors that could not be had: fewer rows are left of the history."""
        return self.wanted - len(self.indices)


def draw_anchors(
    clusters: npt.ArrayLike,
    *,
    periods: npt.ArrayLike | None = None,
    period_sizes: Mapping[int, int] | None = None,
    share: float = ANCHOR_SHARE,
    least: int = 0,
    most: int | None = None,
    rule: str = "clusters",
    seed: int,
) -> Anchors:
    """Draw anchors from what is left of the history.

    clusters: (n,) ints. periods: (n,) ints, 0 the oldest; None: one period. period_sizes: rows that each period had,
    where only earlier anchors of it are left; None: the rows given. share: anchors by row of the history, rounded up.
    least, most: bounds on the anchors; a history of fewer rows than `least` is taken whole.

    Each period gets anchors in proportion to its size, and at least one as long as there are as many anchors as
    periods, so the oldest keeps its share however many follow. Within a period each cluster gets its part in
    proportion; within a cluster rows go by the seed. That is the rule "clusters"; "random" is the plain baseline:
    uniform over the rows, without strata.
    Raises DataError if arrays differ in length, or a period's size is below its rows.
    """
    cluster = np.asarray(clusters, dtype=np.int64)
    period = np.zeros(len(cluster), dtype=np.int64) if periods is None else np.asarray(periods, dtype=np.int64)
    order = np.random.default_rng(seed).permutation(len(cluster))
    if rule not in RULES:
        raise DataError(f"There is no rule {rule!r} for anchors. Use one of: {', '.join(RULES)}.")
    if cluster.shape != period.shape or cluster.ndim != 1:
        raise DataError(f"Anchors need one cluster and one period per row: got {cluster.shape} and {period.shape}.")
    present, at_hand = np.unique(period, return_counts=True)
    sizes = _sizes(present, at_hand, period_sizes)
    # 0.07 · 100 is a little above 7 in floating point.
    wanted = math.ceil(round(share * int(sizes.sum()), 9))
    wanted = max(wanted, min(least, int(sizes.sum())))
    wanted = wanted if most is None else min(wanted, most)
    if rule == "random":
        taken = order[:wanted]
    else:
        quotas = _with_floor(sizes, at_hand, wanted)
        taken = np.concatenate(
            [np.empty(0, dtype=np.int64)]
            + [
                _of_period(order[period[order] == name], cluster, quota)
                for name, quota in zip(present, quotas, strict=True)
            ]
        )
    indices = np.sort(taken).astype(np.int64)
    drawn = {
        int(name): (int(size), int((period[indices] == name).sum())) for name, size in zip(present, sizes, strict=True)
    }
    return Anchors(indices, rule, wanted, drawn)


def _sizes(present: IntArray, at_hand: IntArray, period_sizes: Mapping[int, int] | None) -> IntArray:
    if period_sizes is None:
        return at_hand
    sizes = np.array([period_sizes.get(int(name), 0) for name in present], dtype=np.int64)
    if (sizes < at_hand).any():
        worst = int(present[np.argmax(at_hand - sizes)])
        raise DataError(
            f"Period {worst} has {int(at_hand[present == worst][0])} training rows, more than its size "
            f"{period_sizes.get(worst, 0)}. Give the number of rows that it had."
        )
    return sizes


def _with_floor(sizes: IntArray, at_hand: IntArray, wanted: int) -> IntArray:
    """Split anchors over periods in proportion, each at least one; what is left over goes by largest remainders."""
    quotas = proportional(sizes, at_hand, wanted)
    while wanted >= len(quotas) and (quotas == 0).any():
        quotas[np.argmin(quotas)] += 1
        # The period furthest above its due gives the row.
        above = np.where(quotas > 1, quotas - wanted * sizes / sizes.sum(), -np.inf)
        quotas[np.argmax(above)] -= 1
    return quotas


def _of_period(rows: IntArray, cluster: IntArray, quota: int) -> IntArray:
    """Take `quota` of a period's rows, given in order of preference, by clusters in proportion."""
    names, counts = np.unique(cluster[rows], return_counts=True)
    parts: Sequence[IntArray] = [
        rows[cluster[rows] == name][:part]
        for name, part in zip(names, proportional(counts, counts, quota), strict=True)
    ]
    return np.concatenate([np.empty(0, dtype=np.int64), *parts])
