"""A uniform draw from the pool: the baseline that any selector has to beat at the same budget."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from compass.selection.audit import finish, take_in_order
from compass.selection.protocol import Candidates, Selection
from compass.semantic.arrays import row_keys


@dataclass(frozen=True)
class RandomDraw:
    """Rows drawn uniformly without replacement; no caps."""

    name: ClassVar[str] = "random"
    language_removal: ClassVar[str | None] = None
    needs: ClassVar[frozenset[str]] = frozenset()

    def select(self, candidates: Candidates, budget: int, seed: int) -> Selection:
        """Pick rows of the pool that cost no more than `budget` together. The same seed gives the same rows."""
        order = np.argsort(row_keys(candidates.pool, seed), kind="stable").astype(np.int64)
        indices = take_in_order(candidates, order, budget)
        reasons = ["drawn at random from the whole pool"] * len(indices)
        return finish(self.name, candidates, budget, indices=indices, scores=np.zeros(len(indices)), reasons=reasons)
