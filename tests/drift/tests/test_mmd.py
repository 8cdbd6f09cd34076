from __future__ import annotations

import itertools

import numpy as np
import pytest
from sklearn.metrics.pairwise import euclidean_distances, rbf_kernel

from compass.drift.tests.mmd import VectorSample, gaussian_kernel, mmd_test


def unit(x: np.ndarray) -> np.ndarray:
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)


def test_kernel_against_scikit_learn():
    """Breaks if width or exponent is off."""
    x = unit(np.random.default_rng(0).normal(size=(30, 8)))
    middle = np.median(euclidean_distances(x)[np.triu_indices(30, 1)])
    np.testing.assert_allclose(gaussian_kernel(x), rbf_kernel(x, gamma=1 / (2 * middle**2)), atol=1e-5)


def test_mmd_and_p_value_against_all_splits():
    """Breaks if the estimate or the permutations are wrong: 4 + 4 rows, all 70 splits listed, sums written out."""
    rng = np.random.default_rng(1)
    window, reference = unit(rng.normal(size=(4, 3)) + np.array([1.0, 0, 0])), unit(rng.normal(size=(4, 3)))
    kernel = gaussian_kernel(np.concatenate([window, reference]))

    def mmd(ours: tuple[int, ...]) -> float:
        theirs = tuple(i for i in range(8) if i not in ours)
        within = sum(kernel[i, j] for i in ours for j in ours if i != j) / 12
        rest = sum(kernel[i, j] for i in theirs for j in theirs if i != j) / 12
        return within + rest - 2 * sum(kernel[i, j] for i in ours for j in theirs) / 16

    result = mmd_test(window, reference, most=20_000, seed=0)
    assert result.mmd == pytest.approx(mmd((0, 1, 2, 3)))
    every = [mmd(ours) for ours in itertools.combinations(range(8), 4)]
    exact = np.mean([value >= result.mmd - 1e-9 for value in every])
    # Stops after 20 draws as extreme: a standard deviation of about 22 % of the value.
    assert result.p_value == pytest.approx(exact, rel=0.7)


def test_valid_without_change_and_sees_what_the_histogram_can_not(world):
    """Breaks if the level is not kept, or if a shift that leaves all counts as they were stays unseen."""
    rng = np.random.default_rng(2)
    reference = world.draw(150, rng)
    p_values = [mmd_test(world.draw(100, rng), world.draw(150, rng), most=200, seed=i).p_value for i in range(120)]
    # 6 expected at 5 %, standard deviation 2.4
    assert sum(p <= 0.05 for p in p_values) <= 15
    window = world.draw(150, rng)
    shifted = unit(window + 0.05 * np.eye(window.shape[1])[0].astype(np.float32) * np.sqrt(window.shape[1]))
    np.testing.assert_array_equal(world.space.assign_transformed(window), world.space.assign_transformed(shifted))
    assert mmd_test(shifted, reference, most=400, seed=0).p_value <= 0.005


def test_repeated_prompts_do_not_divide_by_zero():
    """Breaks if more than half of the pairs are equal rows and the median distance is 0."""
    row = unit(np.ones((1, 4)))
    assert mmd_test(np.repeat(row, 30, axis=0), np.repeat(row, 30, axis=0), most=100, seed=0).p_value == 1.0


@pytest.mark.parametrize("sizes", [[1000], [7] * 142 + [6], [99, 1, 250, 400, 250]])
def test_sample_is_every_third_vector_of_the_last_whole_window(sizes):
    """Breaks if the sample depends on how the stream is cut into batches."""
    rows = np.arange(1000, dtype=np.float32)[:, None]
    sample = VectorSample(100, 40)
    start, last = 0, None
    for size in sizes:
        before = start // 100
        found = sample.add(rows[start : start + size])
        start += size
        assert (found is not None) == (start // 100 > before)
        if found is not None:
            end = start // 100 * 100
            np.testing.assert_array_equal(found, rows[end - 100 : end : 3])
            last = end
    assert last == 1000
