"""How a budget is split over clusters or classes."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from compass.semantic.arrays import IntArray, RealArray

BISECTIONS = 100
"""Halvings of the interval of the water level; doubles are exhausted by then."""
LEAST_SHARE = 1e-9
"""A share below this part of the largest one counts as none: it could not ask for a row of any pool."""


def water_filling(target: npt.ArrayLike, current: npt.ArrayLike, available: npt.ArrayLike, budget: int) -> IntArray:
    """Split a budget so that training data plus picks come closest to usage, in whole rows and exactly [ours].

    target: (k,) shares; current: (k,) non-negative amounts of training data (fractions allowed); available: (k,) ints.
    Returns (k,) ints s, 0 <= s <= available, summing to min(budget, available where target > 0), that minimise
    the chi-square distance sum_k (current_k + s_k - target_k N)^2 / target_k, N the total after picking. A cluster
    without target share gets nothing.

    In real numbers the answer is s_k = clip(target_k t - current_k, 0, available_k) with the level t found by
    bisection; it is the same for every f-divergence (chi-square, Kullback-Leibler, Jensen-Shannon), for each is least
    where (current_k + s_k) / target_k is level. In whole rows the chi-square minimum is the rounding of that to the
    nearest integer, mended one row at a time by the least change of the objective. Ties go to the lower index.
    Raises ValueError if shapes differ or a value is negative.
    """
    p, n, supply = _checked(target, current, available, budget)
    wanted = p > LEAST_SHARE * p.max(initial=0.0)
    supply = np.where(wanted, supply, 0)
    total = min(int(budget), int(supply.sum()))
    safe = np.where(wanted, p, 1.0)

    def fill(level: float) -> RealArray:
        return np.where(wanted, np.clip(p * level - n, 0, supply), 0.0)

    low, high = 0.0, float(np.max((n + supply) / safe, initial=0.0, where=wanted))
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        low, high = (middle, high) if fill(middle).sum() < total else (low, middle)
    # Half up, as the marginal cost below has it: row j is worth its place once p * level >= n + j - 1/2.
    s = np.clip(np.floor(p * high - n + 0.5), 0, supply).astype(np.int64)
    # Rounding leaves the sum off by k/2 at most; each step is the cheapest one, which keeps a convex optimum optimal.
    while s.sum() < total:
        cost = np.where(s < supply, (2 * (n + s) + 1) / safe, np.inf)
        s[int(np.argmin(cost))] += 1
    while s.sum() > total:
        gain = np.where(s > 0, (2 * (n + s) - 1) / safe, -np.inf)
        s[len(s) - 1 - int(np.argmax(gain[::-1]))] -= 1
    return s


def proportional(weights: npt.ArrayLike, available: npt.ArrayLike, budget: int) -> IntArray:
    """Split a budget in proportion to weights; what an exhausted cluster cannot take goes to the others in proportion.

    weights: (k,) non-negative; available: (k,) ints. Fractions are settled by largest remainders, ties by the lower
    index. Returns (k,) ints summing to min(budget, available where weight > 0). Raises ValueError as `water_filling`.
    """
    w, _, supply = _checked(weights, np.zeros(np.shape(weights)), available, budget)
    w = np.where(w > LEAST_SHARE * w.max(initial=0.0), w, 0.0)
    supply = np.where(w > 0, supply, 0)
    s = np.zeros(len(w), dtype=np.int64)
    left = min(int(budget), int(supply.sum()))
    while left:
        open_weight = np.where(s < supply, w, 0.0)
        ideal = left * open_weight / open_weight.sum()
        room = supply - s
        step = np.minimum(np.floor(ideal), room).astype(np.int64)
        if not (ideal > room).any():
            rest = left - int(step.sum())
            order = np.argsort(-np.where(step < room, ideal - step, -1.0), kind="stable")
            step[order[:rest]] += 1
        s += step
        left -= int(step.sum())
    return s


def training_worth(n_rows: RealArray | IntArray, mean_cost: float) -> RealArray:
    """Return what training rows are worth against the budget: as much as so many pool rows of mean cost.

    The one place that weighs a training row against a picked row [ours]. n_rows: (k,); mean_cost: of a pool row, in
    units of the budget. Returns (k,).
    """
    return np.asarray(n_rows, dtype=np.float64) * mean_cost


def _checked(
    target: npt.ArrayLike, current: npt.ArrayLike, available: npt.ArrayLike, budget: int
) -> tuple[RealArray, RealArray, IntArray]:
    p, n = np.asarray(target, dtype=np.float64), np.asarray(current, dtype=np.float64)
    supply = np.asarray(available, dtype=np.int64)
    if not p.shape == n.shape == supply.shape or p.ndim != 1:
        raise ValueError(f"one value for each cluster is needed, got shapes {p.shape}, {n.shape} and {supply.shape}")
    if budget < 0 or (len(p) and min(p.min(), n.min(), supply.min()) < 0):
        raise ValueError("shares, amounts and budget must not be negative")
    return p, n, supply
