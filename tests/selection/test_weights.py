"""Tests of how often the data at hand is repeated."""

from __future__ import annotations

import numpy as np

from compass.selection.protocol import Candidates
from compass.selection.weights import CLOSER_THAN, repeats_by_usage


def _candidates(usage: np.ndarray, current: np.ndarray, pool: np.ndarray) -> Candidates:
    rows = [np.reshape(part, (-1, 2)).astype(np.float32) for part in (usage, current, pool)]
    return Candidates(
        *rows,
        *(np.zeros(len(part), dtype=np.int64) for part in rows),
        n_clusters=1,
        pool_languages=["en"] * len(rows[2]),
        pool_costs=np.ones(len(rows[2]), dtype=np.int64),
        target_language="cy",
    )


def test_each_usage_row_repeats_the_row_at_hand_nearest_to_it() -> None:
    """By hand: two usage rows point to the first row at hand, one to the second, none to the third."""
    usage = np.array([[1.0, 0.0], [0.98, 0.199], [0.0, 1.0]])
    current = np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])
    pool = np.array([[0.0, -1.0]])
    assert repeats_by_usage(_candidates(usage, current, pool), 3).tolist() == [7, 4, 1]
    assert repeats_by_usage(_candidates(usage, current, pool), 0).tolist() == [1, 1, 1]


def test_a_row_at_hand_that_many_pool_rows_beat_is_not_repeated() -> None:
    """Where the data at hand has no answer, repeating its least bad row would teach the wrong one."""
    usage, current = np.array([[1.0, 0.0]]), np.array([[0.6, 0.8]])
    beaten = np.tile([[1.0, 0.0]], (CLOSER_THAN, 1))
    assert repeats_by_usage(_candidates(usage, current, beaten), 3).tolist() == [1]
    assert repeats_by_usage(_candidates(usage, current, beaten[1:]), 3).tolist() == [4]


def test_without_data_at_hand_there_is_nothing_to_repeat() -> None:
    candidates = _candidates(np.array([[1.0, 0.0]]), np.zeros((0, 2)), np.array([[0.0, 1.0]]))
    assert repeats_by_usage(candidates, 3).tolist() == []
