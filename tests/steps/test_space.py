"""From texts to vectors."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from compass.data.example import Example
from compass.encoders import CachedEncoder
from compass.encoders.stored import StoredVectors
from compass.errors import EncoderError
from compass.steps import space
from compass.steps.space import embed


def encoder(vector: Any) -> Any:
    return SimpleNamespace(
        name="broken", encode=lambda texts: np.array([vector(text) for text in texts], np.float32).reshape(-1, 2)
    )


def data(*texts: str) -> Any:
    rows = [Example(str(i), text) for i, text in enumerate(texts)]
    return SimpleNamespace(usage=rows[:1], train=[], pool=rows[1:])


def test_an_encoder_that_tells_nothing_apart_is_refused() -> None:
    """Clusters, gap and picks would be made of rounding errors, and the map would crash the process."""
    with pytest.raises(EncoderError, match="broken gives the same vector for all of 3 different texts"):
        embed(encoder(lambda _text: (0.6, 0.8)), data("a", "b", "c"))


def test_one_text_has_one_vector() -> None:
    embed(encoder(lambda _text: (0.6, 0.8)), data("a", "a"))
    embed(encoder(lambda text: (1.0, 0.0) if text == "a" else (0.0, 1.0)), data("a", "a", "b"))
    embed(encoder(lambda _text: (0.6, 0.8)), SimpleNamespace(usage=[], train=[], pool=[]))


def test_vectors_of_a_large_pool_stay_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pool larger than memory would else be read whole."""
    monkeypatch.setattr(space, "LARGE_POOL", 3)
    rng = np.random.default_rng(0)
    inner = SimpleNamespace(name="random", revision="1", encode=lambda texts: rng.standard_normal((len(texts), 4)))
    cached = CachedEncoder(inner, tmp_path)
    rows = data("u", "a", "b", "a")
    vectors = embed(cached, rows)
    assert isinstance(vectors.pool, StoredVectors)
    np.testing.assert_array_equal(vectors.pool[:], cached.encode([row.prompt for row in rows.pool]))
    assert isinstance(embed(cached, data("u", "a")).pool, np.ndarray)
