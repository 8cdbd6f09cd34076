from __future__ import annotations

import dataclasses

import numpy as np

from compass.drift import explain
from compass.drift.explain import began
from compass.drift.wording import story


def test_a_drift_is_told_in_words():
    """Breaks if a reader is not told what changed, since when and how sure that is."""
    found = explain(
        np.array([50, 30, 20, 0]), np.array([10, 30, 22, 38]), names=["lights", "timers", "music", "vacuum"]
    )
    found = dataclasses.replace(found, began_prompts=300, began_at=1777636800.0)
    assert story(found, 0.0012) == [
        "more of vacuum (38 %, was 0 %) and music (22 %, was 20 %)",
        "less of lights (10 %, was 50 %)",
        "since about 300 prompts ago (2026-05-01 12:00 UTC)",
        "by chance alone in at most 1 of 833 checks",
    ]


def test_the_block_is_found_in_which_a_change_began():
    """Breaks if people look for its cause at the wrong time."""
    old, new = np.array([50, 40, 10]), np.array([20, 20, 60])
    assert began(20 * old, [old, old, old, new, new]) == 3
    assert began(20 * old, [new, new, new]) == 0
