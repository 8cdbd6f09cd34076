"""Plain nearest neighbours: no clusters, no training data. A strong baseline (the selection rule of RDS+, 2503.01807,
on encoder vectors instead of the base model's hidden states)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from compass.selection.audit import finish, take_in_order
from compass.selection.protocol import Candidates, Selection, parameter
from compass.selection.round_robin import rank
from compass.semantic.arrays import nearest_mean_similarity


@dataclass(frozen=True)
class Nearest:
    """The pool rows with the highest mean cosine to their nearest usage rows; no caps."""

    name: ClassVar[str] = "nearest"
    language_removal: ClassVar[str | None] = None
    needs: ClassVar[frozenset[str]] = frozenset()

    neighbours: int = parameter(3, "Nearest usage rows that score a pool row.", low=1)

    def select(self, candidates: Candidates, budget: int, seed: int) -> Selection:
        """Pick rows of the pool that cost no more than `budget` together. The same seed gives the same rows."""
        scores = nearest_mean_similarity(candidates.pool, candidates.usage, self.neighbours)
        indices = take_in_order(candidates, rank(candidates, scores, seed), budget)
        reasons = [
            f"no. {place} of {len(candidates.pool)} by closeness to its {self.neighbours} nearest usage rows "
            f"(mean cosine {scores[row]:.2f})"
            for place, row in enumerate(indices.tolist(), start=1)
        ]
        return finish(self.name, candidates, budget, indices=indices, scores=scores[indices], reasons=reasons)
