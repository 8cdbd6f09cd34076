"""Uniform draws within clusters, the budget split over them in proportion to weights."""

from __future__ import annotations

import numpy as np

from compass.selection.caps import NO_CAPS
from compass.selection.protocol import Candidates
from compass.selection.quotas import proportional
from compass.selection.round_robin import Picks, Requests, round_robin
from compass.semantic.arrays import IntArray, RealArray, row_keys


def draw_by_cluster(candidates: Candidates, weights: RealArray, budget: int, seed: int) -> tuple[Picks, RealArray]:
    """Let each cluster take its part of the budget, rows in an order that only their content and the seed decide.

    weights: (K,). What a cluster turns out to lack is split over the others again. A row is taken whatever its length:
    where long rows had to fit into what is left of a quota, short ones would be picked in their stead. Returns the
    picks, and (K,) what each cluster would get if the pool were endless.
    """

    def split(available: IntArray) -> IntArray:
        return proportional(weights, available, budget)

    order = np.argsort(row_keys(candidates.pool, seed), kind="stable").astype(np.int64)
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    rows = tuple(order[candidates.pool_clusters[order] == k] for k in range(candidates.n_clusters))
    requests = Requests(
        requesters=np.arange(candidates.n_clusters),
        rows=rows,
        scores=tuple(np.zeros(len(own), dtype=np.float32) for own in rows),
        shares=split(candidates.supply),
        depths=np.array([len(own) for own in rows], dtype=np.int64),
    )
    picks = round_robin(candidates, requests, budget, NO_CAPS, order=place, split_again=split)
    return picks, split(np.full(candidates.n_clusters, budget, dtype=np.int64)).astype(np.float64)
