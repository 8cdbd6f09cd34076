"""The encoder that the folders of version 0.1 in `tests/fixtures/v0_1` were made with. It is never changed."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from typing import Any

import numpy as np

TOPICS = ("lights", "timers", "music", "doors", "news", "vacuum")


class StandIn:
    """A text's first word is its topic, the second one moves it by its language, the whole makes it a little different.

    All of it by hashes, so that a text has the same vector with every version of every library.
    """

    name, revision = "stand-in", "0.1"

    def encode(self, texts: Sequence[str]) -> Any:
        """Return (n, 16) unit rows."""
        rows = np.zeros((len(texts), 16), dtype=np.float32)
        for i, text in enumerate(texts):
            words = text.split()
            rows[i] = _spread(text) + 0.6 * _spread(words[1] if len(words) > 1 else "")
            rows[i, TOPICS.index(words[0])] += 4.0
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def _spread(text: str) -> Any:
    """Return 16 numbers between -1 and 1."""
    return np.frombuffer(blake2b(text.encode(), digest_size=16).digest(), dtype=np.uint8) / np.float32(127.5) - 1
