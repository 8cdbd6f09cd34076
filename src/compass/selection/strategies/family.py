"""Rows of the target language's relatives: the control for whether language distance matters beyond the family."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from compass.errors import SelectionError
from compass.selection.audit import finish
from compass.selection.features import required
from compass.selection.protocol import Candidates, Selection
from compass.selection.strategies.one_language import draw_from


@dataclass(frozen=True)
class Family:
    """Uniform draws from the rows whose language shares the target's family (Glottolog's, through URIEL); no caps."""

    name: ClassVar[str] = "family"
    language_removal: ClassVar[str | None] = None
    needs: ClassVar[frozenset[str]] = frozenset({"typology"})

    def select(self, candidates: Candidates, budget: int, seed: int) -> Selection:
        """Pick rows of the pool that cost no more than `budget` together. The same seed gives the same rows.

        Raises SelectionError if no pool language is a known relative.
        """
        typology = required(candidates.features.typology, "typology", self.name)
        present = set(candidates.pool_languages)
        relatives = present & typology.relatives
        if not relatives:
            raise SelectionError(
                f"Strategy 'family' found no relative of {candidates.target_language!r} that URIEL knows among the "
                f"pool's languages: {', '.join(sorted(present))}. Add one to pool, or try --strategy langsim."
            )
        indices = draw_from(candidates, relatives, budget, seed)
        reasons = [
            f"drawn at random from {len(relatives)} relatives of {candidates.target_language} "
            f"({candidates.pool_languages[row]})"
            for row in indices.tolist()
        ]
        return finish(self.name, candidates, budget, indices=indices, scores=np.zeros(len(indices)), reasons=reasons)
