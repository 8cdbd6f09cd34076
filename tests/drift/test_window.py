from __future__ import annotations

import json

import numpy as np
import pytest

from compass.drift.window import BlockWindow
from compass.errors import MonitorError


def test_counts_are_those_of_the_last_whole_blocks():
    """Breaks if a prompt is lost or counted twice when batches cut across blocks: against a count of the labels
    themselves after each block, with the window stored and read back at every batch."""
    rng = np.random.default_rng(0)
    labels, novel = rng.integers(0, 5, 2000), rng.random(2000) < 0.1
    window = BlockWindow(5, block=30, blocks=4)
    start = looks = 0
    while start < 2000:
        stop = start + int(rng.integers(0, 90))
        for full in window.add(labels[start:stop], novel[start:stop]):
            end = window.prompts
            assert end % 30 == 0
            assert full == (end >= 120)
            first = max(0, end - 120)
            np.testing.assert_array_equal(window.counts, np.bincount(labels[first:end], minlength=5))
            assert window.novel == novel[first:end].sum()
            looks += 1
            assert window.looks == looks
        start = min(stop, 2000)
        stored = json.loads(json.dumps(window.to_dict()))
        window = BlockWindow.from_dict(stored, 5, block=30, blocks=4)
    assert window.prompts == 2000
    assert looks == 66


def test_a_stored_window_of_another_shape_is_refused():
    """Breaks if counts of other clusters are taken for these."""
    stored = BlockWindow(5, block=10, blocks=2).to_dict()
    with pytest.raises(MonitorError, match="5 clusters"):
        BlockWindow.from_dict(stored, 6, block=10, blocks=2)
