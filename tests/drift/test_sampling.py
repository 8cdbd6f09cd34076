from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom

from compass.drift.sampling import VectorSample, sampling_ranks


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


def test_ranks_make_a_random_sample_whose_weight_doubles():
    """Breaks if the reservoir keeps the newest, or the oldest, alone: of pairs of prompts 100 places apart, with a half
    life of 100, the newer one wins two times in three; 20,000 pairs, the bound fails once in 10,000."""
    rng = np.random.default_rng(0)
    older, newer = sampling_ranks(20_000, 0, 100, rng), sampling_ranks(20_000, 100, 100, rng)
    wins = int((newer > older).sum())
    assert binom.ppf(5e-5, 20_000, 2 / 3) <= wins <= binom.ppf(1 - 5e-5, 20_000, 2 / 3)
