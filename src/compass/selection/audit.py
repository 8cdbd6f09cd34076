"""Turning picks into a `Selection`: demand, supply, what was picked, and a reason for each row."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from compass.config import SelectionConfig
from compass.selection.protocol import AnswerAccount, Candidates, Selection
from compass.selection.quotas import water_filling
from compass.selection.round_robin import supply_of
from compass.semantic.arrays import IntArray, RealArray
from compass.semantic.distributions import histogram, shares


def current_amounts(candidates: Candidates, counts: RealArray | IntArray) -> RealArray:
    """Return the data at hand of each cluster in units of the budget: its rows times the mean cost of a pool row, for
    only the pool's rows have a cost. counts: (K,). Returns (K,)."""
    return np.asarray(counts, dtype=np.float64) * candidates.mean_cost


def cluster_demand(candidates: Candidates, budget: int, smoothing: float) -> RealArray:
    """Return what each cluster would get of the budget if the pool had no end. Returns (K,)."""
    target = shares(histogram(candidates.usage_clusters, candidates.n_clusters), smoothing)
    current = current_amounts(candidates, histogram(candidates.current_clusters, candidates.n_clusters))
    endless = np.full(candidates.n_clusters, budget, dtype=np.int64)
    return water_filling(target, current, endless, budget).astype(np.float64)


def finish(
    name: str,
    candidates: Candidates,
    budget: int,
    options: SelectionConfig,
    *,
    indices: IntArray,
    scores: RealArray,
    reasons: Sequence[str],
    demand: RealArray | None = None,
    notes: Mapping[str, int] | None = None,
    shortfall: int | None = None,
    answers: AnswerAccount | None = None,
) -> Selection:
    """Gather a `Selection`. indices: (m,) pool rows in order of rank; scores: (m,). demand None: `cluster_demand`.

    shortfall None: the budget that the picks leave, which in tokens is also what no row was short enough for.
    answers: what was asked of each kind of answer; what was picked is counted here.
    """
    clusters = candidates.pool_clusters[indices]
    costs = candidates.pool_costs[indices]
    picked = np.bincount(clusters, weights=costs, minlength=candidates.n_clusters).astype(np.int64)
    wanted = cluster_demand(candidates, budget, options.smoothing) if demand is None else demand
    spent = int(costs.sum())
    if answers is not None and candidates.pool_answers is not None:
        kinds = candidates.pool_answers[indices]
        counted = np.isin(kinds, answers.kinds)
        places = np.searchsorted(answers.kinds, kinds[counted])
        per_kind = np.bincount(places, weights=costs[counted], minlength=len(answers.kinds)).astype(np.int64)
        answers = dataclasses.replace(answers, picked=per_kind)
    return Selection(
        strategy=name,
        budget=budget,
        budget_unit=options.budget_unit,
        indices=indices,
        scores=np.asarray(scores, dtype=np.float64),
        clusters=clusters,
        reasons=tuple(reasons),
        demand=wanted,
        supply=supply_of(candidates),
        picked=picked,
        unmet=np.maximum(wanted - picked, 0.0),
        spent=spent,
        shortfall=max(budget - spent, 0) if shortfall is None else shortfall,
        notes=dict(notes or {}),
        answers=answers,
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
