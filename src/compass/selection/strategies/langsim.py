"""The languages that are most similar to the target by typology, geography and descent.

Distances are those of URIEL (Littell et al. 2017, ACL E17-2002) in the version of URIEL+ (Khan et al. 2025, COLING
main.463). The COMPASS paper compares with a "LangSim" whose exact rule is not known to us: the mean over the categories
and the split of the budget by `language_cap` are ours [ours].
"""

from __future__ import annotations

from collections import Counter

import numpy as np

from compass.config import SelectionConfig
from compass.errors import SelectionError
from compass.selection.audit import finish
from compass.selection.by_language import fill_by_language, language_scores
from compass.selection.features import Typology, required
from compass.selection.protocol import Candidates, Selection

CATEGORIES = ("genetic", "geographic", "syntactic", "phonological", "inventory", "featural")
"""The six distances that LangRank takes from URIEL; their mean is the distance."""
UNKNOWN = 2.0
"""Distance of a language that URIEL knows nothing of: beyond the largest that there is, so it comes last."""


class LangSim:
    """Rows of the nearest languages, the nearest first, `language_cap` of the budget each; draws within at random."""

    name = "langsim"
    language_removal = None
    needs = frozenset({"typology"})

    def select(self, candidates: Candidates, budget: int, *, seed: int, options: SelectionConfig) -> Selection:
        """Pick rows of the pool that cost no more than `budget` together. The same seed gives the same rows.

        Raises SelectionError if no distance is known for any pool language.
        """
        typology = required(candidates.extras.typology, "typology", self.name)
        rows = Counter(candidates.pool_languages)
        distances = {language: mean_distance(typology, language) for language in rows}
        if all(distance == UNKNOWN for distance in distances.values()):
            raise SelectionError(
                f"Strategy 'langsim' knows no distance from {candidates.target_language!r} to any language of the "
                "pool: URIEL has no data on the target, or on none of them. Try --strategy nearest."
            )
        scores = -language_scores(candidates, distances)
        filled = fill_by_language(candidates, scores, budget, options, seed)
        # Languages at the same distance share a rank, as their rows are drawn together.
        ranks = {
            language: 1 + sum(d < distance for d in distances.values()) for language, distance in distances.items()
        }
        reasons = []
        for row, relaxed in zip(filled.indices.tolist(), filled.relaxed, strict=True):
            language = candidates.pool_languages[row]
            known = "unknown" if distances[language] == UNKNOWN else f"{distances[language]:.2f}"
            reasons.append(
                f"{language} is no. {ranks[language]} of {len(rows)} languages by URIEL distance ({known})"
                + (", above the language cap for want of others" if relaxed else "")
            )
        return finish(
            self.name,
            candidates,
            budget,
            options,
            indices=filled.indices,
            scores=scores[filled.indices],
            reasons=reasons,
            notes={**filled.notes, **_missing(typology, rows)},
        )


def mean_distance(typology: Typology, language: str) -> float:
    """Return the mean of the distances that are known, UNKNOWN if none is."""
    known = typology.distances.get(language, {})
    values = [known[category] for category in CATEGORIES if category in known]
    return float(np.mean(values)) if values else UNKNOWN


def _missing(typology: Typology, rows: Counter[str]) -> dict[str, int]:
    """Return what URIEL does not know of the pool's languages: what was done -> rows of the pool."""
    notes: Counter[str] = Counter()
    for language, n in rows.items():
        known = typology.distances.get(language, {})
        missing = [category for category in CATEGORIES if category not in known]
        if len(missing) == len(CATEGORIES):
            notes["language ranked last: URIEL has no data on it"] += n
        elif missing:
            notes[f"language compared without {', '.join(missing)} distance: URIEL has no data on the pair"] += n
    return dict(sorted(notes.items()))
