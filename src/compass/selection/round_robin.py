"""Taking rows cluster by cluster, best first, under caps; what a cap held back is counted."""

from __future__ import annotations

import heapq
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from compass.config import SelectionConfig
from compass.selection.classes import AnswerLimits
from compass.selection.protocol import Candidates
from compass.semantic.arrays import FloatArray, IntArray, RealArray, row_keys

SCORE_DECIMALS = 6
"""Decimals in which scores are compared: the last bits of a matrix product depend on the row's place in the pool."""

HELD_LANGUAGE = "passed over: its language had its share"
HELD_ANSWER = "passed over: its kind of answer had its share"
HELD_DUPLICATE = "passed over: near duplicate of an earlier pick"
HELD_COST = "passed over: longer than the budget left"
RELAXED_LANGUAGE = "taken above the language cap: no other supply in its cluster"
RELAXED_ANSWER = "taken above the cap on its kind of answer: no other supply"
RELAXED_DUPLICATE = "taken although a near duplicate: no other supply"


@dataclass(frozen=True, eq=False)
class Picks:
    """Rows in the order they were taken."""

    indices: IntArray
    places: IntArray
    """(m,) rank of each pick within its cluster, from 1."""
    relaxed: tuple[str, ...]
    """(m,) the cap that was set aside for a pick, else empty."""
    notes: Mapping[str, int]
    """What happened -> rows."""


def rank(candidates: Candidates, scores: RealArray, seed: int) -> IntArray:
    """Order the pool by score, highest first; ties by a number that only the row's content and the seed decide."""
    order = np.lexsort((row_keys(candidates.pool, seed), -np.round(scores, SCORE_DECIMALS)))
    return order.astype(np.int64)


def supply_of(candidates: Candidates) -> IntArray:
    """Return what the pool holds of each cluster, in units of the budget. Returns (K,) ints."""
    return np.bincount(candidates.pool_clusters, weights=candidates.pool_costs, minlength=candidates.n_clusters).astype(
        np.int64
    )


def pick(
    candidates: Candidates,
    order: IntArray,
    quotas: Callable[[IntArray], IntArray],
    budget: int,
    options: SelectionConfig,
    *,
    caps: bool = True,
) -> Picks:
    """Take rows until the quotas are full, spreading over clusters so that every prefix is close to the quotas.

    order: pool rows, best first (a subset of the pool if the rest is out of the question). quotas(available) -> (K,):
    the split of the whole budget when cluster k can give available[k]; asked again when a cluster turns out to give
    less than it was counted on for, so that its share goes to the others. A row is passed over when its language has
    its share of the picks (`language_cap`) or when it repeats an earlier pick of the same language
    (`duplicate_similarity`). If a cluster has nothing else, the language cap is set aside there; near duplicates are
    taken last of all, when the budget finds nothing else anywhere.
    """
    state = _State(candidates, options, budget, caps)
    queues: list[list[int]] = [[] for _ in range(candidates.n_clusters)]
    for row in order.tolist():
        queues[candidates.pool_clusters[row]].append(row)
    costs = candidates.pool_costs
    place = np.zeros(len(costs), dtype=np.int64)
    place[order] = np.arange(len(order))
    available = np.array([int(costs[queue].sum()) for queue in queues], dtype=np.int64)
    full_supply = available.copy()
    held = [_Held(queue) for queue in queues]
    for duplicates in (False, True):
        if duplicates:
            if not any(h.duplicates for h in held) or not state.has_room:
                break
            available = full_supply
        while state.has_room:
            quota = quotas(available)
            short = _fill(state, held, quota, place, duplicates)
            if not short:
                break
            available = available.copy()
            available[short] = state.taken[short]
    return Picks(
        np.array(state.indices, dtype=np.int64),
        np.array(state.places, dtype=np.int64),
        tuple(state.relaxed),
        state.notes(),
    )


@dataclass(frozen=True, eq=False)
class Turns:
    """Rows in the order they were taken, each with the usage row that asked for it."""

    indices: IntArray
    askers: IntArray
    """(m,) usage row that asked."""
    scores: RealArray
    """(m,) the row's score for its asker."""
    places: IntArray
    """(m,) how many rows its asker had taken by then, from 1."""
    relaxed: tuple[str, ...]
    notes: Mapping[str, int]


def pick_in_turns(
    candidates: Candidates,
    rows: IntArray,
    scores: FloatArray,
    requests: IntArray,
    options: SelectionConfig,
    limits: AnswerLimits | None = None,
    *,
    first: Sequence[tuple[int, int, float]] = (),
) -> Turns:
    """Let usage rows take pool rows in turns until each has what it asked for.

    rows, scores: (n_E, m) pool rows of each usage row, best first, -1 behind the last of a shorter list. requests:
    (n_E,) ints in units of the budget; the usage row that is furthest behind its request is next. limits: what each
    kind of answer may take, after which it is passed over. first: (usage row, pool row, score) that are taken before;
    the score is for a pool row that is not in the usage row's list.
    The other caps as in `pick`. When nothing else is left the caps are set aside, that on answers first, that on near
    duplicates last. What a usage row can't find goes to the others.
    """
    budget = int(requests.sum())
    state = _State(candidates, options, budget, caps=True, limits=limits)
    askers: list[int] = []
    taken: set[int] = set()
    got = np.zeros(len(requests), dtype=np.int64)
    value: list[float] = []

    def take(asker: int, row: int, score: float, why: str) -> None:
        got[asker] += state.take(row, int(candidates.pool_clusters[row]), why)
        taken.add(row)
        askers.append(asker)
        value.append(score)

    for asker, row, score in first:
        if row not in taken and state.fits(row):
            known = np.flatnonzero(rows[asker] == row)
            take(asker, row, float(scores[asker, known[0]]) if len(known) else score, "")
    for relax in _RELAXED_BY:
        position = np.zeros(len(requests), dtype=np.int64)
        # A request of zero asks for nothing as long as another one is open.
        heap = [((got[u] + 0.5) / max(requests[u], 1e-9), u) for u in range(len(requests)) if requests[u] or relax]
        heapq.heapify(heap)
        while heap and state.has_room:
            _, asker = heapq.heappop(heap)
            while position[asker] < rows.shape[1]:
                column = int(position[asker])
                row = int(rows[asker, column])
                if row < 0:
                    break
                position[asker] += 1
                if row in taken:
                    continue
                why = state.held_back(row)
                if why and why not in _RELAXED_BY[relax]:
                    if not relax:
                        state.pass_over(row, why)
                    continue
                take(asker, row, float(scores[asker, column]), relax if why else "")
                heapq.heappush(heap, ((got[asker] + 0.5) / max(requests[asker], 1e-9), asker))
                break
    counts: Counter[int] = Counter()
    places = []
    for asker in askers:
        counts[asker] += 1
        places.append(counts[asker])
    return Turns(
        np.array(state.indices, dtype=np.int64),
        np.array(askers, dtype=np.int64),
        np.array(value, dtype=np.float64),
        np.array(places, dtype=np.int64),
        tuple(state.relaxed),
        state.notes(),
    )


_RELAXED_BY: Mapping[str, tuple[str, ...]] = {
    "": (),
    RELAXED_ANSWER: (HELD_ANSWER,),
    RELAXED_LANGUAGE: (HELD_ANSWER, HELD_LANGUAGE),
    RELAXED_DUPLICATE: (HELD_ANSWER, HELD_LANGUAGE, HELD_DUPLICATE),
}
"""What a pass over the pool sets aside -> what it lets through."""


def _fill(state: _State, held: list[_Held], quota: IntArray, place: IntArray, duplicates: bool) -> list[int]:
    """Fill the quotas as far as the queues go. Returns the clusters that ended short.

    Next is the cluster with the smallest (taken + half a row) / quota, as in the method of Sainte-Laguë; of equals the
    one whose next row comes first. Its next row is taken whatever its length: where long rows had to fit into what is
    left of a quota, short ones would be picked in their stead.
    """
    half_a_row = state.candidates.mean_cost / 2

    def turn(k: int) -> tuple[float, int, int]:
        return (state.taken[k] + half_a_row) / quota[k], held[k].next_place(place), k

    short = []
    heap = [turn(k) for k in np.flatnonzero(quota > state.taken).tolist()]
    heapq.heapify(heap)
    while heap and state.has_room:
        *_, k = heapq.heappop(heap)
        if not state.take_from(held[k], k, duplicates):
            short.append(k)
        elif state.taken[k] < quota[k]:
            heapq.heappush(heap, turn(k))
    return short


@dataclass
class _Held:
    """A cluster's rows: those not looked at yet, and those that a cap holds back, best first."""

    fresh: list[int]
    position: int = 0
    capped: list[int] = field(default_factory=list)
    duplicates: list[int] = field(default_factory=list)

    def next_place(self, place: IntArray) -> int:
        """Return the place of the row that is looked at next, in the order of all rows; behind all if there is none."""
        return int(place[self.fresh[self.position]]) if self.position < len(self.fresh) else len(place)


class _State:
    """What has been taken so far."""

    def __init__(
        self,
        candidates: Candidates,
        options: SelectionConfig,
        budget: int,
        caps: bool,
        limits: AnswerLimits | None = None,
    ) -> None:
        self.candidates = candidates
        self.left = budget
        self._least_cost = candidates.least_cost
        self.taken = np.zeros(candidates.n_clusters, dtype=np.int64)
        self.indices: list[int] = []
        self.places: list[int] = []
        self.relaxed: list[str] = []
        self._relaxed: Counter[str] = Counter()
        self._held: dict[str, set[int]] = {}
        self._in_cluster: Counter[int] = Counter()
        self._by_language: Counter[str] = Counter()
        self._by_answer: Counter[int] = Counter()
        self._vectors: dict[str, list[int]] = {}
        self._caps = caps
        self._language_limit = math.ceil(options.language_cap * budget) if caps and options.language_cap < 1 else budget
        self._limits = limits
        self._similarity = options.duplicate_similarity if caps else 1.0

    def pass_over(self, row: int, why: str) -> None:
        """Note that a cap holds a row back; a row that several usage rows come upon counts once."""
        self._held.setdefault(why, set()).add(row)

    def notes(self) -> dict[str, int]:
        """Return what happened -> rows, by name."""
        return dict(sorted({**{why: len(rows) for why, rows in self._held.items()}, **self._relaxed}.items()))

    @property
    def has_room(self) -> bool:
        """Whether the budget left is enough for the shortest row of the pool."""
        return self.left >= self._least_cost

    def fits(self, row: int) -> bool:
        """Say whether the row's cost lies within the budget left."""
        return int(self.candidates.pool_costs[row]) <= self.left

    def held_back(self, row: int) -> str:
        """Return the cap that holds a row back, or an empty text."""
        if not self.fits(row):
            return HELD_COST
        if self._is_duplicate(row):
            return HELD_DUPLICATE
        if not self._language_has_room(row):
            return HELD_LANGUAGE
        return "" if self._answer_has_room(row) else HELD_ANSWER

    def take_from(self, held: _Held, cluster: int, duplicates: bool) -> int:
        """Take the cluster's best admissible row. Returns its cost, 0 if there is none."""
        while held.position < len(held.fresh):
            row = held.fresh[held.position]
            held.position += 1
            if not self.fits(row):
                self.pass_over(row, HELD_COST)
            elif self._is_duplicate(row):
                held.duplicates.append(row)
                self.pass_over(row, HELD_DUPLICATE)
            elif not self._language_has_room(row):
                held.capped.append(row)
                self.pass_over(row, HELD_LANGUAGE)
            else:
                return self.take(row, cluster, "")
        for queue, why, allowed in (
            (held.capped, RELAXED_LANGUAGE, True),
            (held.duplicates, RELAXED_DUPLICATE, duplicates),
        ):
            while queue and allowed:
                row = queue.pop(0)
                if not self.fits(row):
                    self.pass_over(row, HELD_COST)
                elif why == RELAXED_LANGUAGE and self._is_duplicate(row):
                    held.duplicates.append(row)
                    self.pass_over(row, HELD_DUPLICATE)
                else:
                    return self.take(row, cluster, why)
        return 0

    def _language_has_room(self, row: int) -> bool:
        cost = int(self.candidates.pool_costs[row])
        return self._by_language[self.candidates.pool_languages[row]] + cost <= self._language_limit

    def _answer_has_room(self, row: int) -> bool:
        if self._limits is None or self._limits.kinds[row] < 0:
            return True
        cost, kind = int(self.candidates.pool_costs[row]), int(self._limits.kinds[row])
        return self._by_answer[kind] + cost <= int(self._limits.most[kind])

    def _is_duplicate(self, row: int) -> bool:
        earlier = self._vectors.get(self.candidates.pool_languages[row])
        if self._similarity >= 1.0 or not earlier:
            return False
        pool = self.candidates.pool
        return bool(np.max(pool[earlier] @ pool[row]) >= self._similarity)

    def take(self, row: int, cluster: int, why: str) -> int:
        """Take a row, and return its cost."""
        cost = int(self.candidates.pool_costs[row])
        language = self.candidates.pool_languages[row]
        self.left -= cost
        self.taken[cluster] += cost
        self.indices.append(row)
        self._in_cluster[cluster] += 1
        self.places.append(self._in_cluster[cluster])
        self.relaxed.append(why)
        self._by_language[language] += cost
        if self._limits is not None:
            self._by_answer[int(self._limits.kinds[row])] += cost
        self._vectors.setdefault(language, []).append(row)
        if why:
            self._relaxed[why] += 1
        return cost
