"""The scores of py3langid's model for many texts at once: its automaton walks over all of them side by side.

py3langid scores one text at a time, in Python, byte by byte. The arithmetic here is the same in numpy: the counts of
byte n-grams, damped by log(1 + n), times the table of their log-likelihoods (naive Bayes).
"""

from __future__ import annotations

import unicodedata
from array import array
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]
TEXTS_AT_ONCE = 2048
"""Texts that the automaton walks over side by side; those of like length are put together."""
FEW_TEXTS = 8
"""Up to so many are walked over one by one, which is faster then."""
FLOOR = float(np.finfo(np.float32).min)
"""The score of every language where a text has no n-gram that the model knows."""


def scores_by_column(texts: Sequence[str]) -> FloatArray:
    """Return the score of each text for each column of the model, (n, columns): its `labels` with aliases apart."""
    encoded = [_encoded(text) for text in texts]
    order = sorted(range(len(encoded)), key=lambda i: len(encoded[i]))
    out = np.empty((len(encoded), len(model().nb_classes)), dtype=np.float32)
    for start in range(0, len(order), TEXTS_AT_ONCE):
        part = order[start : start + TEXTS_AT_ONCE]
        out[part] = _scored([encoded[i] for i in part])
    return out


@lru_cache(maxsize=1)
def model() -> Any:
    """Return py3langid's model, which ships in its package."""
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE)


def _encoded(text: str) -> bytes:
    """Return a text as the model reads it."""
    return unicodedata.normalize("NFC", text.lower() if text.isupper() else text).encode("utf-8", "surrogatepass")


class _Automaton(NamedTuple):
    next_state: npt.NDArray[np.int64]
    row: npt.NDArray[np.int64]
    """Where the transitions of each state begin."""
    feature: npt.NDArray[np.int64]
    """The n-gram that ends in each state, -1 for none."""


class _Lists(NamedTuple):
    """The automaton as Python reads it fastest."""

    next_state: array[int]
    row: list[int]
    feature: list[int]


@lru_cache(maxsize=1)
def _lists() -> _Lists:
    known = model()
    return _Lists(known.tk_nextmove, [row << 8 for row in known.tk_row], known.tk_output)


@lru_cache(maxsize=1)
def _automaton() -> _Automaton:
    known = model()
    return _Automaton(
        np.asarray(known.tk_nextmove), np.asarray(known.tk_row, dtype=np.int64) << 8, np.asarray(known.tk_output)
    )


def _scored(texts: Sequence[bytes]) -> FloatArray:
    """Score texts in ascending order of length."""
    if len(texts) <= FEW_TEXTS:
        return np.array([_scored_alone(text) for text in texts], dtype=np.float32)
    rows, features = _visits(texts)
    known = model()
    out = np.full((len(texts), len(known.nb_classes)), FLOOR, dtype=np.float32)
    if not len(rows):
        return out
    from scipy.sparse import csr_array

    used, place = np.unique(features, return_inverse=True)
    pairs, times = np.unique(rows * len(used) + place, return_counts=True)
    row, column = np.divmod(pairs, len(used))
    damped = csr_array((np.log1p(times.astype(np.float32)), (row, column)), shape=(len(texts), len(used)))
    with_features = np.unique(row)
    scores = damped @ known.nb_ptc[used].astype(np.float32) + known.nb_pc
    out[with_features] = scores[with_features]
    return out


def _scored_alone(text: bytes) -> FloatArray:
    """Score one text: the same additions in the same order as among others, so that its scores are the same bits."""
    known, (next_state, row, feature) = model(), _lists()
    state, met = 0, []
    for letter in text:
        state = next_state[row[state] + letter]
        if feature[state] >= 0:
            met.append(feature[state])
    if not met:
        return np.full(len(known.nb_classes), FLOOR, dtype=np.float32)
    pairs = sorted(Counter(met).items())
    damped = np.log1p(np.array([times for _feature, times in pairs], dtype=np.float32))
    table = known.nb_ptc[[feature for feature, _times in pairs]].astype(np.float32)
    # Row by row, as a sparse matrix is multiplied; a product of matrices adds in another order.
    return np.add.reduce(damped[:, None] * table, axis=0) + known.nb_pc  # type: ignore[no-any-return]


def _visits(texts: Sequence[bytes]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Walk over texts in ascending order of length. Returns the text and the n-gram of each n-gram that is met."""
    automaton = _automaton()
    lengths = np.array([len(text) for text in texts])
    longest = int(lengths[-1]) if len(texts) else 0
    letters = np.frombuffer(b"".join(text.ljust(longest, b"\0") for text in texts), dtype=np.uint8)
    letters = np.ascontiguousarray(letters.reshape(len(texts), longest).T)
    state = np.zeros(len(texts), dtype=np.int64)
    first = np.searchsorted(lengths, np.arange(longest), side="right").tolist()
    rows, features = [], []
    for position, start in enumerate(first):
        now = automaton.next_state[automaton.row[state[start:]] + letters[position, start:]]
        state[start:] = now
        feature = automaton.feature[now]
        met = np.flatnonzero(feature >= 0)
        rows.append(met + start)
        features.append(feature[met])
    none = np.empty(0, dtype=np.int64)
    return np.concatenate([none, *rows]), np.concatenate([none, *features])
