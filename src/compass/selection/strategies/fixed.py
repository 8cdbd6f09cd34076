"""The two strategies that do not choose: the whole pool, and nothing of it."""

from __future__ import annotations

import numpy as np

from compass.config import SelectionConfig
from compass.selection.audit import finish
from compass.selection.protocol import Candidates, Selection


class AllRows:
    """The whole pool, whatever the budget: all-data mixing, which the paper compares with."""

    name = "all"
    language_removal = None

    def select(self, candidates: Candidates, budget: int, *, seed: int, options: SelectionConfig) -> Selection:
        """Return every row of the pool in its order; the budget is noted and not kept."""
        indices = np.arange(len(candidates.pool), dtype=np.int64)
        return finish(
            self.name,
            candidates,
            budget,
            options,
            indices=indices,
            scores=np.zeros(len(indices)),
            reasons=["the whole pool is taken, whatever the budget"] * len(indices),
        )


class TargetOnly:
    """Nothing of the pool: training on the data at hand alone."""

    name = "target-only"
    language_removal = None

    def select(self, candidates: Candidates, budget: int, *, seed: int, options: SelectionConfig) -> Selection:
        """Return an empty selection; nothing is short, for nothing is wanted."""
        return finish(
            self.name,
            candidates,
            budget,
            options,
            indices=np.empty(0, dtype=np.int64),
            scores=np.empty(0),
            reasons=[],
            demand=np.zeros(candidates.n_clusters),
            shortfall=0,
        )
