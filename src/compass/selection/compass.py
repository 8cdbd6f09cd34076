"""The default strategy: quotas by cluster, ranking by neighbourhood, in the language-free space [ours].

The paper picks "from under-represented semantic clusters"; how its budget is split and its rows are ranked is not
known to us. Here each usage row asks for budget in proportion to how poorly the data at hand covers it, and spreads
its request over the clusters of the pool rows nearest to it. Water-filling turns the requests into quotas, and
within a cluster the rows nearest to the rows that ask come first.
"""

from __future__ import annotations

import numpy as np

from compass.config import SelectionConfig
from compass.selection.audit import current_amounts, finish
from compass.selection.neighbourhood import closeness, soft_counts
from compass.selection.picking import pick, rank, supply_of
from compass.selection.protocol import Candidates, Selection
from compass.selection.quotas import water_filling
from compass.semantic.arrays import IntArray
from compass.semantic.distributions import shares
from compass.semantic.gap import gap


class Compass:
    """Quotas by soft assignment and water-filling; rows by density ratio of usage against data at hand."""

    name = "compass"
    language_removal = None

    def select(self, candidates: Candidates, budget: int, *, seed: int, options: SelectionConfig) -> Selection:
        """Pick rows of the pool that cost no more than `budget` together. The same seed gives the same rows."""
        usage = soft_counts(candidates.usage, candidates)
        current = soft_counts(candidates.current, candidates)
        target = shares(usage, options.smoothing)
        at_hand = current_amounts(candidates, current)

        def quotas(available: IntArray) -> IntArray:
            return water_filling(target, at_hand, available, budget)

        scores = closeness(candidates, options.neighbours)
        order = rank(candidates, scores, seed)
        picks = pick(candidates, order, quotas, budget, options)
        missing = gap(target, shares(current, options.smoothing))
        supply = supply_of(candidates)
        reasons = [
            f"fills cluster {cluster} (gap {missing[cluster]:.2f}), "
            f"no. {place} of {supply[cluster]} there by closeness to usage" + (f"; {relaxed}" if relaxed else "")
            for cluster, place, relaxed in zip(
                candidates.pool_clusters[picks.indices].tolist(), picks.places.tolist(), picks.relaxed, strict=True
            )
        ]
        return finish(
            self.name,
            candidates,
            budget,
            options,
            indices=picks.indices,
            scores=scores[picks.indices],
            reasons=reasons,
            demand=quotas(np.full(candidates.n_clusters, budget, dtype=np.int64)).astype(np.float64),
            notes=picks.notes,
        )
