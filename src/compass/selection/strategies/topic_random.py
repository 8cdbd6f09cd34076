"""A random draw that covers every topic of the pool alike: the control for whether diversity alone explains a gain."""

from __future__ import annotations

import numpy as np

from compass.config import SelectionConfig
from compass.selection.audit import finish
from compass.selection.protocol import Candidates, Selection
from compass.selection.quotas import proportional
from compass.selection.round_robin import pick
from compass.semantic.arrays import IntArray, row_keys


class TopicRandom:
    """An equal part of the budget for each cluster of the pool, uniform draws within; usage is not looked at; no caps.

    Strata of equal size rather than in proportion to the pool [ours]: the latter is `random` with less noise.
    """

    name = "topic-random"
    language_removal = None

    def select(self, candidates: Candidates, budget: int, *, seed: int, options: SelectionConfig) -> Selection:
        """Pick rows of the pool that cost no more than `budget` together. The same seed gives the same rows."""
        present = (np.bincount(candidates.pool_clusters, minlength=candidates.n_clusters) > 0).astype(np.float64)

        def quotas(available: IntArray) -> IntArray:
            return proportional(present, available, budget)

        order = np.argsort(row_keys(candidates.pool, seed), kind="stable").astype(np.int64)
        picks = pick(candidates, order, quotas, budget, options, caps=False)
        return finish(
            self.name,
            candidates,
            budget,
            options,
            indices=picks.indices,
            scores=np.zeros(len(picks.indices)),
            reasons=[
                f"drawn at random from cluster {cluster}, as many as from each of {int(present.sum())} clusters"
                for cluster in candidates.pool_clusters[picks.indices].tolist()
            ],
            demand=quotas(np.full(candidates.n_clusters, budget, dtype=np.int64)).astype(np.float64),
            notes=picks.notes,
        )
