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
    labels = rng.integers(0, 5, 2000)
    window = BlockWindow(5, block=30, blocks=4)
    start = filled = 0
    while start < 2000:
        batch = labels[start : start + int(rng.integers(0, 90))]
        for span in window.spans(len(batch)):
            if not window.add(batch[span]):
                continue
            end = window.prompts
            assert end % 30 == 0
            filled += 1
            assert window.number == filled
            if end < 120:
                assert window.counts is None
            else:
                np.testing.assert_array_equal(window.counts, np.bincount(labels[end - 120 : end], minlength=5))
        start += len(batch)
        stored = json.loads(json.dumps(window.to_dict()))
        window = BlockWindow(5, block=30, blocks=4)
        window.restore(stored)
    assert window.prompts == 2000
    assert filled == 66


def test_spans_end_where_blocks_do():
    """Breaks if a block is filled within a span: a test would miss a window."""
    window = BlockWindow(2, block=10, blocks=2)
    assert window.spans(0) == []
    assert window.spans(10) == [slice(0, 10)]
    assert window.spans(25) == [slice(0, 10), slice(10, 20), slice(20, 25)]
    window.add(np.zeros(4, dtype=np.int64))
    assert window.spans(7) == [slice(0, 6), slice(6, 7)]


def test_a_stored_window_of_another_shape_is_refused():
    """Breaks if counts of other clusters are taken for these."""
    stored = BlockWindow(5, block=10, blocks=2).to_dict()
    with pytest.raises(MonitorError, match="has 5 clusters"):
        BlockWindow(6, block=10, blocks=2).restore(stored)
