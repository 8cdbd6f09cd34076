"""The languages that are most similar to the target by typology, geography and descent.

Distances are those of URIEL (Littell et al. 2017, ACL E17-2002) in the version of URIEL+ (Khan et al. 2025, COLING
main.463). The COMPASS paper compares with a "LangSim" whose exact rule is not known to us: the mean over the categories
and the split of the budget by `language_cap` are ours [ours].
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from compass.errors import SelectionError
from compass.selection.audit import finish
from compass.selection.caps import DEFAULT_CAPS, OVER_BUDGET, OVER_LANGUAGE_CAP, Caps
from compass.selection.features import Typology, required
from compass.selection.protocol import Candidates, Selection
from compass.selection.round_robin import rank
from compass.semantic.arrays import IntArray, RealArray

CATEGORIES = ("genetic", "geographic", "syntactic", "phonological", "inventory", "featural")
"""The six distances that LangRank takes from URIEL; their mean is the distance."""
UNKNOWN = 2.0
"""Distance of a language that URIEL knows nothing of: beyond the largest that there is, so it comes last."""

LIFTED = "taken above the language cap: the other languages have no more rows"


@dataclass(frozen=True)
class LangSim:
    """Rows of the nearest languages, nearest first, `language_cap` of the budget each; random draws within each."""

    name: ClassVar[str] = "langsim"
    language_removal: ClassVar[str | None] = None
    needs: ClassVar[frozenset[str]] = frozenset({"typology"})

    caps: Caps = DEFAULT_CAPS

    def select(self, candidates: Candidates, budget: int, seed: int) -> Selection:
        """Pick rows of the pool that cost no more than `budget` together. The same seed gives the same rows.

        Raises SelectionError if no distance is known for any pool language.
        """
        typology = required(candidates.features.typology, "typology", self.name)
        rows = Counter(candidates.pool_languages)
        distances = {language: mean_distance(typology, language) for language in rows}
        if all(distance == UNKNOWN for distance in distances.values()):
            raise SelectionError(
                f"Strategy 'langsim' knows no distance from {candidates.target_language!r} to any language of the "
                "pool: URIEL has no data on the target, or on none of them. Try --strategy nearest."
            )
        scores = -language_scores(candidates, distances)
        filled = fill_by_language(candidates, scores, budget, self.caps, seed)
        # Languages at the same distance share a rank, as their rows are drawn together.
        ranks = {
            language: 1 + sum(d < distance for d in distances.values()) for language, distance in distances.items()
        }
        reasons = []
        for row, lifted in zip(filled.indices.tolist(), filled.lifted, strict=True):
            language = candidates.pool_languages[row]
            known = "unknown" if distances[language] == UNKNOWN else f"{distances[language]:.2f}"
            reasons.append(
                f"{language} is no. {ranks[language]} of {len(rows)} languages by URIEL distance ({known})"
                + (f"; {LIFTED}" if lifted else "")
            )
        return finish(
            self.name,
            candidates,
            budget,
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


@dataclass(frozen=True, eq=False)
class Filled:
    """Rows in the order in which they were taken."""

    indices: IntArray
    lifted: tuple[bool, ...]
    """(m,) whether the language cap was set aside for a pick."""
    notes: Mapping[str, int]
    """What happened -> rows."""


def language_scores(candidates: Candidates, scores: Mapping[str, float]) -> RealArray:
    """Give each pool row the score of its language. Returns (n_A,)."""
    return np.array([scores[language] for language in candidates.pool_languages], dtype=np.float64)


def fill_by_language(candidates: Candidates, scores: RealArray, budget: int, caps: Caps, seed: int) -> Filled:
    """Take the rows of the best language at random until it has its `language_cap`, then those of the next [ours].

    scores: (n_A,) of each row's language. The cap is what makes it several languages: at a cap of 1 the best one gives
    all it has. If every language is exhausted or at its cap, the cap is set aside, the best language first.
    """
    limit = math.ceil(caps.language_cap * budget) if caps.language_cap < 1 else budget
    order = rank(candidates, scores, seed).tolist()
    spent: Counter[str] = Counter()
    notes: Counter[str] = Counter()
    indices: list[int] = []
    lifted: list[bool] = []
    left, shortest = budget, candidates.least_cost
    for capped in (True, False):
        passed = []
        for row in order:
            if left < shortest:
                break
            cost, language = int(candidates.pool_costs[row]), candidates.pool_languages[row]
            if cost > left:
                notes[OVER_BUDGET] += 1
            elif capped and spent[language] + cost > limit:
                passed.append(row)
            else:
                indices.append(row)
                lifted.append(not capped)
                spent[language] += cost
                left -= cost
        if capped and passed:
            notes[OVER_LANGUAGE_CAP] = len(passed)
        order = passed
    if any(lifted):
        notes[LIFTED] = sum(lifted)
    return Filled(np.array(indices, dtype=np.int64), tuple(lifted), dict(sorted(notes.items())))
