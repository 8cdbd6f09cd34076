"""From picks to a `Selection`: demand, supply, what was picked, and a reason for each row."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from compass.selection.protocol import Candidates, ClassAccount, Selection
from compass.selection.quotas import training_worth, water_filling
from compass.semantic.arrays import IntArray, RealArray
from compass.semantic.distributions import histogram, shares
from compass.semantic.gap import gap


def cluster_gap(candidates: Candidates) -> RealArray:
    """Return the gap of each cluster between usage and training data. Returns (K,)."""
    k = candidates.n_clusters
    return gap(
        shares(histogram(candidates.usage_clusters, k)),
        shares(histogram(candidates.train_clusters, k)),
    )


def cluster_demand(candidates: Candidates, budget: int) -> RealArray:
    """Return what each cluster would get of the budget if the pool were endless. Returns (K,)."""
    k = candidates.n_clusters
    target = shares(histogram(candidates.usage_clusters, k))
    owned = training_worth(histogram(candidates.train_clusters, k), candidates.mean_cost)
    return water_filling(target, owned, np.full(k, budget, dtype=np.int64), budget).astype(np.float64)


def finish(
    name: str,
    candidates: Candidates,
    budget: int,
    *,
    indices: IntArray,
    scores: RealArray,
    reasons: Sequence[str],
    demand: RealArray | None = None,
    notes: Mapping[str, int] | None = None,
    shortfall: int | None = None,
    classes: ClassAccount | None = None,
) -> Selection:
    """Put a `Selection` together. indices: (m,) pool rows in order of rank; scores: (m,). demand None: by clusters.

    shortfall None: the budget that the picks leave, which in tokens is also what no row was short enough for.
    classes: the account of class quotas; what was picked of each class is counted here.
    """
    clusters = candidates.pool_clusters[indices]
    costs = candidates.pool_costs[indices]
    picked = np.bincount(clusters, weights=costs, minlength=candidates.n_clusters).astype(np.int64)
    wanted = cluster_demand(candidates, budget) if demand is None else demand
    spent = int(costs.sum())
    if classes is not None and candidates.pool_classes is not None:
        own = candidates.pool_classes[indices]
        per_class = [int(costs[own == number].sum()) for number in classes.classes.tolist()]
        classes = dataclasses.replace(classes, picked=np.array(per_class, dtype=np.int64))
    return Selection(
        strategy=name,
        budget=budget,
        budget_unit=candidates.unit,
        indices=indices,
        scores=np.asarray(scores, dtype=np.float64),
        clusters=clusters,
        reasons=tuple(reasons),
        demand=wanted,
        supply=candidates.supply,
        picked=picked,
        unmet=np.maximum(wanted - picked, 0.0),
        spent=spent,
        shortfall=max(budget - spent, 0) if shortfall is None else shortfall,
        notes=dict(notes or {}),
        classes=classes,
    )


def take_in_order(candidates: Candidates, order: IntArray, budget: int) -> IntArray:
    """Return the rows of `order` that fit into the budget, a row that is too long for what is left being skipped."""
    costs = candidates.pool_costs[order]
    if (costs == 1).all():
        return order[:budget]
    taken, left = [], budget
    for row, cost in zip(order.tolist(), costs.tolist(), strict=True):
        if cost <= left:
            taken.append(row)
            left -= cost
        if left == 0:
            break
    return np.array(taken, dtype=np.int64)
