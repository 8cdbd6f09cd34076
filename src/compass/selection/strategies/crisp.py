"""Clustered importance sampling (CRISP; Grangier, Fan, Seto and Ablin 2024, arXiv 2410.03735).

Clusters are drawn as often as they occur in the usage sample, rows within them uniformly. The training data is not
looked at: what `compass-paper` adds is the gap.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from compass.selection.audit import finish
from compass.selection.clusters import draw_by_cluster
from compass.selection.protocol import Candidates, Selection
from compass.semantic.distributions import histogram, shares


@dataclass(frozen=True)
class Crisp:
    """Budget in proportion to the usage's cluster frequencies; uniform draws within a cluster; no caps.

    The paper draws a cluster for each row, with replacement. Here each cluster gets its expected count, and no row is
    picked twice: what an exhausted cluster cannot give goes to the others in proportion [ours].
    """

    name: ClassVar[str] = "crisp"
    language_removal: ClassVar[str | None] = None
    needs: ClassVar[frozenset[str]] = frozenset()

    def select(self, candidates: Candidates, budget: int, seed: int) -> Selection:
        """Pick rows of the pool that cost no more than `budget` together. The same seed gives the same rows."""
        usage = shares(histogram(candidates.usage_clusters, candidates.n_clusters))
        n_rows = histogram(candidates.pool_clusters, candidates.n_clusters)
        picks, demand = draw_by_cluster(candidates, usage, budget, seed)
        clusters = candidates.pool_clusters[picks.indices]
        return finish(
            self.name,
            candidates,
            budget,
            indices=picks.indices,
            scores=usage[clusters],
            reasons=[
                f"drawn at random from cluster {cluster} ({usage[cluster]:.0%} of usage), no. {place} of "
                f"{n_rows[cluster]}"
                for cluster, place in zip(clusters.tolist(), picks.places.tolist(), strict=True)
            ],
            demand=demand,
            notes=picks.notes,
        )
