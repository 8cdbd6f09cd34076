"""RDS+: nearest neighbours by the base model's own hidden states (Ivison et al. 2025, arXiv 2503.01807).

Last hidden states, pooled with weights that grow with the position (SGPT, Muennighoff 2022, arXiv 2202.08904); usage
rows are served round-robin, each taking its most similar row that is left. Prompts alone are compared, for usage may
come without responses [ours]; the authors take prompt and response.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from compass.selection.audit import finish
from compass.selection.caps import NO_CAPS
from compass.selection.features import required
from compass.selection.protocol import Candidates, Selection
from compass.selection.quotas import proportional
from compass.selection.round_robin import Requests, round_robin
from compass.semantic.arrays import nearest_rows, row_keys


@dataclass(frozen=True)
class Rds:
    """Round-robin over usage rows by cosine of pooled hidden states; no clusters, no training data, no caps."""

    name: ClassVar[str] = "rds"
    language_removal: ClassVar[str | None] = None
    needs: ClassVar[frozenset[str]] = frozenset({"model_vectors"})

    def select(self, candidates: Candidates, budget: int, seed: int) -> Selection:
        """Pick rows of the pool that cost no more than `budget` together. The same seed gives the same rows."""
        vectors = required(candidates.features.model_vectors, "model_vectors", self.name)
        n = len(candidates.usage)
        # Equal cosines go by the seed, not by the row's place in the pool.
        shuffled = np.argsort(row_keys(candidates.pool, seed), kind="stable")
        depth = int(np.searchsorted(np.cumsum(np.sort(candidates.pool_costs)), budget, side="right"))
        rows, scores = nearest_rows(vectors.usage, vectors.pool[shuffled], max(1, depth))
        requests = Requests(
            requesters=np.arange(n),
            rows=tuple(shuffled[rows]),
            scores=tuple(scores),
            shares=proportional(np.ones(n), np.full(n, budget, dtype=np.int64), budget),
            depths=np.full(n, depth),
        )
        # Half a token in tokens: whoever has taken fewest is next, as in a round-robin of one row each.
        picks = round_robin(candidates, requests, budget, NO_CAPS, half_row=0.5)
        return finish(
            self.name,
            candidates,
            budget,
            indices=picks.indices,
            scores=picks.scores,
            reasons=[
                f"pick {place} for usage row {usage + 1} by the base model's hidden states (cosine {score:.2f})"
                for usage, place, score in zip(
                    picks.requests.tolist(), picks.places.tolist(), picks.scores.tolist(), strict=True
                )
            ],
            notes=picks.notes,
        )
