"""Spherical k-means: fit centroids, assign rows, judge a number of clusters."""

from __future__ import annotations

import logging
import warnings
from dataclasses import dataclass

import numpy as np

from compass.semantic.arrays import FloatArray, IntArray, RealArray, row_chunks, unit_rows

logger = logging.getLogger(__name__)

MAX_ITERATIONS = 50
"""Lloyd iterations, at most; few rows move after the first twenty."""
GRID = (16, 32, 48, 64, 96, 128)
"""Numbers of clusters that are tried [ours]; fewer than 16 are always the stablest and tell no topics apart."""
GRID_ROWS = 5_000
"""Rows that the numbers are judged by, at most."""
TOLERANCE = 0.1
"""Share of the best product that a finer partition may lose [ours]."""
MIN_ROWS_PER_CLUSTER = 10
"""Rows that a cluster should hold on average: a K above n/10 is not tried."""


@dataclass(frozen=True)
class GridPoint:
    """How one number of clusters fared."""

    n_clusters: int
    silhouette: float
    """Mean centroid silhouette of the rows, in [-1, 1]."""
    stability: float
    """Adjusted Rand index of the labels under two seeds; 1 is the same partition."""


def spherical_kmeans(vectors: FloatArray, n_clusters: int, *, seed: int) -> FloatArray:
    """Cluster unit rows by cosine. vectors: (n, d). Returns centroids (k, d), unit rows.

    k is n_clusters, or less where there are fewer distinct rows or a cluster ends up empty. On unit rows Euclidean
    k-means and cosine agree but for the length of the centroids, which is taken away.
    """
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    if len(vectors) <= 4 * n_clusters:
        n_clusters = min(n_clusters, len(np.unique(vectors, axis=0)))
    model = KMeans(n_clusters=n_clusters, n_init=1, max_iter=MAX_ITERATIONS, tol=1e-3, random_state=seed)
    with warnings.catch_warnings():
        # Of fewer distinct rows: the clusters without a row of their own go below.
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(vectors)
    centroids = unit_rows(model.cluster_centers_)
    # A mean of opposite rows has no direction, and re-normalising can leave a centroid with no row of its own.
    used = np.unique(assign_nearest(vectors, centroids))
    return np.ascontiguousarray(centroids[used])


def assign_nearest(vectors: FloatArray, centroids: FloatArray) -> IntArray:
    """Return the centroid with the highest cosine for each row; ties go to the lower index. Returns (n,) int64."""
    labels = np.empty(len(vectors), dtype=np.int64)
    for chunk in row_chunks(len(vectors)):
        labels[chunk] = np.argmax(vectors[chunk] @ centroids.T, axis=1)
    return labels


def centroid_silhouette(vectors: FloatArray, centroids: FloatArray) -> float:
    """Return the mean simplified silhouette: (b - a) / max(a, b) with a and b the cosine distances of a row to its own
    and to the next centroid (Vendramin et al. 2010). One cluster: 0. Costs O(n k), not O(n^2)."""
    if len(centroids) < 2 or not len(vectors):
        return 0.0
    total = 0.0
    for chunk in row_chunks(len(vectors)):
        distances = np.maximum(1.0 - vectors[chunk] @ centroids.T, 0.0)
        two = np.partition(distances, 1, axis=1)[:, :2].astype(np.float64)
        a, b = two[:, 0], two[:, 1]
        total += float(np.divide(b - a, b, out=np.zeros_like(b), where=b > 0).sum())
    return total / len(vectors)


def choose_n_clusters(
    vectors: FloatArray, *, seed: int, grid: tuple[int, ...] = GRID
) -> tuple[int, tuple[GridPoint, ...]]:
    """Choose the finest partition that is nearly as good as the best one [ours].

    A number of clusters is judged by the product of its centroid silhouette and its stability between two seeds; of
    those within TOLERANCE of the best product, the largest number is taken, for both measures favour a few broad
    clusters and a gap shows only where topics are told apart. Only numbers that leave ten rows to a cluster are tried;
    when none does, n/10. More than GRID_ROWS rows are judged by a sample. Returns the number and the grid.
    """
    from sklearn.metrics import adjusted_rand_score

    tried = [k for k in grid if k * MIN_ROWS_PER_CLUSTER <= len(vectors)]
    if not tried:
        return max(1, len(vectors) // MIN_ROWS_PER_CLUSTER), ()
    if len(vectors) > GRID_ROWS:
        vectors = vectors[np.sort(np.random.default_rng(seed).choice(len(vectors), GRID_ROWS, replace=False))]
    points: list[GridPoint] = []
    for k in tried:
        centroids = spherical_kmeans(vectors, k, seed=seed)
        other = spherical_kmeans(vectors, k, seed=seed + 1)
        agreement = adjusted_rand_score(assign_nearest(vectors, centroids), assign_nearest(vectors, other))
        points.append(GridPoint(k, centroid_silhouette(vectors, centroids), float(agreement)))
        logger.debug("K = %d: silhouette %.3f, stability %.3f", k, points[-1].silhouette, points[-1].stability)
    scores: RealArray = np.array([max(p.silhouette, 0.0) * max(p.stability, 0.0) for p in points])
    good = np.flatnonzero(scores >= (1.0 - TOLERANCE) * scores.max())
    return points[int(good[-1])].n_clusters, tuple(points)
