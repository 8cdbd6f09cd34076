"""LESS: the rows whose gradients point where those of the usage sample do (Xia et al. 2024, arXiv 2402.04333).

A row's influence is the largest cosine of its gradient with the mean gradient of a subtask. The authors' subtasks are
those of the target benchmark; usage has none, so here they are its clusters [ours]. Gradients need right answers: usage
rows without a response are left out.
"""

from __future__ import annotations

import numpy as np

from compass.config import SelectionConfig
from compass.selection.audit import finish, take_in_order
from compass.selection.features import required
from compass.selection.protocol import Candidates, Selection
from compass.selection.round_robin import rank
from compass.semantic.arrays import unit_rows


class Less:
    """Rows in order of influence; no data at hand, no caps. Slow: one backward pass for each row of the pool."""

    name = "less"
    language_removal = None
    needs = frozenset({"gradients"})

    def select(self, candidates: Candidates, budget: int, *, seed: int, options: SelectionConfig) -> Selection:
        """Pick rows of the pool that cost no more than `budget` together. The same seed gives the same rows."""
        gradients = required(candidates.extras.gradients, "gradients", self.name)
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
            options,
            indices=indices,
            scores=influence[indices],
            reasons=reasons,
            notes=notes,
        )
