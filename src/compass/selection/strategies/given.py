"""Rows that somebody else chose: another tool's selection, at the same budget and with the same audit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from compass.selection.audit import finish, take_in_order
from compass.selection.features import required
from compass.selection.protocol import Candidates, Selection, parameter


@dataclass(frozen=True)
class Given:
    """The rows of a list in its order, as far as the budget goes; no draw, no caps."""

    name: ClassVar[str] = "given"
    language_removal: ClassVar[str | None] = None
    needs: ClassVar[frozenset[str]] = frozenset({"given"})

    picks: str = parameter(
        "",
        "File of rows, best first: ids, or JSONL with `id` such as a run's selected.jsonl; {language}, {seed} and "
        "{budget} in its path are filled in.",
    )

    def select(self, candidates: Candidates, budget: int, seed: int) -> Selection:
        """Take rows of the pool that cost no more than `budget` together. The seed changes nothing."""
        order = required(candidates.features.given, "given", self.name)
        indices = take_in_order(candidates, order, budget)
        places = np.empty(len(candidates.pool), dtype=np.int64)
        places[order] = np.arange(1, len(order) + 1)
        return finish(
            self.name,
            candidates,
            budget,
            indices=indices,
            scores=-places[indices].astype(np.float64),
            reasons=[f"no. {place} of the list" for place in places[indices].tolist()],
        )
