"""A large pool that is looked over in blocks gives the picks of the whole computation."""

import dataclasses

import numpy as np
import pytest

from compass.encoders.stored import StoredVectors
from compass.selection import build_candidates, get_strategy, how_many, survey
from compass.selection.density import best_rows, pool_density, queries
from compass.selection.requests import covered, rows_for_gaps
from compass.selection.survey import Survey
from compass.semantic.arrays import unit_rows
from compass.semantic.space import SemanticSpace

N, D, TOPICS, LANGUAGES = 6000, 24, 30, ("cy", "de", "fr", "sw")


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Return rows around topics, in memory and on disk, and a space for them."""
    rng = np.random.default_rng(0)
    topics = unit_rows(rng.standard_normal((TOPICS, D)))

    def rows(which):
        return unit_rows(topics[which] + 0.15 * rng.standard_normal((len(which), D)))

    pool = rows(rng.integers(0, TOPICS, N))
    usage, train = rows(rng.integers(0, 6, 40)), rows(rng.integers(3, TOPICS, 200))
    path = tmp_path_factory.mktemp("vectors") / "pool.f32"
    pool.tofile(path)
    offsets = {tag: 0.05 * rng.standard_normal(D).astype(np.float32) for tag in LANGUAGES}
    space = SemanticSpace("mean", "kmeans", 0, topics, offsets, np.zeros(D, dtype=np.float32))
    classes = (rng.integers(0, 5, 200), rng.integers(0, 8, N))
    tags = [LANGUAGES[i] for i in rng.integers(0, len(LANGUAGES), N)]

    def candidates(stored, n=N):
        return build_candidates(
            space,
            usage=usage,
            train=train,
            pool=StoredVectors(path, D, rows=np.arange(n)) if stored else pool[:n],
            usage_languages=["cy"] * 40,
            train_languages=["cy"] * 200,
            pool_languages=tags[:n],
            target_language="cy",
            train_classes=classes[0],
            pool_classes=classes[1][:n],
            seed=0,
        )

    return candidates


def test_stored_rows_are_placed_as_those_in_memory(world):
    """A pool on disk would else be cut into other clusters."""
    stored, memory = world(True), world(False)
    np.testing.assert_array_equal(stored.pool[:], memory.pool)
    np.testing.assert_array_equal(stored.pool[np.array([7, 3, 3])], memory.pool[[7, 3, 3]])
    np.testing.assert_array_equal(stored.pool_clusters, memory.pool_clusters)


def test_auto_finds_the_same_budget_on_disk(world):
    """Breaks if a large pool has to be read whole for the budget, or its rows are read in another order."""
    memory, stored = (how_many(world(kind), get_strategy("compass"), 0) for kind in (False, True))
    assert (stored.budget, stored.rows) == (memory.budget, memory.rows)
    np.testing.assert_allclose(stored.covered, memory.covered, atol=1e-6)


@pytest.mark.parametrize("stored", [True, False])
def test_the_best_rows_are_those_of_the_whole_density(world, stored, monkeypatch):
    """Bounds that are no bounds would lose rows; few slack rows make the second look necessary."""
    monkeypatch.setattr(survey, "SLACK_ROWS", 0)
    monkeypatch.setattr(survey, "SLACK", 1.0)
    monkeypatch.setattr(survey, "AROUND_A_LANDMARK", 2)
    monkeypatch.setattr(survey, "LANDMARKS", 5)
    candidates = world(stored)
    seen, density = Survey(candidates, 0), pool_density(candidates, 0)
    query = queries(candidates, seen)
    np.testing.assert_allclose(query, queries(candidates, density), atol=1e-6)
    for among in (None, np.arange(0, N, 3)):
        rows, scores = best_rows(candidates, query, seen, 60, among=among)
        expected, exact = best_rows(candidates, query, density, 60, among=among)
        np.testing.assert_array_equal(rows, expected)
        np.testing.assert_allclose(scores, exact, atol=1e-6)
    np.testing.assert_allclose(covered(candidates, density=seen), covered(candidates))
    missing = np.full(TOPICS, 0.1)
    own, other = rows_for_gaps(candidates, missing, 50, seen), rows_for_gaps(candidates, missing, 50)
    assert [(r.row, r.usage_row) for r in own] == [(r.row, r.usage_row) for r in other]


@pytest.mark.parametrize("with_classes", [True, False])
@pytest.mark.parametrize("name", ["compass", "nearest", "tsds", "random"])
def test_every_path_to_a_large_pool_gives_the_same_picks(world, name, with_classes, monkeypatch):
    """Where a pool lies must not decide what is picked."""
    found = []
    for stored, large in ((False, N + 1), (False, 1), (True, 1)):
        monkeypatch.setattr(survey, "LARGE_POOL", large)
        candidates = world(stored)
        if not with_classes:
            candidates = dataclasses.replace(candidates, train_classes=None, pool_classes=None)
        found.append(get_strategy(name).select(candidates, 200, seed=0))
    for other in found[1:]:
        np.testing.assert_array_equal(other.indices, found[0].indices)
        assert [*other.reasons] == [*found[0].reasons]


@pytest.mark.parametrize("name", ["compass", "compass-paper", "crisp", "nearest", "topic-random", "tsds"])
def test_a_few_stored_rows_are_picked_from_as_rows_in_memory(world, name):
    """Breaks if a strategy takes a pool that lies on disk for an array, as the density of few rows did."""
    memory, stored = (get_strategy(name).select(world(kind, 300), 40, seed=0) for kind in (False, True))
    np.testing.assert_array_equal(stored.indices, memory.indices)
    np.testing.assert_allclose(stored.scores, memory.scores, atol=1e-6)


def test_rows_of_a_list_are_read_at_once(world, monkeypatch):
    """Breaks if stored vectors are read one by one for the check of near duplicates: it took a second for 10,000."""
    candidates, read = world(True), []
    whole = type(candidates.pool).__getitem__
    monkeypatch.setattr(type(candidates.pool), "__getitem__", lambda self, rows: read.append(1) or whole(self, rows))
    assert len(get_strategy("compass").select(candidates, 200, seed=0).indices) == 200
    assert len(read) < 150
