"""English rows alone: the transfer language that most multilingual work takes without asking."""

from __future__ import annotations

import numpy as np

from compass.config import SelectionConfig
from compass.errors import SelectionError
from compass.selection.audit import finish
from compass.selection.by_language import draw_from
from compass.selection.protocol import Candidates, Selection


class English:
    """Uniform draws from the pool's English rows, of any region; no caps, for one language is the point."""

    name = "english"
    language_removal = None

    def select(self, candidates: Candidates, budget: int, *, seed: int, options: SelectionConfig) -> Selection:
        """Pick rows of the pool that cost no more than `budget` together. The same seed gives the same rows.

        Raises SelectionError if the pool has no English.
        """
        languages = {language for language in candidates.pool_languages if language.split("-")[0] == "en"}
        if not languages:
            raise SelectionError(
                "Strategy 'english' found no English row: the pool is in "
                f"{', '.join(sorted(set(candidates.pool_languages)))}. Add a source in English to pool."
            )
        indices = draw_from(candidates, languages, budget, seed)
        reasons = ["drawn at random from the English rows"] * len(indices)
        return finish(
            self.name, candidates, budget, options, indices=indices, scores=np.zeros(len(indices)), reasons=reasons
        )
