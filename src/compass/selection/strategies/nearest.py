"""Plain nearest neighbours: no clusters, no data at hand. A strong baseline (the selection rule of RDS+, 2503.01807,
on encoder vectors instead of the base model's hidden states)."""

from __future__ import annotations

from compass.config import SelectionConfig
from compass.selection.audit import finish, take_in_order
from compass.selection.protocol import Candidates, Selection
from compass.selection.round_robin import rank
from compass.semantic.arrays import nearest_mean_similarity


class Nearest:
    """The pool rows with the highest mean cosine to their nearest usage rows; no caps."""

    name = "nearest"
    language_removal = None

    def select(self, candidates: Candidates, budget: int, *, seed: int, options: SelectionConfig) -> Selection:
        """Pick rows of the pool that cost no more than `budget` together. The same seed gives the same rows."""
        scores = nearest_mean_similarity(candidates.pool, candidates.usage, options.neighbours)
        indices = take_in_order(candidates, rank(candidates, scores, seed), budget)
        reasons = [
            f"no. {place} of {len(candidates.pool)} by closeness to its {options.neighbours} nearest usage rows "
            f"(mean cosine {scores[row]:.2f})"
            for place, row in enumerate(indices.tolist(), start=1)
        ]
        return finish(self.name, candidates, budget, options, indices=indices, scores=scores[indices], reasons=reasons)
