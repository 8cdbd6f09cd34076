"""The literal rule: sample clusters by their gap, rows within them at random.

The paper prioritises "auxiliary data from under-represented semantic clusters" and names its Algorithm 1
"Distribution-Guided Auxiliary Data Sampling". Weights in proportion to the gap, uniform draws within a cluster and no
language removal are our reading of it, not the paper's own words [ours].
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
from compass.semantic.gap import gap


class CompassPaper:
    """Budget in proportion to max(0, p_E - p_D); uniform draws within a cluster; raw vectors; no caps."""

    name = "compass-paper"
    language_removal = "none"

    def select(self, candidates: Candidates, budget: int, *, seed: int, options: SelectionConfig) -> Selection:
        """Pick rows of the pool that cost no more than `budget` together. The same seed gives the same rows."""
        k = candidates.n_clusters
        missing = gap(
            shares(histogram(candidates.usage_clusters, k), options.smoothing),
            shares(histogram(candidates.current_clusters, k), options.smoothing),
        )

        def quotas(available: IntArray) -> IntArray:
            return proportional(missing, available, budget)

        order = np.argsort(row_keys(candidates.pool, seed), kind="stable").astype(np.int64)
        picks = pick(candidates, order, quotas, budget, options, caps=False)
        supply = supply_of(candidates)
        reasons = [
            f"drawn at random from cluster {cluster} (gap {missing[cluster]:.2f}), no. {place} of {supply[cluster]}"
            for cluster, place in zip(
                candidates.pool_clusters[picks.indices].tolist(), picks.places.tolist(), strict=True
            )
        ]
        return finish(
            self.name,
            candidates,
            budget,
            options,
            indices=picks.indices,
            scores=missing[candidates.pool_clusters[picks.indices]],
            reasons=reasons,
            demand=quotas(np.full(k, budget, dtype=np.int64)).astype(np.float64),
            notes=picks.notes,
        )
