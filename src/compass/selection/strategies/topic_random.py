"""A random draw that covers every topic of the pool alike: the control for whether diversity alone explains a gain."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from compass.selection.audit import finish
from compass.selection.clusters import draw_by_cluster
from compass.selection.protocol import Candidates, Selection
from compass.semantic.distributions import histogram


@dataclass(frozen=True)
class TopicRandom:
    """An equal part of the budget for each cluster of the pool, uniform draws within; usage is ignored; no caps.

    Strata of equal size rather than in proportion to the pool [ours]: the latter is `random` with less noise.
    """

    name: ClassVar[str] = "topic-random"
    language_removal: ClassVar[str | None] = None
    needs: ClassVar[frozenset[str]] = frozenset()

    def select(self, candidates: Candidates, budget: int, seed: int) -> Selection:
        """Pick rows of the pool that cost no more than `budget` together. The same seed gives the same rows."""
        present = (histogram(candidates.pool_clusters, candidates.n_clusters) > 0).astype(np.float64)
        picks, demand = draw_by_cluster(candidates, present, budget, seed)
        return finish(
            self.name,
            candidates,
            budget,
            indices=picks.indices,
            scores=np.zeros(len(picks.indices)),
            reasons=[
                f"drawn at random from cluster {cluster}, as many as from each of {int(present.sum())} clusters"
                for cluster in candidates.pool_clusters[picks.indices].tolist()
            ],
            demand=demand,
            notes=picks.notes,
        )
