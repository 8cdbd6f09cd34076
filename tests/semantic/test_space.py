from __future__ import annotations

import json

import numpy as np
import pytest

from compass.errors import ConfigError, DataError, RunError
from compass.semantic import SemanticSpace
from compass.semantic import arrays as arrays_module

EVEN = [0.25, 0.25, 0.25, 0.25]


@pytest.fixture(scope="module")
def world(make_world):
    return make_world(dict.fromkeys(("cy", "en", "th"), EVEN))


@pytest.mark.parametrize("clustering", ["kmeans", "hdbscan"])
@pytest.mark.parametrize("removal", ["none", "mean", "within-cluster"])
def test_saved_spaces_assign_bit_for_bit(world, tmp_path, clustering, removal):
    """Breaks if anything that `assign` uses is not saved, or is saved in another precision."""
    options = {"language_removal": removal, "clustering": clustering}
    n_clusters = 6 if clustering == "kmeans" else 0
    space = SemanticSpace.fit(world.vectors, world.languages, n_clusters=n_clusters, seed=3, **options)
    space.save(tmp_path)
    loaded = SemanticSpace.load(tmp_path)
    assert (loaded.language_removal, loaded.clustering, loaded.seed) == (removal, clustering, 3)
    np.testing.assert_array_equal(loaded.centroids_, space.centroids_)
    languages = ["xx", "cy-GB", *world.languages[2:]]
    np.testing.assert_array_equal(loaded.transform(world.vectors, languages), space.transform(world.vectors, languages))
    np.testing.assert_array_equal(loaded.assign(world.vectors, languages), space.assign(world.vectors, languages))


def test_labels_at_fit_are_labels_ever_after(world):
    """Breaks if centroids are moved after the labels were made: each cluster of the fitted rows must be non-empty, and
    each row must have the centroid of highest cosine, found here by plain numpy."""
    space = SemanticSpace.fit(world.vectors, world.languages, n_clusters=7, seed=0)
    labels = space.assign(world.vectors, world.languages)
    offsets = np.stack([space.offsets_[tag] for tag in world.languages])
    free = world.vectors - offsets
    free /= np.linalg.norm(free, axis=1, keepdims=True)
    np.testing.assert_array_equal(labels, np.argmax(free @ space.centroids_.T, axis=1))
    assert set(labels) == set(range(space.n_clusters))


def test_hdbscan_gives_noise_to_the_nearest_centroid(world):
    """Breaks if HDBSCAN's -1 leaks out: every row, noise too, has a cluster in [0, K)."""
    rng = np.random.default_rng(0)
    stray = rng.normal(size=(20, world.vectors.shape[1])).astype(np.float32)
    x = np.concatenate([world.vectors, stray / np.linalg.norm(stray, axis=1, keepdims=True)])
    space = SemanticSpace.fit(x, [*world.languages, *["en"] * 20], clustering="hdbscan", seed=0)
    labels = space.assign(x, [*world.languages, *["en"] * 20])
    assert labels.min() == 0
    assert labels.max() == space.n_clusters - 1


def test_the_same_seed_gives_the_same_space(world):
    """Breaks if a random choice does not take the seed."""
    one, two = (SemanticSpace.fit(world.vectors, world.languages, seed=5) for _ in range(2))
    np.testing.assert_array_equal(one.centroids_, two.centroids_)


def test_chunks_do_not_change_the_result(world, monkeypatch):
    """Breaks if a chunk is dropped, repeated or put in another order; 360 rows in chunks of 7."""
    space = SemanticSpace.fit(world.vectors, world.languages, n_clusters=4, seed=0)
    whole = space.transform(world.vectors, world.languages)
    monkeypatch.setattr(arrays_module.row_chunks, "__defaults__", (7,))
    np.testing.assert_allclose(space.transform(world.vectors, world.languages), whole, atol=1e-6)
    assert list(arrays_module.row_chunks(15)) == [slice(0, 7), slice(7, 14), slice(14, 15)]


@pytest.mark.parametrize("rows", [1, 2, 20])
def test_tiny_samples_are_placed(world, rows):
    """Breaks if a usage sample of a few rows cannot be fitted at all."""
    space = SemanticSpace.fit(world.vectors[:rows], world.languages[:rows], seed=0)
    assert 1 <= space.n_clusters <= rows
    assert len(space.assign(world.vectors[:rows], world.languages[:rows])) == rows


def test_wrong_input_is_named(world, tmp_path):
    """Breaks if a user meets a numpy error instead of the rule, the value and the next step."""
    with pytest.raises(DataError, match="no row"):
        SemanticSpace.fit(world.vectors[:0], [], seed=0)
    with pytest.raises(DataError, match="360 vectors and 1 languages"):
        SemanticSpace.fit(world.vectors, ["cy"], seed=0)
    broken = world.vectors.copy()
    broken[5, 0] = np.nan
    with pytest.raises(DataError, match="row 5"):
        SemanticSpace.fit(broken, world.languages, seed=0)
    with pytest.raises(ConfigError, match="meen"):
        SemanticSpace.fit(world.vectors, world.languages, language_removal="meen", seed=0)
    space = SemanticSpace.fit(world.vectors, world.languages, n_clusters=2, seed=0)
    with pytest.raises(DataError, match="have 3 dimensions, the space has 24"):
        space.assign(np.ones((2, 3), dtype=np.float32), ["cy", "cy"])
    with pytest.raises(RunError, match=r"space\.json can.t be read as JSON"):
        SemanticSpace.load(tmp_path / "nowhere")
    space.save(tmp_path)
    meta = json.loads((tmp_path / "space.json").read_text())
    (tmp_path / "space.json").write_text(json.dumps(meta | {"format": 99}))
    with pytest.raises(RunError, match="format 99"):
        SemanticSpace.load(tmp_path)
