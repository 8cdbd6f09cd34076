from __future__ import annotations

import numpy as np
from scipy.stats import binom

from compass.drift.reservoir import sampling_ranks


def test_ranks_make_a_random_sample_whose_weight_doubles():
    """Breaks if the reservoir keeps the newest, or the oldest, alone: of pairs of prompts 100 places apart, with a half
    life of 100, the newer one wins two times in three; 20,000 pairs, the bound fails once in 10,000."""
    rng = np.random.default_rng(0)
    older, newer = sampling_ranks(20_000, 0, 100, rng), sampling_ranks(20_000, 100, 100, rng)
    wins = int((newer > older).sum())
    assert binom.ppf(5e-5, 20_000, 2 / 3) <= wins <= binom.ppf(1 - 5e-5, 20_000, 2 / 3)
