from __future__ import annotations

import os

import numpy as np
import pytest

from compass.drift import Reference
from compass.drift.incoming import Repeats
from compass.errors import DataError, MonitorError, RunError


def test_counts_distances_and_sample(world):
    """Breaks if rows are counted under another language or cluster: against the space's own labels."""
    rng = np.random.default_rng(0)
    vectors, languages = world.draw(400, rng), ["cy", "en"] * 190 + ["fr"] * 20
    reference = Reference.fit(world.space, vectors, languages, losses={"cy": [0, 1]}, seed=3)
    assert sorted(reference.languages) == ["cy", "en"]
    assert reference.mix == {"cy": 190, "en": 190, "fr": 20}
    welsh = vectors[:380:2]
    labels = world.space.assign(welsh, ["cy"] * 190)
    found = reference.languages["cy"]
    np.testing.assert_array_equal(found.counts, np.bincount(labels, minlength=world.space.n_clusters))
    distances = 1 - np.max(welsh @ world.space.centroids_.T, axis=1)
    np.testing.assert_allclose(found.distances, np.sort(distances), atol=1e-6)
    assert found.rows == len(found.vectors) == 190
    assert found.losses.tolist() == [0, 1]


def test_saved_references_are_the_same(world, tmp_path):
    """Breaks if anything is not saved bit for bit, or is readable by others: the file holds vectors of prompts."""
    reference = world.reference(losses={"cy": [0.5]})
    reference.save(tmp_path / "reference")
    assert os.stat(tmp_path / "reference" / "reference.safetensors").st_mode & 0o077 == 0
    loaded = Reference.load(tmp_path / "reference")
    assert loaded.identity == reference.identity
    np.testing.assert_array_equal(loaded.languages["cy"].vectors, reference.languages["cy"].vectors)
    assert world.reference(seed=2).identity != reference.identity


def test_broken_references_are_named(world, tmp_path):
    """Breaks if a user meets a library's error, or a reference is read with another space."""
    with pytest.raises(DataError, match="at least 30 rows"):
        world.reference(29)
    with pytest.raises(DataError, match="3 vectors and 1 languages"):
        Reference.fit(world.space, world.draw(3, np.random.default_rng(0)), ["cy"])
    with pytest.raises(RunError):
        Reference.load(tmp_path / "nowhere")
    world.reference().save(tmp_path)
    (tmp_path / "reference.safetensors").write_bytes(b"\x00" * 20)
    with pytest.raises(MonitorError, match="Make it again"):
        Reference.load(tmp_path)
    world.reference().save(tmp_path)
    saved = (tmp_path / "reference.safetensors").read_bytes()
    other = type(world.space)(**{**vars(world.space), "centroids_": world.space.centroids_[::-1].copy()})
    Reference.fit(other, world.draw(50, np.random.default_rng(0)), ["cy"] * 50).save(tmp_path)
    (tmp_path / "reference.safetensors").write_bytes(saved)
    with pytest.raises(MonitorError, match="made in another space"):
        Reference.load(tmp_path)


def test_what_a_user_repeats_counts_in_the_reference_as_it_does_in_the_monitor(world):
    """Breaks if a command that users give every day counts once in all: windows would have more of it for ever."""
    rng = np.random.default_rng(0)
    texts, users = [f"command {i}" for i in rng.integers(0, 10, 3000)], [f"user {i}" for i in rng.integers(0, 5, 3000)]
    tags = ["cy"] * 3000
    reference = Reference.fit(world.space, world.draw(3000, rng), tags, texts=texts, sessions=users, window=20)
    counted = Repeats(20, {}).kept(texts, tags, users)
    assert 1000 < reference.mix["cy"] == len(counted)
    assert Reference.fit(world.space, world.draw(3000, rng), tags, texts=texts, sessions=users).mix["cy"] == 50
