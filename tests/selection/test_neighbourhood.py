"""Windows of near rows, against cases worked by hand."""

from __future__ import annotations

import dataclasses

import numpy as np

from compass.config import SelectionConfig
from compass.selection import get_strategy
from compass.selection.neighbourhood import WINDOW_DEPTH, shuffled_within, windows

OPTIONS = SelectionConfig()


def test_a_window_ends_by_rank_or_where_the_rows_are_about_something_else() -> None:
    """A usage row with few relevant rows would draw from what has nothing to do with it."""
    flat = np.linspace(0.9, 0.9 - WINDOW_DEPTH / 2, 100)
    steep = np.array([0.9, 0.88, 0.86, *np.linspace(0.5, 0.11, 97)])
    scores = np.stack([flat, steep, steep]).astype(np.float32)
    assert windows(np.array([2, 3, 4]), 20, scores).tolist() == [40, 3, 3 + 50]
    assert windows(np.array([200]), 20, scores[:1]).tolist() == [100]
    assert windows(np.array([2, 2, 2]), 1, scores).tolist() == [0, 0, 0]


def test_only_the_window_is_shuffled_and_scores_stay_with_their_rows() -> None:
    """Rows from beyond the window would be taken before nearer ones, or reported with another row's score."""
    rows = np.array([[4, 0, 3, 1, 2], [2, 1, 0, 4, 3]])
    scores = -np.arange(10, dtype=np.float32).reshape(2, 5)
    keys = np.array([50, 2**63 + 1, 7, 2**63, 9], dtype=np.uint64)
    assert shuffled_within(np.array([0, 0]), rows, scores, keys)[0].tolist() == rows.tolist()
    shuffled, moved = shuffled_within(np.array([5, 3]), rows, scores, keys)
    assert shuffled.tolist() == [[2, 4, 0, 3, 1], [2, 0, 1, 4, 3]]
    assert moved.tolist() == [[-4, 0, -1, -2, -3], [-5, -7, -6, -8, -9]]


def test_a_wider_window_gives_picks_that_are_less_alike(make_candidates) -> None:
    """The option would change nothing, or what the picks are about; and the seed would not decide what is drawn."""
    candidates = make_candidates([8, 0, 0, 0], [0, 6, 0, 0], [200, 200, 50, 50])
    alike, share = {}, {}
    for width in (1, 20):
        options = dataclasses.replace(OPTIONS, draw_window=width, language_cap=1.0)
        selection = get_strategy("compass").select(candidates, 24, seed=0, options=options)
        picks = candidates.pool[selection.indices]
        alike[width] = float(np.sort(picks @ picks.T, axis=1)[:, -2].mean())
        share[width] = float(np.mean(selection.clusters == 0))
    again = get_strategy("compass").select(candidates, 24, seed=1, options=options)
    assert again.indices.tolist() != selection.indices.tolist()
    assert alike[20] < alike[1]
    assert share[1] >= 0.9
    assert share[20] >= 0.9
