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
from compass.semantic.products import Cosines

logger = logging.getLogger(__name__)

LARGE_POOL = 100_000
"""Rows from which a pool is looked over in this way: below it the whole computation is as fast."""
LANDMARKS = 256
"""Parts that the sample is divided into."""
LANDMARK_ROUNDS = 4
"""Rounds of k-means by which it is."""
AROUND_A_LANDMARK = 128
"""Rows of the sample that bound the density of the rows around a landmark: those nearest to it."""
SETTLED_ROWS = 2048
"""Rows whose scores one thread computes at a time."""
SLACK = 1.5
SLACK_ROWS = 400
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
        sample, self._neighbours = density_sample(candidates, seed)
        self._sample = Cosines(sample, len(self._pool))
        self._landmarks = _Landmarks(sample, self._neighbours, len(self._pool))
        self._least = np.empty(len(self._pool), dtype=np.float32)
        self._known = np.zeros(len(self._pool), dtype=bool)
        self.row_in_cluster = np.full(len(candidates.usage), -1, dtype=np.int64)
        """(n_U,) the pool row nearest to each usage row in its cluster, -1 where there is none."""
        self.cosine_in_cluster = np.full(len(candidates.usage), -np.inf, dtype=np.float32)
        self._first_walk(candidates)

    def _first_walk(self, candidates: Candidates) -> None:
        usage, pool = candidates.usage, self._pool
        smooth, mix = smoothed(usage)
        most = 1.0001 * float(mix.sum(axis=1).max())
        cosines = Cosines(usage, len(pool))
        nearest, feedback = (Best(len(usage), _with_slack(n, len(pool))) for n in (COVERED_WITHIN, FEEDBACK_ROWS))

        def see(block: slice) -> _Seen:
            x = pool[block]
            least = self._landmarks.least_density(x)
            inside = _nearest_in_cluster(x, usage, candidates.usage_clusters, candidates.pool_clusters[block])
            close = cosines.of(x)
            # A mean of usage rows is at most `most` times as close as the closest of them.
            penalty = np.float32(DENSITY_WEIGHT) * least
            some = np.flatnonzero(most * np.maximum(close.max(axis=1), 0.0) - penalty > feedback.least)
            scores = mix @ close[some].T - penalty[some]
            found = feedback.find(scores, 0)
            found = Found(found.bounds, some[found.rows] + block.start, found.scores)
            return _Seen(block, nearest.find(close.T, block.start), found, least, inside)

        for seen in walk(len(pool), see):
            nearest.take(seen.nearest)
            feedback.take(seen.feedback)
            self._least[seen.block] = seen.least
            rows, closest = seen.in_cluster
            nearer = closest > self.cosine_in_cluster
            self.row_in_cluster[nearer] = rows[nearer] + seen.block.start
            self.cosine_in_cluster[nearer] = closest[nearer]
        n, margin = min(COVERED_WITHIN, len(pool)), cosines.margin
        self.last_covering = self._settled(usage, n, None, nearest, margin, weight=0.0)[1][:, -1:]
        """(n_U, 1) the cosine from which a training row covers a usage row."""
        self.feedback, _ = self._settled(smooth, FEEDBACK_ROWS, None, feedback, most * margin)
        """(n_U, `FEEDBACK_ROWS`) the best rows of each smoothed usage row."""

    def best_rows(self, query: FloatArray, n: int, among: IntArray | None = None) -> tuple[IntArray, FloatArray]:
        """Return the n best pool rows of each query, and their scores, best first. query: (m, d) unit rows.

        among: (k,) pool rows; None: all. Returns (m, min(n, k)) rows and scores.
        """
        size = len(self._pool) if among is None else len(among)
        best, cosines = Best(len(query), _with_slack(n, size)), Cosines(query, size)
        for found in self._bounds(cosines, among, best, DENSITY_WEIGHT):
            best.take(found)
        return self._settled(query, min(n, size), among, best, cosines.margin)

    def closest(self, usage: IntArray) -> Reserved | None:
        """Return the pool row closest to usage rows of one cluster, within it; None if it has none. usage: (m,)."""
        nearest = int(usage[np.argmax(self.cosine_in_cluster[usage])])
        row = int(self.row_in_cluster[nearest])
        return Reserved(row, nearest, float(self.cosine_in_cluster[nearest])) if row >= 0 else None

    def _bounds(self, cosines: Cosines, among: IntArray | None, best: Best, weight: float) -> Iterator[Found]:
        """Yield what of each block may be among the best, by the bounds of scores. weight: of the density."""
        pool = self._pool if among is None else Subset(self._pool, among)
        least = self._least if among is None else self._least[among]

        def look(block: slice) -> Found:
            upper = cosines.of(pool[block]).T
            upper -= np.float32(weight) * least[block]
            return best.find(upper, block.start)

        return walk(len(pool), look)

    def _settled(
        self,
        query: FloatArray,
        n: int,
        among: IntArray | None,
        ranked: Best,
        margin: float,
        weight: float = DENSITY_WEIGHT,
    ) -> tuple[IntArray, FloatArray]:
        """Return the n best rows by their scores, from rows that are ranked by bounds. margin: of their cosines."""
        rows = ranked.rows if among is None else among[ranked.rows]
        scores = self._scores(query, rows, weight)
        rows, scores = _in_order(rows, scores)
        size = len(self._pool) if among is None else len(among)
        if ranked.k < size:
            # A row that is not ranked scores at most as much as the last bound.
            open_ = np.flatnonzero(ranked.scores[:, -1] + np.float32(margin) > scores[:, n - 1])
            if len(open_):
                logger.debug("best rows: %d of %d queries are not settled", len(open_), len(query))
                more = self._above(query[open_], scores[open_, n - 1 : n], among, margin, weight)
                again = np.union1d(rows[open_], more)
                best = Best(len(open_), rows.shape[1])
                for block, exact in self._exact(query[open_], again, weight):
                    best.take(best.find(exact, block.start))
                rows[open_], scores[open_] = again[best.rows], best.scores
        return rows[:, :n], scores[:, :n]

    def _above(
        self, query: FloatArray, least_scores: FloatArray, among: IntArray | None, margin: float, weight: float
    ) -> IntArray:
        """Return all rows whose bound for some query lies above a score. least_scores: (m, 1). Returns (k,) ascending.

        margin: of the cosines that the scores were compared with.
        """
        size = len(self._pool) if among is None else len(among)
        bar, cosines = Best(len(query), 1), Cosines(query, size)
        bar.scores = least_scores - np.float32(max(margin, cosines.margin))
        found = np.unique(np.concatenate([np.unique(part.rows) for part in self._bounds(cosines, among, bar, weight)]))
        return found if among is None else among[found]

    def _scores(self, query: FloatArray, rows: IntArray, weight: float) -> FloatArray:
        """Return the score of some rows for each query, (m, k). rows: (m, k). weight: of their density."""
        different, places = np.unique(rows, return_inverse=True)
        places = places.ravel()
        order = np.argsort(places, kind="stable")
        ends = np.searchsorted(places[order], np.arange(len(different) + 1))
        scores = np.empty(rows.size, dtype=np.float32)
        for block, found in self._exact(query, different, weight):
            pairs = order[ends[block.start] : ends[block.stop]]
            scores[pairs] = found[pairs // rows.shape[1], places[pairs] - block.start]
        return scores.reshape(rows.shape)

    def _exact(self, query: FloatArray, rows: IntArray, weight: float) -> Iterator[tuple[slice, FloatArray]]:
        """Yield the scores of a block of different rows for all queries, (m, b). rows: (n,)."""

        def look(block: slice) -> tuple[slice, FloatArray]:
            x = self._pool[rows[block]]
            scores = query @ x.T
            if weight:
                self._know(rows[block], x)
                scores -= np.float32(weight) * self._least[rows[block]]
            return block, scores

        return walk(len(rows), look, size=SETTLED_ROWS)

    def _know(self, rows: IntArray, x: FloatArray) -> None:
        """Compute the density of rows where it is not known. rows: (n,) different ones, x: (n, d) their vectors."""
        new = ~self._known[rows]
        if new.any():
            self._least[rows[new]] = self._sample.mean_of_nearest(x[new], self._neighbours)
            self._known[rows[new]] = True


class _Landmarks:
    """Lower bounds of densities: a row's nearest neighbours within a part of the sample are no nearer than in all."""

    def __init__(self, sample: FloatArray, neighbours: int, rows: int) -> None:
        """rows: how many there are in the pool."""
        self._neighbours = neighbours
        from sklearn.cluster import kmeans_plusplus

        # Spread over the sample: a crowded region without a landmark of its own has loose bounds. In float64, because
        # scikit-learn takes four times as long to convert float32.
        count = min(LANDMARKS, len(sample))
        _, chosen = kmeans_plusplus(sample.astype(np.float64), count, random_state=0, n_local_trials=1)
        landmarks = sample[chosen]
        for _ in range(LANDMARK_ROUNDS):
            sums = landmarks * np.float32(1e-3)
            np.add.at(sums, np.argmax(sample @ landmarks.T, axis=1), sample)
            landmarks = unit_rows(sums)
        size = min(max(AROUND_A_LANDMARK, neighbours), len(sample))
        near = np.argpartition(landmarks @ sample.T, -size, axis=1)[:, -size:]
        self._around = sample[near]
        self._landmarks = Cosines(landmarks, rows)

    def least_density(self, rows: FloatArray) -> FloatArray:
        """Return a lower bound of the density of each row, (n,). rows: (n, d)."""
        # Any group gives a bound, so that it need not be that of the nearest landmark to the last bit.
        group = np.argmax(self._landmarks.of(rows), axis=1)
        order = np.argsort(group, kind="stable")
        ends = np.searchsorted(group[order], np.arange(len(self._around) + 1))
        least = np.empty(len(rows), dtype=np.float32)
        for i, around in enumerate(self._around):
            own = order[ends[i] : ends[i + 1]]
            if len(own):
                least[own] = nearest_mean_similarity(rows[own], around, self._neighbours)
        return least


def _nearest_in_cluster(
    rows: FloatArray, usage: FloatArray, of_usage: IntArray, of_rows: IntArray
) -> tuple[IntArray, FloatArray]:
    """Return the row of a block nearest to each usage row within its cluster, and its cosine, -inf where none is.

    rows: (n, d) and of_rows: (n,) clusters; usage: (n_U, d) and of_usage: (n_U,) clusters.
    """
    order = np.argsort(of_rows, kind="stable")
    clusters = np.unique(of_usage)
    starts, ends = (np.searchsorted(of_rows[order], clusters, side=side).tolist() for side in ("left", "right"))
    nearest, cosine = np.zeros(len(usage), dtype=np.int64), np.full(len(usage), -np.inf, dtype=np.float32)
    for cluster, start, end in zip(clusters.tolist(), starts, ends, strict=True):
        if start < end:
            asking, own = np.flatnonzero(of_usage == cluster), order[start:end]
            cosines = usage[asking] @ rows[own].T
            best = np.argmax(cosines, axis=1)
            nearest[asking], cosine[asking] = own[best], cosines[np.arange(len(asking)), best]
    return nearest, cosine


def _in_order(rows: IntArray, scores: FloatArray) -> tuple[IntArray, FloatArray]:
    """Put rows in the order of their scores, best first; ties go to the lower row. (m, k) both."""
    order = np.lexsort((rows, -scores), axis=1)
    return np.take_along_axis(rows, order, axis=1), np.take_along_axis(scores, order, axis=1)


def _with_slack(n: int, size: int) -> int:
    return min(size, int(SLACK * n) + SLACK_ROWS)
