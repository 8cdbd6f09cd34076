"""Candidates that are made by hand: topics are axes, so that what is near and what is missing is known."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from compass.selection import Candidates

TOPICS = 5


@pytest.fixture(scope="session")
def make_candidates() -> Callable[..., Candidates]:
    """Return a function that makes candidates from topic counts; the cluster of a row is its topic."""

    def make(
        usage: Sequence[int],
        current: Sequence[int],
        pool: Sequence[int],
        *,
        languages: Sequence[str] = ("en", "de", "th", "ru"),
        costs: Sequence[int] | None = None,
        noise: float = 0.25,
        seed: int = 0,
    ) -> Candidates:
        rng = np.random.default_rng(seed)

        def rows(counts: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
            topics = np.repeat(np.arange(len(counts)), counts).astype(np.int64)
            x = np.eye(12)[topics] + noise * rng.normal(size=(len(topics), 12))
            return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32), topics

        (e, ke), (d, kd), (a, ka) = rows(usage), rows(current), rows(pool)
        return Candidates(
            usage=e,
            current=d,
            pool=a,
            usage_clusters=ke,
            current_clusters=kd,
            pool_clusters=ka,
            n_clusters=len(pool),
            pool_languages=tuple(languages[i % len(languages)] for i in range(len(a))),
            pool_costs=np.ones(len(a), dtype=np.int64) if costs is None else np.asarray(costs, dtype=np.int64),
            target_language="cy",
        )

    return make
