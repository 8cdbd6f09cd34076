"""A small world in which language and topic are known: x = topic + language offset + noise, unit rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pytest


@dataclass(frozen=True)
class World:
    vectors: npt.NDArray[np.float32]
    languages: list[str]
    topics: npt.NDArray[np.int64]


@pytest.fixture(scope="session")
def make_world() -> Callable[..., World]:
    """Return a function that draws a world; `mixes` gives each language its own topic shares."""

    def make(
        mixes: dict[str, list[float]], *, rows: int = 120, d: int = 24, noise: float = 0.12, seed: int = 0
    ) -> World:
        rng = np.random.default_rng(seed)
        n_topics = len(next(iter(mixes.values())))
        topics = rng.normal(size=(n_topics, d))
        topics /= np.linalg.norm(topics, axis=1, keepdims=True)
        blocks, tags, labels = [], [], []
        for tag, mix in mixes.items():
            offset = rng.normal(size=d)
            offset *= 1.5 / np.linalg.norm(offset)
            chosen = rng.choice(n_topics, size=rows, p=mix)
            blocks.append(topics[chosen] + offset + noise * rng.normal(size=(rows, d)))
            tags += [tag] * rows
            labels += chosen.tolist()
        x = np.concatenate(blocks)
        x /= np.linalg.norm(x, axis=1, keepdims=True)
        return World(x.astype(np.float32), tags, np.array(labels, dtype=np.int64))

    return make
