from __future__ import annotations

import numpy as np

from compass.semantic import arrays as module
from compass.semantic.arrays import nearest_mean_similarity, nearest_rows, row_keys, unit_rows


def test_neighbours_against_a_full_sort(monkeypatch):
    """Breaks if chunks, ties or the number of neighbours are wrong; reference: numpy's full sort."""
    rng = np.random.default_rng(0)
    queries, keys = unit_rows(rng.normal(size=(9, 5))), unit_rows(rng.normal(size=(40, 5)))
    monkeypatch.setattr(module, "PRODUCT_CELLS", 63)
    full = queries @ keys.T
    index, cosines = nearest_rows(queries, keys, 6)
    np.testing.assert_array_equal(index, np.argsort(-full, axis=1, kind="stable")[:, :6])
    np.testing.assert_allclose(cosines, -np.sort(-full, axis=1)[:, :6], atol=1e-6)
    np.testing.assert_allclose(nearest_mean_similarity(queries, keys, 6), cosines.mean(axis=1), atol=1e-6)
    assert nearest_rows(queries, keys[:2], 6)[0].shape == (9, 2)
    np.testing.assert_array_equal(nearest_mean_similarity(queries, keys[:0], 3), np.zeros(9))


def test_a_row_is_not_its_own_neighbour():
    """Breaks if the diagonal counts: the nearest other row of each of these is at cosine 0."""
    eye = np.eye(4, dtype=np.float32)
    np.testing.assert_allclose(nearest_mean_similarity(eye, eye, 1, exclude_self=True), np.zeros(4))
    np.testing.assert_allclose(nearest_mean_similarity(eye, eye, 1), np.ones(4))


def test_keys_go_by_content_and_seed():
    """Breaks if a key depends on the row's place, two seeds agree, or the numbers are not spread evenly: the mean of
    4,000 uniform numbers lies within 0.02 of 1/2 (more than four standard errors)."""
    x = unit_rows(np.random.default_rng(0).normal(size=(4000, 6)))
    order = np.random.default_rng(1).permutation(4000)
    np.testing.assert_array_equal(row_keys(x, 0)[order], row_keys(x[order], 0))
    assert not np.array_equal(row_keys(x, 0), row_keys(x, 1))
    assert len(np.unique(row_keys(x, 0))) == 4000
    assert abs(float((row_keys(x, 0) / 2.0**64).mean()) - 0.5) < 0.02


def test_neighbours_are_the_same_in_small_chunks_with_ties_and_a_bonus(monkeypatch):
    """Breaks if a chunk loses a neighbour, or if ties go by anything but the place; reference: a full stable sort."""
    rng = np.random.default_rng(5)
    keys = unit_rows(np.repeat(rng.normal(size=(30, 4)), 3, axis=0))
    queries, extra = unit_rows(rng.normal(size=(7, 4))), rng.integers(0, 2, size=(7, 90)).astype(float)
    monkeypatch.setattr("compass.semantic.arrays.PRODUCT_CELLS", 7 * 13)
    index, scores = nearest_rows(queries, keys, 10, bonus=lambda chunk: extra[:, chunk])
    full = queries @ keys.T + extra.astype(np.float32)
    np.testing.assert_allclose(scores, np.sort(full, axis=1)[:, ::-1][:, :10], atol=1e-6)
    expected = np.argsort(-np.round(full, 5), axis=1, kind="stable")[:, :10]
    np.testing.assert_array_equal(np.sort(index // 3, axis=1), np.sort(expected // 3, axis=1))
    same = [(a < b) for a, b, x, y in zip(index[:, :-1].ravel(), index[:, 1:].ravel(), scores[:, :-1].ravel(),
            scores[:, 1:].ravel(), strict=True) if x == y]  # fmt: skip
    assert same
    assert all(same)
