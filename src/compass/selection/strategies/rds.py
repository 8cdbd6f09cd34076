"""RDS+: nearest neighbours by the base model's own hidden states (Ivison et al. 2025, arXiv 2503.01807).

Last hidden states, pooled with weights that grow with the position (SGPT, Muennighoff 2022, arXiv 2202.08904); usage
rows take turns, each taking its most similar row that is left. Prompts alone are compared, for usage may come without
responses [ours]; the authors take prompt and response.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from compass.config import SelectionConfig
from compass.selection.audit import finish
from compass.selection.features import required
from compass.selection.protocol import Candidates, Selection
from compass.selection.quotas import proportional
from compass.selection.round_robin import pick_in_turns
from compass.semantic.arrays import nearest_rows, row_keys


class Rds:
    """Turns of usage rows at the pool by cosine of pooled hidden states; no clusters, no data at hand, no caps."""

    name = "rds"
    language_removal = None
    needs = frozenset({"model_vectors"})

    def select(self, candidates: Candidates, budget: int, *, seed: int, options: SelectionConfig) -> Selection:
        """Pick rows of the pool that cost no more than `budget` together. The same seed gives the same rows."""
        vectors = required(candidates.extras.model_vectors, "model_vectors", self.name)
        n = len(candidates.usage)
        requests = proportional(np.ones(n), np.full(n, budget, dtype=np.int64), budget)
        # Equal cosines go by the seed, not by the row's place in the pool.
        shuffled = np.argsort(row_keys(candidates.pool, seed), kind="stable")
        depth = int(np.searchsorted(np.cumsum(np.sort(candidates.pool_costs)), budget, side="right"))
        rows, scores = nearest_rows(vectors.usage, vectors.pool[shuffled], max(1, depth))
        open_options = dataclasses.replace(options, language_cap=1.0, duplicate_similarity=1.0)
        turns = pick_in_turns(candidates, shuffled[rows], scores, requests, open_options)
        return finish(
            self.name,
            candidates,
            budget,
            options,
            indices=turns.indices,
            scores=turns.scores,
            reasons=[
                f"no. {place} that usage row {asker + 1} took by the base model's hidden states (cosine {score:.2f})"
                for asker, place, score in zip(
                    turns.askers.tolist(), turns.places.tolist(), turns.scores.tolist(), strict=True
                )
            ],
            notes=turns.notes,
        )
