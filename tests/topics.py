"""Prompts of a few topics, and an encoder that knows them and costs nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

TOPICS = ("lights", "timers", "music", "doors", "news", "vacuum")
STEADY, MOVED = [0.3, 0.25, 0.2, 0.15, 0.1, 0.0], [0.1, 0.1, 0.1, 0.1, 0.1, 0.5]
"""Shares of the topics in prompts, before and after a drift."""


class TopicEncoder:
    """A text's first word is its topic; the rest makes it a little different."""

    name, revision = "topics", "1"

    def encode(self, texts: Sequence[str]) -> Any:
        rows = np.zeros((len(texts), 16), dtype=np.float32)
        for i, text in enumerate(texts):
            noise = np.random.default_rng([ord(c) for c in text]).normal(size=16)
            rows[i] = 4 * np.eye(16)[TOPICS.index(text.split()[0])] + 0.5 * noise
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def prompts(n: int, mix: Sequence[float], seed: int) -> list[str]:
    """Draw prompts whose topics have these shares."""
    rng = np.random.default_rng(seed)
    return [f"{TOPICS[k]} {seed}-{i}" for i, k in enumerate(rng.choice(len(TOPICS), n, p=mix))]
