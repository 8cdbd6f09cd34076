from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score

from compass.semantic.arrays import unit_rows
from compass.semantic.kmeans import assign_nearest, centroid_silhouette, choose_n_clusters, spherical_kmeans


def blobs(n_clusters, rows, d=16, noise=0.1, seed=0):
    rng = np.random.default_rng(seed)
    centres = unit_rows(rng.normal(size=(n_clusters, d)))
    truth = np.repeat(np.arange(n_clusters), rows)
    return unit_rows(centres[truth] + noise * rng.normal(size=(len(truth), d))), truth


def test_kmeans_finds_separate_blobs():
    """Breaks if centroids are not those of the rows: six blobs this far apart are found exactly."""
    x, truth = blobs(6, 50)
    centroids = spherical_kmeans(x, 6, seed=1)
    np.testing.assert_allclose(np.linalg.norm(centroids, axis=1), 1.0, atol=1e-5)
    assert adjusted_rand_score(truth, assign_nearest(x, centroids)) > 0.99


@pytest.mark.parametrize("rows", [1, 2, 5])
def test_fewer_rows_than_clusters(rows):
    """Breaks if k is not lowered to the distinct rows: scikit-learn would raise or warn, which is an error here."""
    x = unit_rows(np.random.default_rng(0).normal(size=(rows, 8)))
    assert len(spherical_kmeans(np.repeat(x, 2, axis=0), 60, seed=0)) == rows


def test_many_rows_that_repeat_few_make_as_many_clusters():
    """Breaks if scikit-learn's warning of fewer distinct rows reaches users."""
    few = unit_rows(np.random.default_rng(0).normal(size=(3, 8)).astype(np.float32))
    centroids = spherical_kmeans(np.repeat(few, 100, axis=0), 16, seed=0)
    np.testing.assert_allclose(np.sort(centroids, axis=0), np.sort(few, axis=0), atol=1e-6)


def test_silhouette_against_the_plain_formula():
    """Breaks if a and b are swapped or not the two nearest centroids; reference: one row at a time."""
    x, _ = blobs(5, 12, noise=0.5)
    centroids = spherical_kmeans(x, 5, seed=0)
    expected = []
    for row in x:
        a, b = sorted(1 - float(row @ c) for c in centroids)[:2]
        expected.append((b - a) / max(a, b))
    assert centroid_silhouette(x, centroids) == pytest.approx(np.mean(expected), abs=1e-5)
    assert centroid_silhouette(x, centroids[:1]) == 0.0


def test_the_true_number_of_clear_blobs_is_chosen():
    """Breaks if silhouette or stability is dropped from the choice: 16 clear blobs are best at 16, and no finer
    number comes within a quarter of its product."""
    x, _ = blobs(16, 40, d=32, noise=0.08)
    chosen, grid = choose_n_clusters(x, seed=0, grid=(4, 8, 16, 32, 48))
    assert chosen == 16
    assert [point.n_clusters for point in grid] == [4, 8, 16, 32, 48]
    for point in grid:
        one, two = (assign_nearest(x, spherical_kmeans(x, point.n_clusters, seed=seed)) for seed in (0, 1))
        assert point.stability == pytest.approx(adjusted_rand_score(one, two))
    assert min(point.stability for point in grid) < 0.99


def test_few_rows_choose_few_clusters():
    """Breaks if a sample of 20 rows is cut into more clusters than it can carry, or if 3 rows give none."""
    x, _ = blobs(3, 7)
    assert choose_n_clusters(x[:20], seed=0)[0] == 2
    assert choose_n_clusters(x[:3], seed=0) == (1, ())
