"""The literal rule: sample clusters by their gap, rows within them at random.

The paper prioritises "auxiliary data from under-represented semantic clusters" and names its Algorithm 1
"Distribution-Guided Auxiliary Data Sampling". Weights in proportion to the gap, uniform draws within a cluster and no
language removal are our reading of it, not the paper's own words [ours].
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from compass.selection.audit import cluster_gap, finish
from compass.selection.clusters import draw_by_cluster
from compass.selection.protocol import Candidates, Selection
from compass.semantic.distributions import histogram


@dataclass(frozen=True)
class CompassPaper:
    """Budget in proportion to max(0, p_E - p_D); uniform draws within a cluster; raw vectors; no caps."""

    name: ClassVar[str] = "compass-paper"
    language_removal: ClassVar[str | None] = "none"
    needs: ClassVar[frozenset[str]] = frozenset()

    def select(self, candidates: Candidates, budget: int, seed: int) -> Selection:
        """Pick rows of the pool that cost no more than `budget` together. The same seed gives the same rows."""
        missing = cluster_gap(candidates)
        n_rows = histogram(candidates.pool_clusters, candidates.n_clusters)
        picks, demand = draw_by_cluster(candidates, missing, budget, seed)
        clusters = candidates.pool_clusters[picks.indices]
        return finish(
            self.name,
            candidates,
            budget,
            indices=picks.indices,
            scores=missing[clusters],
            reasons=[
                f"drawn at random from cluster {cluster} (gap {missing[cluster]:.2f}), no. {place} of {n_rows[cluster]}"
                for cluster, place in zip(clusters.tolist(), picks.places.tolist(), strict=True)
            ],
            demand=demand,
            notes=picks.notes,
        )
