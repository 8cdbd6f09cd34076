"""Rows as points of a plane, for the report's map."""

from __future__ import annotations

import numpy as np

from compass.semantic.arrays import FloatArray, RealArray

ITERATIONS = 500
"""Of t-SNE. scikit-learn's 1,000 take twice as long for as good a map: trustworthiness .959 by both, of 807 rows."""
FEWEST = 5
"""Different rows below which no projection says anything: they lie on a circle."""


def project(vectors: FloatArray, *, seed: int) -> FloatArray:
    """Project unit rows to two dimensions (t-SNE on cosine). vectors: (n, d). Returns (n, 2); equal rows are one point.

    scikit-learn's t-SNE divides by the spread of its first principal component and crashes the process where that is 0
    or nearly so: rows that are alike are one row here, and without a spread there is no t-SNE.
    """
    if not len(vectors):
        return np.zeros((0, 2), dtype=np.float32)
    # Rounded, so that rows which differ by rounding alone are one.
    _, first, places = np.unique(vectors.round(5), axis=0, return_index=True, return_inverse=True)
    order = np.argsort(first)
    points = np.empty((len(first), 2), dtype=np.float32)
    points[order] = _points(vectors[first[order]], seed)
    return points[places.reshape(-1)]


def _points(rows: FloatArray, seed: int) -> RealArray:
    from sklearn.manifold import TSNE

    n = len(rows)
    if n == 1:
        return np.zeros((1, 2))
    angles = 2 * np.pi * np.arange(n) / n
    if n < FEWEST or min(rows.shape) < 2:
        return np.stack([np.cos(angles), np.sin(angles)], axis=1)
    perplexity = min(30.0, max(2.0, (n - 1) / 4))
    tsne = TSNE(
        n_components=2, metric="cosine", init="pca", perplexity=perplexity, random_state=seed, max_iter=ITERATIONS
    )
    return np.asarray(tsne.fit_transform(rows))
