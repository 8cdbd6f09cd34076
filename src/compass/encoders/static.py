"""A static embedding of an encoder: one vector for each piece of text, and a text is the mean of its pieces.

Distilled as model2vec does it (github.com/MinishLab/model2vec): each piece of a vocabulary goes through the encoder by
itself, and frequent pieces weigh less (SIF, Arora et al. 2017). Unlike there, only pieces that occur are distilled, and
their vectors lie in the encoder's cache. Then the pieces are fitted to texts that the encoder has embedded, by ridge
regression [ours], so that static vectors lie in the encoder's own space and can be compared with its vectors.
The vocabulary is that of multilingual-e5-small, whatever the encoder; its scores are the pieces' log probabilities.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt

from compass.encoders.e5_file import read_e5
from compass.encoders.protocol import Encoder, FloatArray, clean_text

IntArray = npt.NDArray[np.int64]

SIF = 1e-3
"""A piece weighs SIF / (SIF + its probability)."""
FEWEST = 2
"""Times that a piece has to occur in the texts to be distilled: one that stands in a single text matches no other."""
RIDGE = 0.03
"""Weight of keeping to the distilled vectors against fitting the texts. From .005 to .3 little changes (LOG.md)."""
TEXTS_AT_ONCE = 16_384


@dataclass(frozen=True, eq=False)
class Pieces:
    """Texts as numbers of pieces: 4 bytes a piece."""

    ids: npt.NDArray[np.int32]
    """All pieces, one text after the other."""
    ends: IntArray
    """(n,) where each text ends."""

    def __len__(self) -> int:
        """Return the number of texts."""
        return len(self.ends)

    def __getitem__(self, texts: slice | IntArray) -> Pieces:
        """Return some of the texts. texts: a slice, or (m,) places."""
        places = range(*texts.indices(len(self))) if isinstance(texts, slice) else texts.tolist()
        parts = [self.ids[self.ends[i - 1] if i else 0 : self.ends[i]] for i in places]
        return _together(parts)


def _together(parts: Sequence[npt.NDArray[np.int32]]) -> Pieces:
    ends = np.cumsum([len(part) for part in parts], dtype=np.int64)
    return Pieces(np.concatenate([np.empty(0, dtype=np.int32), *parts]), ends)


class StaticEmbedding:
    """Vectors of pieces, distilled from an encoder for these texts."""

    def __init__(self, encoder: Encoder) -> None:
        """Load the vocabulary. encoder: one with a cache. Raises MissingExtraError without the packaged encoder."""
        self._encoder = encoder
        self._file = read_e5()
        self._tokenizer = self._file.tokenizer()
        self._table: FloatArray = np.zeros((len(self._file.pieces), 0), dtype=np.float32)
        self._known: FloatArray = np.zeros(len(self._table), dtype=np.float32)

    def pieces(self, texts: Iterable[str]) -> Pieces:
        """Cut texts into pieces."""
        found = []
        for part in _batched(texts, TEXTS_AT_ONCE):
            prepared = [self._file.normalise(clean_text(text)) for text in part]
            tokens = self._tokenizer.encode_batch_fast(prepared, add_special_tokens=False)
            found += [np.array(text.ids, dtype=np.int32) for text in tokens]
        return _together(found)

    def distil(self, *texts: Pieces) -> int:
        """Embed the pieces that occur in the texts, and return how many they are.

        Raises EncoderError as the encoder does.
        """
        counts = np.bincount(np.concatenate([part.ids for part in texts]), minlength=len(self._file.pieces))
        names = {int(i): self._file.pieces[i][0].replace("▁", " ").strip() for i in np.flatnonzero(counts >= FEWEST)}
        known = [i for i, name in names.items() if name and i != self._file.unknown]
        if known:
            vectors = self._encoder.encode([names[i] for i in known])
            probabilities = np.exp([self._file.pieces[i][1] for i in known], dtype=np.float32)
            weights = np.float32(SIF) / (np.float32(SIF) + probabilities)
            self._table = np.zeros((len(self._file.pieces), vectors.shape[1]), dtype=np.float32)
            self._table[known] = (vectors - vectors.mean(axis=0)) * weights[:, None]
        self._known = np.zeros(len(self._file.pieces), dtype=np.float32)
        self._known[known] = 1.0
        return len(known)

    def fit(self, texts: Pieces, vectors: FloatArray) -> None:
        """Move the pieces' vectors so that the means of texts come near the encoder's vectors. vectors: (n, d).

        The least squares, with a penalty on moves, over n texts: a system of n equations is solved.
        """
        means = self._means(texts)
        products = (means @ means.T).toarray()
        products[np.diag_indices(len(texts))] += RIDGE
        if not self._table.shape[1]:
            self._table = np.zeros((len(self._table), vectors.shape[1]), dtype=np.float32)
        off = vectors - vectors.mean(axis=0) - means @ self._table
        self._table += (means.T @ np.linalg.solve(products, off.astype(np.float64))).astype(np.float32)

    def encode(self, texts: Pieces) -> FloatArray:
        """Return (n, d) float32 unit rows; a text of which no piece is known is a row of zeros."""
        sums: FloatArray = self._means(texts) @ self._table
        lengths = np.linalg.norm(sums, axis=1, keepdims=True)
        rows: FloatArray = np.divide(sums, lengths, out=np.zeros_like(sums), where=lengths > 0)
        return rows

    def _means(self, texts: Pieces) -> Any:
        """Return what makes means of known pieces, a sparse (n, pieces)."""
        from scipy.sparse import csr_array

        starts = np.concatenate([[0], texts.ends])
        sums = np.concatenate([[0], np.cumsum(self._known[texts.ids], dtype=np.float64)])
        known = sums[starts[1:]] - sums[starts[:-1]]
        weights = self._known[texts.ids] / np.repeat(np.maximum(known, 1.0), np.diff(starts)).astype(np.float32)
        return csr_array((weights, texts.ids, starts), shape=(len(texts), len(self._table)))


def _batched(texts: Iterable[str], size: int) -> Iterator[list[str]]:
    """Yield lists of `size` texts, the last one shorter; itertools has it from Python 3.12 on."""
    rest = iter(texts)
    while part := list(islice(rest, size)):
        yield part
