"""From texts to vectors."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from compass.data.example import Example
from compass.errors import EncoderError
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
