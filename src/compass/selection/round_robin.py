"""Round-robin by share: the request that is furthest behind its share takes its best free row, under the caps.

A request has a share of the budget and a list of pool rows, best first: a usage row, a usage row and a class, or a
cluster. Next is the request with the least (got + half a row) / share, the rule of Sainte-Laguë, so that every prefix
of the picks is close to the shares. To give a row to the request with the largest share / (got + 1/2) is to maximise
sum_r share_r log(got_r) greedily, with log(x + 1) - log(x) taken as 1 / (x + 1/2): proportional fairness.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from compass.selection.caps import PASSES, Caps, Taken
from compass.selection.protocol import Candidates
from compass.semantic.arrays import FloatArray, IntArray, RealArray, row_keys

SCORE_DECIMALS = 6
"""Decimals in which scores are compared: the last bits of a matrix product depend on the row's place in the pool."""

LEAST_SHARE = 1e-9
"""Stands for a share of nothing, so that its request comes after all others."""


@dataclass(frozen=True, eq=False)
class Requests:
    """Who asks for which rows, and for how much of the budget; a requester may ask several times."""

    requesters: IntArray
    """(n,) usage rows, or clusters."""
    rows: tuple[IntArray, ...]
    """n lists of pool rows, best first."""
    scores: tuple[FloatArray, ...]
    """n lists: the score of each of these rows."""
    shares: IntArray
    """(n,) in units of the budget."""
    depths: IntArray
    """(n,) how many of its first rows a request is for; the others stand in for rows that are taken."""


@dataclass(frozen=True)
class Reserved:
    """A pool row that is taken if its cluster has no other pick."""

    row: int
    usage_row: int
    """The usage row closest to it."""
    score: float
    """Their cosine."""


@dataclass(frozen=True, eq=False)
class Picks:
    """Rows in the order in which they were taken."""

    indices: IntArray
    """(m,) pool rows."""
    requests: IntArray
    """(m,) place of the request that took the row; -1 for a reserved row."""
    places: IntArray
    """(m,) how many rows the request had by then, from 1."""
    scores: RealArray
    """(m,) the row's score for the request; of a reserved row its own."""
    lifted: tuple[str, ...]
    """(m,) the cap that was set aside for the pick, else empty."""
    notes: Mapping[str, int]
    """What happened -> rows."""


def rank(candidates: Candidates, scores: RealArray, seed: int) -> IntArray:
    """Order the pool by score, highest first; ties by a number that only the row's content and the seed decide."""
    order = np.lexsort((row_keys(candidates.pool, seed), -np.round(scores, SCORE_DECIMALS)))
    return order.astype(np.int64)


def round_robin(
    candidates: Candidates,
    requests: Requests,
    budget: int,
    caps: Caps,
    *,
    reserved: Sequence[Reserved] = (),
    half_row: float | None = None,
    order: IntArray | None = None,
    split_again: Callable[[IntArray], IntArray] | None = None,
) -> Picks:
    """Let requests take rows, the furthest behind first, until the budget or the lists end.

    When nothing else is left the caps are set aside, that on languages before that on near duplicates. What a request
    cannot find goes to the others in turns, or, with `split_again`, is split anew: that gets what each request can
    have, (n,), and returns the shares.
    reserved: rows of different clusters; what they cost is kept back until their cluster has a pick. Those whose
    cluster has none in the end are taken last, whatever the caps. half_row: in units of the budget; None: half the mean
    cost. order: (n_A,) place of each pool row; of requests that are equally far behind, the one whose next row comes
    first. None: the first request.
    """
    taken = Taken(candidates, budget, caps, [own.row for own in reserved])
    queues = [_Queue(rows) for rows in requests.rows]
    half = candidates.mean_cost / 2 if half_row is None else half_row
    shares, got = requests.shares, np.zeros(len(requests.shares), dtype=np.int64)
    log: list[tuple[int, int, int, float]] = []

    def next_request(asking: npt.NDArray[np.bool_]) -> int:
        """Return the request that is furthest behind its share; of equals, that whose next row comes first."""
        behind = np.where(asking, (got + half) / np.maximum(shares, LEAST_SHARE), np.inf)
        equal: list[int] = np.flatnonzero(behind == behind.min()).tolist()
        return equal[0] if order is None else min(equal, key=lambda r: queues[r].next_place(order))

    def serve(lifted: str) -> list[int]:
        """Let requests take rows in one pass; return those whose lists ended."""
        ended = []
        asking = got < shares if split_again else np.ones(len(shares), dtype=bool)
        while asking.any() and taken.has_room:
            r = next_request(asking)
            row = queues[r].next_row(taken, lifted, note=not lifted and shares[r] > 0)
            if row is None:
                asking[r] = False
                ended.append(r)
                continue
            got[r] += candidates.pool_costs[row]
            asking[r] = not split_again or got[r] < shares[r]
            log.append((row, r, queues[r].rows_got, float(requests.scores[r][queues[r].position - 1])))
        return ended

    available = np.array([candidates.pool_costs[rows].sum() for rows in requests.rows]) if split_again else shares
    for lifted in PASSES:
        for queue in queues:
            queue.position = 0
        while taken.has_room and (ended := serve(lifted)) and split_again:
            available[ended] = got[ended]
            shares = split_again(available)
    still_needed = taken.take_reserved()
    log += [(own.row, -1, 1, own.score) for own in reserved if own.row in still_needed]
    indices, places, counts, scores = zip(*log, strict=True) if log else ((), (), (), ())
    return Picks(
        np.array(indices, dtype=np.int64),
        np.array(places, dtype=np.int64),
        np.array(counts, dtype=np.int64),
        np.array(scores, dtype=np.float64),
        tuple(taken.rows.values()),
        taken.notes(),
    )


class _Queue:
    """A request's list, how far it was looked at, and how many rows were taken from it."""

    def __init__(self, rows: IntArray) -> None:
        self.rows = rows
        self.position = 0
        self.rows_got = 0

    def next_place(self, order: IntArray) -> int:
        """Return the place of the row that is looked at next; behind all others if there is none."""
        return int(order[self.rows[self.position]]) if self.position < len(self.rows) else len(order)

    def next_row(self, taken: Taken, lifted: str, *, note: bool) -> int | None:
        """Take the best free row that no cap holds back, and return it; None if the list ends before.

        note: whether to note the rows that are passed over.
        """
        while self.position < len(self.rows):
            row = int(self.rows[self.position])
            self.position += 1
            if row in taken.rows:
                continue
            taken.look_ahead(self.rows[self.position - 1 :])
            why = taken.why_not(row)
            if not why or why in PASSES[lifted]:
                taken.take(row, lifted if why else "")
                self.rows_got += 1
                return row
            if note:
                taken.pass_over(row, why)
        return None
