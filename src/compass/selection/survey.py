"""A large pool in few walks: what usage is near to, and scores that are found where they can matter [ours].

score(u, a) = q_u · a − ½ density(a), and the density is what costs: 5,000 products for each row of the pool. Most rows
are far from all that usage asks for, so a lower bound of their density, from the part of the sample around them, shows
that they are not among the best of any query. The density of the others is computed. The picks are those of the whole
computation but for the last bits of products (tests/selection/test_survey.py, benchmarks/selection.py).
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from compass.selection.density import (
    DENSITY_WEIGHT,
    FEEDBACK_ROWS,
    Density,
    density_sample,
    pool_density,
    smoothed,
)
from compass.selection.protocol import Candidates
from compass.selection.round_robin import Reserved
from compass.semantic.arrays import Best, FloatArray, Found, IntArray, nearest_mean_similarity, unit_rows
from compass.semantic.blocks import Subset, walk

logger = logging.getLogger(__name__)

LARGE_POOL = 100_000
"""Rows from which a pool is looked over in this way: below it the whole computation is as fast."""
LANDMARKS = 256
"""Parts that the sample is divided into."""
LANDMARK_ROUNDS = 4
"""Rounds of k-means by which it is."""
AROUND_A_LANDMARK = 128
"""Rows of the sample that bound the density of the rows around a landmark: those nearest to it."""
SLACK = 1.5
SLACK_ROWS = 100
"""How many times the wanted rows are ranked by their bounds, and how many more."""
COVERED_WITHIN = 10
"""A training row covers a usage row if fewer than this many pool rows lie nearer to it [ours]."""


def look_over(candidates: Candidates, seed: int) -> Density:
    """Return the pool's density: of all its rows, or from `LARGE_POOL` rows on where it is needed."""
    return Survey(candidates, seed) if len(candidates.pool) >= LARGE_POOL else pool_density(candidates, seed)


class _Seen(NamedTuple):
    """What was found in one block of the pool."""

    block: slice
    nearest: Found
    feedback: Found
    least: FloatArray
    in_cluster: tuple[IntArray, FloatArray]


class Survey:
    """A large pool, looked over once for all that its usage asks, and again for each set of queries."""

    def __init__(self, candidates: Candidates, seed: int) -> None:
        self._pool = candidates.pool
        self._sample, self._neighbours = density_sample(candidates, seed)
        self._landmarks = _Landmarks(self._sample, self._neighbours)
        self._least = np.empty(len(self._pool), dtype=np.float32)
        self._known = np.zeros(len(self._pool), dtype=bool)
        self.row_in_cluster = np.full(len(candidates.usage), -1, dtype=np.int64)
        """(n_U,) the pool row nearest to each usage row in its cluster, -1 where there is none."""
        self.cosine_in_cluster = np.full(len(candidates.usage), -np.inf, dtype=np.float32)
        self._first_walk(candidates)

    def _first_walk(self, candidates: Candidates) -> None:
        usage, pool = candidates.usage, self._pool
        smooth, mix = smoothed(usage)
        nearest = Best(len(usage), min(COVERED_WITHIN, len(pool)))
        feedback = Best(len(usage), _with_slack(FEEDBACK_ROWS, len(pool)))

        def see(block: slice) -> _Seen:
            x = pool[block]
            least = self._landmarks.least_density(x)
            cosines = usage @ x.T
            inside = _nearest_in_cluster(cosines, candidates.usage_clusters, candidates.pool_clusters[block])
            found = nearest.find(cosines, block.start)
            cosines = mix @ cosines
            cosines -= np.float32(DENSITY_WEIGHT) * least
            return _Seen(block, found, feedback.find(cosines, block.start), least, inside)

        for seen in walk(len(pool), see):
            nearest.take(seen.nearest)
            feedback.take(seen.feedback)
            self._least[seen.block] = seen.least
            rows, cosines = seen.in_cluster
            nearer = cosines > self.cosine_in_cluster
            self.row_in_cluster[nearer] = rows[nearer] + seen.block.start
            self.cosine_in_cluster[nearer] = cosines[nearer]
        self.last_covering = nearest.scores[:, -1:]
        """(n_U, 1) the cosine from which a training row covers a usage row."""
        self.feedback, _ = self._settled(smooth, FEEDBACK_ROWS, None, feedback)
        """(n_U, `FEEDBACK_ROWS`) the best rows of each smoothed usage row."""

    def best_rows(self, query: FloatArray, n: int, among: IntArray | None = None) -> tuple[IntArray, FloatArray]:
        """Return the n best pool rows of each query, and their scores, best first. query: (m, d) unit rows.

        among: (k,) pool rows; None: all. Returns (m, min(n, k)) rows and scores.
        """
        size = len(self._pool) if among is None else len(among)
        return self._settled(query, min(n, size), among, self._ranked(query, _with_slack(n, size), among))

    def closest(self, usage: IntArray) -> Reserved | None:
        """Return the pool row closest to usage rows of one cluster, within it; None if it has none. usage: (m,)."""
        nearest = int(usage[np.argmax(self.cosine_in_cluster[usage])])
        row = int(self.row_in_cluster[nearest])
        return Reserved(row, nearest, float(self.cosine_in_cluster[nearest])) if row >= 0 else None

    def _ranked(self, query: FloatArray, n: int, among: IntArray | None) -> Best:
        """Rank the rows by the bounds of their scores."""
        best = Best(len(query), n)
        for found in self._bounds(query, among, best):
            best.take(found)
        return best

    def _bounds(self, query: FloatArray, among: IntArray | None, best: Best) -> Iterator[Found]:
        pool = self._pool if among is None else Subset(self._pool, among)
        least = self._least if among is None else self._least[among]

        def look(block: slice) -> Found:
            upper = query @ pool[block].T
            upper -= np.float32(DENSITY_WEIGHT) * least[block]
            return best.find(upper, block.start)

        return walk(len(pool), look)

    def _settled(self, query: FloatArray, n: int, among: IntArray | None, ranked: Best) -> tuple[IntArray, FloatArray]:
        """Return the n best rows by their scores, from rows that are ranked by bounds."""
        rows, scores = self._scored(ranked, among)
        if ranked.k < (len(self._pool) if among is None else len(among)):
            # A row that is not ranked scores at most as much as the last bound.
            open_ = np.flatnonzero(ranked.scores[:, -1] > scores[:, n - 1])
            if len(open_):
                logger.debug("best rows: %d of %d queries are not settled", len(open_), len(query))
                more = self._above(query[open_], scores[open_, n - 1], among)
                again = np.union1d(rows[open_], more)
                self._know(again)
                exact = query[open_] @ self._pool[again].T - np.float32(DENSITY_WEIGHT) * self._least[again]
                order = np.lexsort((np.broadcast_to(again, exact.shape), -exact), axis=1)[:, : rows.shape[1]]
                rows[open_], scores[open_] = again[order], np.take_along_axis(exact, order, axis=1)
        return rows[:, :n], scores[:, :n]

    def _scored(self, ranked: Best, among: IntArray | None) -> tuple[IntArray, FloatArray]:
        """Put ranked rows in the order of their scores; ties go to the lower row."""
        rows = ranked.rows if among is None else among[ranked.rows]
        bound = self._least[rows]
        self._know(np.unique(rows))
        scores = ranked.scores + np.float32(DENSITY_WEIGHT) * (bound - self._least[rows])
        order = np.lexsort((rows, -scores), axis=1)
        return np.take_along_axis(rows, order, axis=1), np.take_along_axis(scores, order, axis=1)

    def _above(self, query: FloatArray, least_scores: FloatArray, among: IntArray | None) -> IntArray:
        """Return all rows whose bound for some query lies above a score. least_scores: (m,). Returns (k,) ascending."""
        bar = Best(len(query), 1)
        bar.scores = least_scores[:, None]
        found = np.unique(np.concatenate([np.unique(part.rows) for part in self._bounds(query, among, bar)]))
        return found if among is None else among[found]

    def _know(self, rows: IntArray) -> None:
        """Compute the density of rows where it is not known. rows: (m,) ascending."""
        rows = rows[~self._known[rows]]
        logger.debug("density: %d more rows", len(rows))
        parts = walk(
            len(rows),
            lambda block: nearest_mean_similarity(self._pool[rows[block]], self._sample, self._neighbours),
            size=2048,
        )
        if len(rows):
            self._least[rows] = np.concatenate(list(parts))
            self._known[rows] = True


class _Landmarks:
    """Lower bounds of densities: a row's nearest neighbours within a part of the sample are no nearer than in all."""

    def __init__(self, sample: FloatArray, neighbours: int) -> None:
        self._neighbours = neighbours
        from sklearn.cluster import kmeans_plusplus

        # Spread over the sample: a crowded region without a landmark of its own has loose bounds. In float64
        # scikit-learn takes a quarter of the time.
        count = min(LANDMARKS, len(sample))
        spread = kmeans_plusplus(sample.astype(np.float64), count, random_state=0, n_local_trials=1)[0]
        self._landmarks: FloatArray = spread.astype(np.float32)
        for _ in range(LANDMARK_ROUNDS):
            sums = self._landmarks * np.float32(1e-3)
            np.add.at(sums, np.argmax(sample @ self._landmarks.T, axis=1), sample)
            self._landmarks = unit_rows(sums)
        size = min(max(AROUND_A_LANDMARK, neighbours), len(sample))
        near = np.argpartition(self._landmarks @ sample.T, -size, axis=1)[:, -size:]
        self._around = sample[near]

    def least_density(self, rows: FloatArray) -> FloatArray:
        """Return a lower bound of the density of each row, (n,). rows: (n, d)."""
        group = np.argmax(rows @ self._landmarks.T, axis=1)
        order = np.argsort(group, kind="stable")
        ends = np.searchsorted(group[order], np.arange(len(self._landmarks) + 1))
        least = np.empty(len(rows), dtype=np.float32)
        for i, around in enumerate(self._around):
            own = order[ends[i] : ends[i + 1]]
            if len(own):
                least[own] = nearest_mean_similarity(rows[own], around, self._neighbours)
        return least


def _nearest_in_cluster(cosines: FloatArray, usage: IntArray, block: IntArray) -> tuple[IntArray, FloatArray]:
    """Return the row of a block nearest to each usage row within its cluster, and its cosine, -inf where none is."""
    order = np.argsort(block, kind="stable")
    starts, ends = (np.searchsorted(block[order], usage, side=side).tolist() for side in ("left", "right"))
    rows, nearest = np.zeros(len(usage), dtype=np.int64), np.full(len(usage), -np.inf, dtype=np.float32)
    for i, (start, end) in enumerate(zip(starts, ends, strict=True)):
        if start < end:
            own = order[start:end]
            place = int(np.argmax(cosines[i, own]))
            rows[i], nearest[i] = own[place], cosines[i, own[place]]
    return rows, nearest


def _with_slack(n: int, size: int) -> int:
    return min(size, int(SLACK * n) + SLACK_ROWS)
