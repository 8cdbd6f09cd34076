"""Rows of one language alone: English, which most multilingual work takes without asking, or any other by name.

A comparison of `only-de`, `only-fr`, ... measures how well each language serves a target: what `langrank` learns from.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from compass.errors import SelectionError
from compass.selection.audit import finish, take_in_order
from compass.selection.protocol import Candidates, Selection
from compass.semantic.arrays import IntArray, row_keys

PREFIX = "only-"
"""Of the names of strategies that draw from one language, before its tag."""


@dataclass(frozen=True)
class OneLanguage:
    """Uniform draws from the pool's rows of one language; no caps."""

    language_removal: ClassVar[str | None] = None
    needs: ClassVar[frozenset[str]] = frozenset()

    tag: str
    """A BCP-47 tag as the pool has it; a bare language takes its regions and scripts too."""
    alias: str = ""

    @property
    def name(self) -> str:
        """Name on the command line."""
        return self.alias or PREFIX + self.tag

    def select(self, candidates: Candidates, budget: int, seed: int) -> Selection:
        """Pick rows of the pool that cost no more than `budget` together. The same seed gives the same rows.

        Raises SelectionError if the pool has nothing of the language.
        """
        wanted = self.tag
        languages = {tag for tag in candidates.pool_languages if is_in(tag, wanted)}
        if not languages:
            raise SelectionError(
                f"Strategy {self.name!r} found no row in {wanted!r}: the pool is in "
                f"{', '.join(sorted(set(candidates.pool_languages)))}. Add a source in {wanted!r} to pool."
            )
        indices = draw_from(candidates, languages, budget, seed)
        reasons = [f"drawn at random from the rows in {wanted}"] * len(indices)
        return finish(self.name, candidates, budget, indices=indices, scores=np.zeros(len(indices)), reasons=reasons)


def is_in(tag: str, wanted: str) -> bool:
    """Say whether a row's tag is the wanted one, or one of its regions or scripts."""
    return tag == wanted or tag.startswith(wanted + "-")


def draw_from(candidates: Candidates, languages: Collection[str], budget: int, seed: int) -> IntArray:
    """Draw rows of these languages uniformly without replacement until the budget is spent. Returns (m,) rows."""
    order = np.argsort(row_keys(candidates.pool, seed), kind="stable").astype(np.int64)
    wanted = np.array([language in languages for language in candidates.pool_languages], dtype=bool)
    return take_in_order(candidates, order[wanted[order]], budget)
