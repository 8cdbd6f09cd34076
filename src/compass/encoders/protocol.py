"""The seam between texts and vectors."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from compass.errors import EncoderError

FloatArray = npt.NDArray[np.float32]


class Encoder(Protocol):
    """Turns texts into unit vectors. Any object with these three members is one."""

    @property
    def name(self) -> str:
        """Everything but the revision that decides the vectors: the model, and the prompt put before each text."""
        ...

    @property
    def revision(self) -> str:
        """The exact version of the weights. Name and revision together are the encoder's identity in the cache."""
        ...

    def encode(self, texts: Sequence[str]) -> FloatArray:
        """Return (n, d) float32 rows of length 1, in the order of `texts`; the same text gives the same row."""
        ...


def clean_text(text: str) -> str:
    """Return `text` as every encoder can take it: NFC, no NUL, no lone surrogates.

    Surrogate pairs that were decoded one half at a time become the character they stand for; a half without its partner
    becomes U+FFFD; NUL becomes a space, because C code ends a text there.
    """
    try:
        # Only surrogates fail; a look at each character would take far longer.
        text.encode()
    except UnicodeEncodeError:
        text = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return unicodedata.normalize("NFC", text.replace("\0", " "))


def unit_rows(vectors: npt.ArrayLike, n: int, encoder: str) -> FloatArray:
    """Check what an encoder gave for `n` texts and scale each row to length 1. Returns (n, d) float32.

    Raises EncoderError if the shape is not (n, d) or a row is not finite or all zeros.
    """
    rows = np.asarray(vectors, dtype=np.float32)
    if rows.ndim != 2 or rows.shape[0] != n:
        raise EncoderError(
            f"Encoder {encoder!r} must return one row per text, ({n}, d); it returned shape {rows.shape}."
        )
    # float64, so that the length is exact even where squares would overflow float32
    lengths = np.linalg.norm(rows.astype(np.float64), axis=1, keepdims=True)
    bad = np.flatnonzero(~np.isfinite(lengths[:, 0]) | (lengths[:, 0] == 0.0))
    if bad.size:
        raise EncoderError(
            f"Encoder {encoder!r} returned {bad.size} rows of {n} that are not finite or are all zeros "
            f"(the first: row {int(bad[0])} of its batch). Check the model's precision (dtype) and that text."
        )
    unit: FloatArray = (rows / lengths).astype(np.float32)
    return unit
