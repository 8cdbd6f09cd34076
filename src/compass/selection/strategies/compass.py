"""The default strategy: round-robin over usage rows, each requesting what the training data lacks [ours].

The paper picks "from under-represented semantic clusters"; how its budget is split and its rows are ranked is not
known to us. Round-robin keeps the picks as even over meanings as usage is. The plain nearest rows are the worse
training set: they crowd around the few usage rows that lie in the densest region (LOG.md).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from compass.selection.agreement import why_no_class_quotas
from compass.selection.audit import cluster_gap, finish
from compass.selection.caps import DEFAULT_CAPS, Caps
from compass.selection.classes import class_probabilities, with_free_text
from compass.selection.density import queries
from compass.selection.protocol import Candidates, Selection, parameter
from compass.selection.requests import by_class, by_usage_row, demand_of, rows_for_gaps
from compass.selection.round_robin import Picks, Requests, Reserved, round_robin
from compass.selection.survey import look_over
from compass.semantic.arrays import RealArray


@dataclass(frozen=True)
class Compass:
    """Round-robin over usage rows, each requesting what the training data lacks."""

    name: ClassVar[str] = "compass"
    language_removal: ClassVar[str | None] = None
    needs: ClassVar[frozenset[str]] = frozenset()

    class_quotas: bool = parameter(True, "Split the budget over classes, if the class depends on the prompt.")
    caps: Caps = DEFAULT_CAPS

    def select(self, candidates: Candidates, budget: int, seed: int) -> Selection:
        """Pick rows of the pool that cost no more than `budget` together. The same seed gives the same rows."""
        # 1. The vectors are free of their languages' offsets. 2, 3. A query for each usage row, the pool's density.
        density = look_over(candidates, seed)
        query = queries(candidates, density)

        account, why_not = None, why_no_class_quotas(candidates, seed) if self.class_quotas else ""
        if self.class_quotas and not why_not:
            # 4, 5. P(class | usage row); requests of usage rows and classes, which share the quota of the class.
            numbered, free_text = with_free_text(candidates)
            classes, likely = class_probabilities(numbered, query, density, seed)
            requests, account = by_class(numbered, query, density, classes, likely, budget, seed, free_text=free_text)
        else:
            # 5. Without classes each usage row is its own class.
            requests = by_usage_row(candidates, query, density, budget)

        # 6, 7. Round-robin under the caps, with a row reserved for each gap cluster that the pool can serve.
        missing = cluster_gap(candidates)
        reserved = rows_for_gaps(candidates, missing, budget, density)
        picks = round_robin(candidates, requests, budget, self.caps, reserved=reserved)
        notes = {f"usage rows served without class quotas: {why_not}": len(candidates.usage)} if why_not else {}
        return finish(
            self.name,
            candidates,
            budget,
            indices=picks.indices,
            scores=picks.scores,
            reasons=_reasons(candidates, requests, picks, reserved, missing),
            demand=demand_of(candidates, requests),
            notes={**picks.notes, **notes},
            classes=account,
        )


def _reasons(
    candidates: Candidates, requests: Requests, picks: Picks, reserved: Sequence[Reserved], missing: RealArray
) -> list[str]:
    """Say of each pick whom it is for, in plain words."""
    closest = {own.row: own.usage_row + 1 for own in reserved}
    shares = np.bincount(requests.requesters, weights=requests.shares).astype(np.int64)
    places: Counter[int] = Counter()
    reasons = []
    for row, place, lifted in zip(picks.indices.tolist(), picks.requests.tolist(), picks.lifted, strict=True):
        if place < 0:
            reason = f"added so that its cluster gets at least one row; closest to usage row {closest[row]}"
        else:
            usage = int(requests.requesters[place])
            places[usage] += 1
            unit = candidates.unit.removesuffix("s") if shares[usage] == 1 else candidates.unit
            reason = f"pick {places[usage]} for usage row {usage + 1}, whose share is {shares[usage]} {unit}"
        cluster = int(candidates.pool_clusters[row])
        reasons.append("; ".join(filter(None, (reason, f"cluster {cluster} (gap {missing[cluster]:.2f})", lifted))))
    return reasons
