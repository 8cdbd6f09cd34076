"""Vectors that stay in their file."""

import numpy as np
import pytest

from compass.encoders.stored import StoredVectors
from compass.errors import EncoderError


@pytest.mark.parametrize("dtype", ["<f4", "<f2"])
def test_rows_are_those_of_the_file_in_the_order_asked_for(tmp_path, dtype):
    """Slices, numbers in any order, a mask, one row, and rows in an order of their own."""
    rows = np.random.default_rng(0).standard_normal((50, 6)).astype(dtype)
    rows.tofile(tmp_path / "v")
    stored = StoredVectors(tmp_path / "v", 6, dtype=dtype)
    assert stored.shape == (50, 6)
    assert len(stored) == 50
    places = np.array([3, 4, 5, 1, 49, 49])
    mask = np.arange(50) % 2 == 0
    for asked in (slice(None), slice(4, 9), slice(0, 0), slice(2, 30, 7), places, mask, 7):
        np.testing.assert_array_equal(stored[asked], rows[asked].astype(np.float32))
    order = np.random.default_rng(1).permutation(50)[:20]
    part = StoredVectors(tmp_path / "v", 6, rows=order, dtype=dtype)
    np.testing.assert_array_equal(part[3:8], rows[order[3:8]].astype(np.float32))
    np.testing.assert_array_equal(part[np.array([2, 2])], rows[order[[2, 2]]].astype(np.float32))


def test_a_file_that_is_cut_while_it_is_read_is_an_error(tmp_path):
    """Zeros in place of vectors would be picked by."""
    np.zeros((10, 4), dtype=np.float32).tofile(tmp_path / "v")
    stored = StoredVectors(tmp_path / "v", 4)
    with (tmp_path / "v").open("r+b") as file:
        file.truncate(80)
    with pytest.raises(EncoderError, match="shorter than it was"):
        stored[:]
