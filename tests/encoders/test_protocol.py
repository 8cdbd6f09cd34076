"""What every encoder does to texts before and to vectors after."""

import unicodedata

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from compass.encoders.protocol import clean_text, unit_rows
from compass.errors import EncoderError


def test_composed_and_decomposed_are_one_text() -> None:
    """Breaks if NFC is dropped: Vietnamese in decomposed form then loses most of its meaning to the tokenizer."""
    decomposed = unicodedata.normalize("NFD", "bật đèn phòng khách")
    assert decomposed != "bật đèn phòng khách"
    assert clean_text(decomposed) == "bật đèn phòng khách"


def test_nul_becomes_a_space() -> None:
    """Breaks if a NUL gets through: the C engine would read nothing that comes after it."""
    assert clean_text("on\0off") == "on off"


def test_surrogates_are_repaired() -> None:
    """Breaks if halves of a pair are lost or lone halves reach an UTF-8 encoder, which raises."""
    assert clean_text("\ud83d\ude00!") == "\U0001f600!"
    assert clean_text("a\ud83d b\ude00") == "a\ufffd b\ufffd"


@given(st.text(alphabet=st.characters(exclude_categories=()), max_size=30))
def test_cleaned_text_can_always_be_encoded_and_stays(text: str) -> None:
    """Breaks if some character survives that UTF-8 or C cannot hold, or cleaning twice is not cleaning once."""
    cleaned = clean_text(text)
    assert b"\0" not in cleaned.encode("utf-8")
    assert clean_text(cleaned) == cleaned


def test_rows_get_length_one() -> None:
    """Breaks if a row is scaled by anything but its own length, or overflows on the way."""
    rows = unit_rows([[3.0, 4.0], [1e30, 0.0]], 2, "e")
    np.testing.assert_allclose(rows, [[0.6, 0.8], [1.0, 0.0]], atol=1e-7)
    assert rows.dtype == np.float32


@pytest.mark.parametrize(
    ("vectors", "message"),
    [
        ([[1.0, 0.0]], r"\(2, d\); it returned shape \(1, 2\)"),
        ([1.0, 0.0], r"shape \(2,\)"),
        ([[1.0, 0.0], [np.nan, 0.0]], "row 1"),
        ([[0.0, 0.0], [1.0, 0.0]], "row 0"),
    ],
)
def test_rows_that_are_not_vectors_are_refused(vectors: object, message: str) -> None:
    """Breaks if a wrong count, a NaN or a zero row gets into the cache, where it would stay."""
    with pytest.raises(EncoderError, match=message):
        unit_rows(vectors, 2, "e")  # type: ignore[arg-type]
