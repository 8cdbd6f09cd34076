"""Walks over blocks on several threads."""

import numpy as np
from threadpoolctl import threadpool_info, threadpool_limits

from compass.semantic.arrays import row_keys, unit_rows
from compass.semantic.blocks import LanguageFree, walk


def blas_threads() -> int:
    return max(pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas")


def test_blocks_come_in_order_whatever_the_threads() -> None:
    """Ties go to the lower row, so a block that overtakes another would change picks; each product has one thread."""
    for threads in (1, 2):
        with threadpool_limits(threads, "blas"):
            found = list(walk(100, lambda block: (block.start, block.stop, blas_threads()), size=30))
            assert blas_threads() == threads
        assert found == [(0, 30, 1), (30, 60, 1), (60, 90, 1), (90, 100, 1)]


def test_hashes_of_stored_rows_are_those_of_the_rows() -> None:
    """Draws go by them: a pool on disk would be drawn from otherwise."""
    rng = np.random.default_rng(0)
    rows = unit_rows(rng.standard_normal((50, 6)))
    free = LanguageFree(rows, ["a", "b"] * 25, {"a": rows[0], "b": rows[1]}, rows[2])
    np.testing.assert_array_equal(free.keys(3), row_keys(free[:], 3))
    free.nearest(rows[:4], seed=4)
    np.testing.assert_array_equal(free.keys(4), row_keys(free[:], 4))
    np.testing.assert_array_equal(free[7], free[:][7])
    np.testing.assert_array_equal(free[0], rows[0])  # nothing is left of a row that equals its offset
