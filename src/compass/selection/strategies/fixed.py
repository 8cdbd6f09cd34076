"""The two strategies that do not choose: the whole pool, and nothing of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from compass.selection.audit import finish
from compass.selection.protocol import Candidates, Selection


@dataclass(frozen=True)
class AllRows:
    """The whole pool, whatever the budget: all-data mixing, which the paper compares with."""

    name: ClassVar[str] = "all"
    language_removal: ClassVar[str | None] = None
    needs: ClassVar[frozenset[str]] = frozenset()

    def select(self, candidates: Candidates, budget: int, seed: int) -> Selection:
        """Return every row of the pool in its order; the budget is noted and not kept."""
        indices = np.arange(len(candidates.pool), dtype=np.int64)
        return finish(
            self.name,
            candidates,
            budget,
            indices=indices,
            scores=np.zeros(len(indices)),
            reasons=["the whole pool is taken, whatever the budget"] * len(indices),
        )


@dataclass(frozen=True)
class TargetOnly:
    """Nothing of the pool: the adapter learns from the training data alone."""

    name: ClassVar[str] = "target-only"
    language_removal: ClassVar[str | None] = None
    needs: ClassVar[frozenset[str]] = frozenset()

    def select(self, candidates: Candidates, budget: int, seed: int) -> Selection:
        """Return an empty selection; nothing is short, for nothing is wanted."""
        return finish(
            self.name,
            candidates,
            budget,
            indices=np.empty(0, dtype=np.int64),
            scores=np.empty(0),
            reasons=[],
            demand=np.zeros(candidates.n_clusters),
            shortfall=0,
        )
