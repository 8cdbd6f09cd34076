"""The caps: what holds a row back, what has been taken so far, and the budget left."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from compass.selection.protocol import Candidates
from compass.semantic.arrays import FloatArray, IntArray

REMEMBERED = 20_000
"""Vectors that are kept, at most, where a pool is not in memory: 31 MB of 384 dimensions."""
READ_AHEAD = 32
"""Rows of a list whose vectors are read at once: one by one they take many times as long."""

OVER_BUDGET = "passed over: longer than the budget left"
OVER_LANGUAGE_CAP = "passed over: its language had reached the language cap"
NEAR_DUPLICATE = "passed over: near duplicate of an earlier pick"
LANGUAGE_CAP_LIFTED = "taken above the language cap"
DUPLICATE_LIFTED = "taken although a near duplicate of an earlier pick"

PASSES: Mapping[str, tuple[str, ...]] = {
    "": (),
    LANGUAGE_CAP_LIFTED: (OVER_LANGUAGE_CAP,),
    DUPLICATE_LIFTED: (OVER_LANGUAGE_CAP, NEAR_DUPLICATE),
}
"""In order: what a pass over the lists is called -> the caps that it sets aside."""


@dataclass(frozen=True)
class Caps:
    """What holds a row back as long as there is another one."""

    language_cap: float = 0.25
    """Largest share of the budget for one language, where the pool has several; 1 is no cap."""
    duplicate_similarity: float = 0.98
    """Cosine from which a row repeats an earlier pick of its language; 1 is off."""


DEFAULT_CAPS = Caps()
NO_CAPS = Caps(language_cap=1.0, duplicate_similarity=1.0)


class Taken:
    """The rows taken so far, the budget left, and the caps."""

    def __init__(self, candidates: Candidates, budget: int, caps: Caps, reserved: Sequence[int]) -> None:
        self.rows: dict[int, str] = {}
        """Row -> the cap that was set aside for it, else empty."""
        self._candidates = candidates
        self._least_cost = candidates.least_cost
        # A pool in one language has no other row to take first.
        capped = caps.language_cap < 1 and len(set(candidates.pool_languages)) > 1
        # Rounded first: 0.07 * 100 is a little more than 7.
        self._language_limit = math.ceil(round(caps.language_cap * budget, 6)) if capped else budget
        self._similarity = caps.duplicate_similarity
        self._passed_over: dict[str, set[int]] = {}
        self._spent: Counter[str] = Counter()
        self._of_language: dict[str, _Vectors] = {}
        self._vectors: dict[int, FloatArray] = {}
        self._reads = caps.duplicate_similarity < 1 and not isinstance(candidates.pool, np.ndarray)
        self._reserved = {int(candidates.pool_clusters[row]): row for row in reserved}
        self._left = budget - sum(map(self._cost, reserved))

    def look_ahead(self, rows: IntArray) -> None:
        """Read the vectors of the next rows of a list, if the first of them is not known. rows: (n,)."""
        if not self._reads or int(rows[0]) in self._vectors:
            return
        new = [row for row in rows[:READ_AHEAD].tolist() if row not in self._vectors]
        if len(self._vectors) + len(new) > REMEMBERED:
            self._vectors.clear()
        self._vectors.update(zip(new, self._candidates.pool[np.array(new)], strict=True))

    @property
    def has_room(self) -> bool:
        """Whether the budget left is enough for the shortest row of the pool."""
        return self._left >= self._least_cost

    def why_not(self, row: int) -> str:
        """Return what holds a row back, or an empty text."""
        language = self._candidates.pool_languages[row]
        kept = self._reserved.get(self._cluster(row))
        if self._cost(row) > self._left + (0 if kept is None else self._cost(kept)):
            return OVER_BUDGET
        if self._is_near_duplicate(row, language):
            return NEAR_DUPLICATE
        return OVER_LANGUAGE_CAP if self._spent[language] + self._cost(row) > self._language_limit else ""

    def take(self, row: int, lifted: str) -> None:
        """Take a row; what was kept back for its cluster is free again."""
        kept = self._reserved.pop(self._cluster(row), None)
        self._left += (0 if kept is None else self._cost(kept)) - self._cost(row)
        self.rows[row] = lifted
        language = self._candidates.pool_languages[row]
        self._spent[language] += self._cost(row)
        if self._similarity < 1.0:
            self._of_language.setdefault(language, _Vectors()).append(self._vector(row))

    def take_reserved(self) -> list[int]:
        """Take the reserved rows of the clusters that have no pick, whatever the caps, and return them."""
        rows = list(self._reserved.values())
        for row in rows:
            why = self.why_not(row)
            self.take(row, next((lifted for lifted, caps in PASSES.items() if why in caps), ""))
        return rows

    def pass_over(self, row: int, why: str) -> None:
        """Note that a row was passed over; one that several requests come upon counts once."""
        self._passed_over.setdefault(why, set()).add(row)

    def notes(self) -> dict[str, int]:
        """Return what happened -> rows, by name."""
        lifted = Counter(filter(None, self.rows.values()))
        return dict(sorted({**{why: len(rows) for why, rows in self._passed_over.items()}, **lifted}.items()))

    def _cost(self, row: int) -> int:
        return int(self._candidates.pool_costs[row])

    def _cluster(self, row: int) -> int:
        return int(self._candidates.pool_clusters[row])

    def _is_near_duplicate(self, row: int, language: str) -> bool:
        earlier = self._of_language.get(language)
        if self._similarity >= 1.0 or earlier is None:
            return False
        return bool(np.max(earlier.rows @ self._vector(row)) >= self._similarity)

    def _vector(self, row: int) -> FloatArray:
        known = self._vectors.get(row)
        return self._candidates.pool[row] if known is None else known


class _Vectors:
    """The vectors of the rows taken in one language, side by side, with room to grow."""

    def __init__(self) -> None:
        self._rows: FloatArray = np.empty((0, 0), dtype=np.float32)
        self._n = 0

    @property
    def rows(self) -> FloatArray:
        """(n, d) vectors."""
        return self._rows[: self._n]

    def append(self, vector: FloatArray) -> None:
        """Add a vector."""
        if self._n == len(self._rows):
            grown = np.empty((2 * self._n + 8, len(vector)), dtype=np.float32)
            grown[: self._n] = self._rows[: self._n] if self._n else 0.0
            self._rows = grown
        self._rows[self._n] = vector
        self._n += 1
