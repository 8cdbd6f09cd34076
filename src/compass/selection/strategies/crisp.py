"""Clustered importance sampling (CRISP; Grangier, Fan, Seto and Ablin 2024, arXiv 2410.03735).

Clusters are drawn as often as they occur in the usage sample, rows within them uniformly. The data at hand is not
looked at: what `compass-paper` adds is the gap.
"""

from __future__ import annotations

import numpy as np

from compass.config import SelectionConfig
from compass.selection.audit import finish
from compass.selection.protocol import Candidates, Selection
from compass.selection.quotas import proportional
from compass.selection.round_robin import pick, supply_of
from compass.semantic.arrays import IntArray, row_keys
from compass.semantic.distributions import histogram, shares


class Crisp:
    """Budget in proportion to the usage's cluster frequencies; uniform draws within a cluster; no caps.

    The paper draws a cluster for each row, with replacement. Here each cluster gets its expected count, and no row is
    picked twice: what an exhausted cluster can't give goes to the others in proportion [ours].
    """

    name = "crisp"
    language_removal = None

    def select(self, candidates: Candidates, budget: int, *, seed: int, options: SelectionConfig) -> Selection:
        """Pick rows of the pool that cost no more than `budget` together. The same seed gives the same rows."""
        k = candidates.n_clusters
        usage = shares(histogram(candidates.usage_clusters, k), options.smoothing)

        def quotas(available: IntArray) -> IntArray:
            return proportional(usage, available, budget)

        order = np.argsort(row_keys(candidates.pool, seed), kind="stable").astype(np.int64)
        picks = pick(candidates, order, quotas, budget, options, caps=False)
        supply = supply_of(candidates)
        clusters = candidates.pool_clusters[picks.indices]
        return finish(
            self.name,
            candidates,
            budget,
            options,
            indices=picks.indices,
            scores=usage[clusters],
            reasons=[
                f"drawn at random from cluster {cluster} ({usage[cluster]:.0%} of usage), no. {place} of "
                f"{supply[cluster]}"
                for cluster, place in zip(clusters.tolist(), picks.places.tolist(), strict=True)
            ],
            demand=quotas(np.full(k, budget, dtype=np.int64)).astype(np.float64),
            notes=picks.notes,
        )
