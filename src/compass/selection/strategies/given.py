"""Rows that somebody else chose: another tool's selection, at the same budget and with the same audit."""

from __future__ import annotations

import numpy as np

from compass.config import SelectionConfig
from compass.selection.audit import finish, take_in_order
from compass.selection.features import required
from compass.selection.protocol import Candidates, Selection


class Given:
    """The rows of a list in its order, as far as the budget goes; no draw, no caps."""

    name = "given"
    language_removal = None
    needs = frozenset({"given"})

    def select(self, candidates: Candidates, budget: int, *, seed: int, options: SelectionConfig) -> Selection:
        """Take rows of the pool that cost no more than `budget` together. The seed changes nothing."""
        order = required(candidates.extras.given, "given", self.name)
        indices = take_in_order(candidates, order, budget)
        places = np.empty(len(candidates.pool), dtype=np.int64)
        places[order] = np.arange(1, len(order) + 1)
        return finish(
            self.name,
            candidates,
            budget,
            options,
            indices=indices,
            scores=-places[indices].astype(np.float64),
            reasons=[f"no. {place} of the list" for place in places[indices].tolist()],
        )
