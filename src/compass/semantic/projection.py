"""Rows as points of a plane, for the report's map."""

from __future__ import annotations

import numpy as np

from compass.semantic.arrays import FloatArray, IntArray, RealArray, nearest_rows

LANDMARKS = 600
"""Rows that t-SNE places; others lie around the one nearest to them. Of 3,600 rows it takes a tenth of the time, and
their neighbours on the map are nearly as often near (trustworthiness .96 for .98)."""
ITERATIONS = 500
"""Of t-SNE. scikit-learn's 1,000 take twice as long for as good a map."""
COMPONENTS = 30
"""Principal components of the rows that t-SNE sees."""
PERPLEXITY = 15.0
"""Neighbours that count for a row: more trustworthy than scikit-learn's 30, where 600 rows stand for many."""
ANGLE = 0.8
"""How coarsely t-SNE takes distant points together: a third faster than scikit-learn's 0.5, for as good a map."""
FEWEST = 5
"""Different rows below which no projection says anything: they lie on a circle."""
GOLDEN_ANGLE = np.pi * (3.0 - 5.0**0.5)


def project(vectors: FloatArray, *, seed: int) -> FloatArray:
    """Project unit rows to two dimensions (t-SNE). vectors: (n, d). Returns (n, 2); equal rows are one point.

    scikit-learn's t-SNE divides by the spread of its first principal component and crashes the process where that is 0
    or nearly so: rows that are alike are one row here, and without a spread there is no t-SNE.
    """
    if not len(vectors):
        return np.zeros((0, 2), dtype=np.float32)
    # Rounded, so that rows which differ by rounding alone are one.
    _, first, places = np.unique(vectors.round(5), axis=0, return_index=True, return_inverse=True)
    order = np.argsort(first)
    rows = vectors[first[order]]
    points = np.empty((len(first), 2), dtype=np.float32)
    # At even steps: each set of rows that the caller put together has its share of landmarks.
    landmarks = np.linspace(0, len(rows) - 1, min(len(rows), LANDMARKS)).round().astype(np.int64)
    points[order[landmarks]] = placed = _points(rows[landmarks], seed)
    others = np.setdiff1d(np.arange(len(rows)), landmarks)
    if len(others):
        nearest, _ = nearest_rows(rows[others], rows[landmarks], 1)
        points[order[others]] = _around(placed, nearest[:, 0])
    return points[places.reshape(-1)]


def _points(rows: FloatArray, seed: int) -> RealArray:
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    n = len(rows)
    if n == 1:
        return np.zeros((1, 2))
    angles = 2 * np.pi * np.arange(n) / n
    if n < FEWEST or min(rows.shape) < 2:
        return np.stack([np.cos(angles), np.sin(angles)], axis=1)
    reduced = PCA(min(COMPONENTS, *rows.shape), svd_solver="full").fit_transform(rows)
    tsne = TSNE(
        n_components=2, init="pca", perplexity=min(PERPLEXITY, max(2.0, (n - 1) / 4)), angle=ANGLE, random_state=seed,
        max_iter=ITERATIONS,
    )  # fmt: skip
    return np.asarray(tsne.fit_transform(reduced))


def _around(landmarks: RealArray, nearest: IntArray) -> RealArray:
    """Return a point for each row on a spiral around its landmark, no further from it than half way to the next one.

    landmarks: (L, 2) points. nearest: (n,) landmark of each row. Returns (n, 2).
    """
    apart = np.square(landmarks[:, None] - landmarks[None]).sum(axis=2)
    np.fill_diagonal(apart, np.inf)
    radius = 0.5 * np.sqrt(apart.min(axis=1))
    rows_of = np.bincount(nearest, minlength=len(landmarks))
    order = np.argsort(nearest, kind="stable")
    number = np.empty(len(nearest))
    number[order] = np.arange(len(nearest)) - np.repeat(np.cumsum(rows_of) - rows_of, rows_of)
    angle = GOLDEN_ANGLE * number
    distance = radius[nearest] * np.sqrt((number + 1) / rows_of[nearest])
    around: RealArray = distance[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return landmarks[nearest] + around
