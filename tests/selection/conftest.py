"""Candidates that are made by hand: topics are axes, so that what is near and what is missing is known."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from compass.selection import Candidates, Features, Gradients, ModelVectors, Ngrams, TransferResult, Typology
from compass.selection.strategies.langrank import FEATURES
from compass.semantic.arrays import row_keys

TOPICS = 5


def make_features(usage: np.ndarray, pool: np.ndarray, languages: Sequence[str]) -> Features:
    """Return features that go by the vectors and the languages' names, so that every strategy has something to rank."""
    near = {language: round((sum(map(ord, language)) % 97) / 97, 3) for language in (*languages, *"abcd")}
    return Features(
        ngrams=Ngrams(csr_matrix(np.rint(3 * np.abs(usage))), csr_matrix(np.rint(3 * np.abs(pool)))),
        model_vectors=ModelVectors(usage[:, ::-1].copy(), pool[:, ::-1].copy()),
        gradients=Gradients(usage[-3:], np.arange(len(usage))[-3:], pool),
        typology=Typology({language: {"genetic": near[language]} for language in languages}, frozenset(languages)),
        text_statistics={language: {"word_overlap": 1 - near[language]} for language in languages},
        transfer_results=tuple(
            TransferResult(target, source, -near[source], dict.fromkeys(FEATURES, near[source]))
            for target in "abcd"
            for source in near
            if source != target
        ),
        given=np.argsort(row_keys(pool, 0), kind="stable").astype(np.int64),
    )


def reordered(candidates: Candidates, order: np.ndarray) -> Candidates:
    """Return the same candidates with the pool's rows in another order (or a part of them)."""
    features = candidates.features
    places = {row: place for place, row in enumerate(order.tolist())}
    return dataclasses.replace(
        candidates,
        pool=candidates.pool[order],
        pool_clusters=candidates.pool_clusters[order],
        pool_languages=tuple(candidates.pool_languages[i] for i in order),
        pool_costs=candidates.pool_costs[order],
        pool_classes=None if candidates.pool_classes is None else candidates.pool_classes[order],
        features=dataclasses.replace(
            features,
            ngrams=Ngrams(features.ngrams.usage, features.ngrams.pool[order]),
            model_vectors=ModelVectors(features.model_vectors.usage, features.model_vectors.pool[order]),
            gradients=dataclasses.replace(features.gradients, pool=features.gradients.pool[order]),
            given=np.array([places[row] for row in features.given.tolist() if row in places], dtype=np.int64),
        ),
    )


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
        pool_languages = tuple(languages[i % len(languages)] for i in range(len(a)))
        return Candidates(
            usage=e,
            train=d,
            pool=a,
            usage_clusters=ke,
            train_clusters=kd,
            pool_clusters=ka,
            n_clusters=len(pool),
            pool_languages=pool_languages,
            pool_costs=np.ones(len(a), dtype=np.int64) if costs is None else np.asarray(costs, dtype=np.int64),
            target_language="cy",
            unit="examples" if costs is None else "tokens",
            features=make_features(e, a, sorted(set(pool_languages))),
        )

    return make


@pytest.fixture(scope="session")
def reorder() -> Callable[[Candidates, np.ndarray], Candidates]:
    """Return the function that puts the pool into another order."""
    return reordered
