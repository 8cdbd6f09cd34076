"""The map of a run, whatever its vectors are: scikit-learn's t-SNE crashes the process where they have no spread."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from compass.semantic.arrays import FloatArray
from compass.semantic.projection import project


def unit(rows: FloatArray) -> FloatArray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def random(n: int, d: int = 8) -> FloatArray:
    return unit(np.random.default_rng(0).normal(size=(n, d)))


ALIKE = np.tile(random(1), (40, 1))


@pytest.mark.parametrize(
    "vectors",
    [
        ALIKE,
        ALIKE + np.random.default_rng(0).normal(scale=1e-7, size=ALIKE.shape).astype(np.float32),
        np.zeros((40, 8), dtype=np.float32),
        np.repeat(random(2), 20, axis=0),
        np.repeat(random(7), 20, axis=0),
        np.concatenate([ALIKE, random(1) * -1]),
        np.concatenate([ALIKE, random(10)]),
        unit(np.stack([np.ones(40), np.linspace(0, 1e-4, 40)], axis=1)),
        np.ones((40, 1), dtype=np.float32),
        *(random(n) for n in (0, 1, 2, 3, 4, 5, 6, 12)),
    ],
)
def test_every_set_of_vectors_has_a_map(vectors: FloatArray) -> None:
    """A run of hours ended with a segmentation fault after its selection was written."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        points = project(vectors, seed=0)
    assert points.shape == (len(vectors), 2)
    assert np.isfinite(points).all()


def test_equal_rows_are_one_point_and_others_are_not() -> None:
    points = project(np.repeat(random(30), 2, axis=0), seed=0)
    assert (points[::2] == points[1::2]).all()
    assert len(np.unique(points, axis=0)) == 30


def test_rows_that_differ_are_projected_as_by_scikit_learn() -> None:
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    rows = random(40)
    tsne = TSNE(init="pca", perplexity=39 / 4, angle=0.8, random_state=3, max_iter=500)
    assert project(rows, seed=3) == pytest.approx(tsne.fit_transform(PCA(8).fit_transform(rows)))


def test_many_rows_lie_around_their_landmarks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Breaks if rows that t-SNE does not see land anywhere but among their topic, or upon each other."""
    from sklearn.manifold import trustworthiness

    rng = np.random.default_rng(0)
    topics = np.repeat(np.arange(6), 50)
    rows = unit(np.eye(12)[topics] + 0.1 * rng.normal(size=(300, 12)))[rng.permutation(300)]
    monkeypatch.setattr("compass.semantic.projection.LANDMARKS", 60)
    points = project(rows, seed=0)
    assert len(np.unique(points, axis=0)) == 300
    assert trustworthiness(rows, points, n_neighbors=10) > 0.9
    sees = np.linspace(0, 299, 60).round().astype(int)
    nearest = sees[np.argmax(rows @ rows[sees].T, axis=1)]
    own = np.linalg.norm(points - points[nearest], axis=1)
    of_all = np.linalg.norm(points[:, None] - points[sees][None], axis=2).min(axis=1)
    assert own == pytest.approx(of_all)
