"""LESS: the rows whose gradients point where those of the usage sample do (Xia et al. 2024, arXiv 2402.04333).

A row's influence is the largest cosine of its gradient with the mean gradient of a subtask. The authors' subtasks are
those of the target benchmark; usage has none, so here they are its clusters [ours]. Gradients need right answers: usage
rows without a response are left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from compass.selection.audit import finish, take_in_order
from compass.selection.features import required
from compass.selection.protocol import Candidates, Selection, parameter
from compass.selection.round_robin import rank
from compass.semantic.arrays import unit_rows


@dataclass(frozen=True)
class Less:
    """Rows in order of influence; no training data, no caps. Slow: one backward pass for each row of the pool."""

    name: ClassVar[str] = "less"
    language_removal: ClassVar[str | None] = None
    needs: ClassVar[frozenset[str]] = frozenset({"gradients"})

    warmup_share: float = parameter(0.05, "Share of the pool that the adapter is warmed up on.", low=0.0, high=1.0)
    max_pool: int = parameter(5000, "Maximum pool rows; each costs a backward pass.", low=1)

    def select(self, candidates: Candidates, budget: int, seed: int) -> Selection:
        """Pick rows of the pool that cost no more than `budget` together. The same seed gives the same rows."""
        gradients = required(candidates.features.gradients, "gradients", self.name)
        clusters = candidates.usage_clusters[gradients.usage_rows]
        subtasks = np.unique(clusters)
        means = unit_rows(np.stack([gradients.usage[clusters == cluster].mean(axis=0) for cluster in subtasks]))
        cosines = gradients.pool @ means.T
        influence = cosines.max(axis=1).astype(np.float64)
        nearest = subtasks[cosines.argmax(axis=1)]
        indices = take_in_order(candidates, rank(candidates, influence, seed), budget)
        reasons = [
            f"its gradient is nearest to that of usage in cluster {nearest[row]} (cosine {influence[row]:.2f})"
            for row in indices.tolist()
        ]
        notes = {}
        if len(gradients.usage_rows) < len(candidates.usage):
            notes["usage rows without a response, left out"] = len(candidates.usage) - len(gradients.usage_rows)
        return finish(
            self.name,
            candidates,
            budget,
            indices=indices,
            scores=influence[indices],
            reasons=reasons,
            notes=notes,
        )
