"""Array types and the few row-wise operations that the rooms share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from compass.errors import DataError

FloatArray = npt.NDArray[np.float32]
"""Vectors, one a row."""
IntArray = npt.NDArray[np.int64]
"""Cluster labels and counts."""
RealArray = npt.NDArray[np.float64]
"""Shares, scores and other computed quantities."""
UInt64s = npt.NDArray[np.uint64]
"""Hashes."""


class StoredRows(Protocol):
    """(n, d) float32 vectors that are read when they are asked for."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Rows and dimensions."""
        ...

    def __len__(self) -> int:
        """Return the number of rows."""
        ...

    def __getitem__(self, rows: Any) -> FloatArray:
        """Return the rows of a slice, of an array of numbers, or one row, as a new array."""
        ...


class HashedRows(StoredRows, Protocol):
    """Such rows that know their hashes."""

    def keys(self, seed: int) -> UInt64s:
        """Return `row_keys` of all rows."""
        ...


CHUNK_ROWS = 65_536
"""Rows that are held in memory at once where a whole pool is walked through."""
PRODUCT_CELLS = 16_000_000
"""Cosines that are held in memory at once: 64 MB."""


def row_chunks(n: int, size: int = CHUNK_ROWS) -> Iterator[slice]:
    """Yield slices that cover `n` rows in order, `size` at a time."""
    for start in range(0, n, size):
        yield slice(start, min(start + size, n))


def unit_rows(vectors: npt.ArrayLike) -> FloatArray:
    """Scale each row to length 1. vectors: (n, d). Returns (n, d) float32; a row of zeros stays zeros."""
    x = np.asarray(vectors, dtype=np.float32)
    norms = np.linalg.norm(x, axis=1, keepdims=True)
    scaled: FloatArray = np.divide(x, norms, out=np.zeros_like(x), where=norms > 0)
    return scaled


def check_vectors(name: str, vectors: npt.ArrayLike, dimensions: int | None = None, *, first: int = 0) -> FloatArray:
    """Return the vectors as (n, d) float32. Raises DataError if they are not 2-D, not finite, or not d-dimensional.

    first: number of their first row, for the message.
    """
    x = np.asarray(vectors, dtype=np.float32)
    if x.ndim != 2:
        raise DataError(f"{name} must be a 2-D array of vectors, one a row, got shape {x.shape}.")
    if dimensions is not None and x.shape[1] != dimensions:
        raise DataError(
            f"{name} have {x.shape[1]} dimensions, the space has {dimensions}. "
            "Encode them with the encoder that the space was fitted with."
        )
    for chunk in row_chunks(len(x)):
        finite = np.isfinite(x[chunk]).all(axis=1)
        if not finite.all():
            row = first + chunk.start + int(np.argmin(finite))
            raise DataError(
                f"{name}: row {row} holds NaN or infinity. Look at the text of that row and encode it again."
            )
    return x


def nearest_mean_similarity(queries: FloatArray, keys: FloatArray, k: int, *, exclude_self: bool = False) -> RealArray:
    """Return the mean cosine of each query to its k nearest keys. queries: (n, d), keys: (m, d) unit rows.

    Fewer than k keys: the mean over those there are; no key at all: zeros. With `exclude_self`, queries and keys are
    the same rows and a row does not count as its own neighbour. Walks the queries in chunks. Returns (n,).
    """
    out = np.zeros(len(queries), dtype=np.float64)
    available = len(keys) - int(exclude_self)
    if available <= 0:
        return out
    k = min(k, available)
    for chunk in row_chunks(len(queries), max(1, PRODUCT_CELLS // len(keys))):
        similarity = queries[chunk] @ keys.T
        if exclude_self:
            rows = np.arange(chunk.stop - chunk.start)
            similarity[rows, rows + chunk.start] = -np.inf
        best = similarity.max(axis=1, keepdims=True) if k == 1 else np.partition(similarity, -k, axis=1)[:, -k:]
        out[chunk] = best.mean(axis=1, dtype=np.float64)
    return out


def nearest_rows(
    queries: FloatArray, keys: FloatArray, k: int, *, bonus: Callable[[slice], RealArray] | None = None
) -> tuple[IntArray, FloatArray]:
    """Return the k nearest keys of each query by cosine, nearest first. queries: (n, d), keys: (m, d).

    bonus(chunk of keys): (chunk,) or (n, chunk), added to the cosines. Ties go to the lower index. Walks the keys in
    chunks, so that a pool of a million rows needs little memory. Returns indices (n, min(k, m)) and scores of the same
    shape.
    """
    best = Best(len(queries), min(k, len(keys)))
    for chunk in row_chunks(len(keys), best.chunk_rows):
        scores = queries @ keys[chunk].T
        if bonus is not None:
            scores += bonus(chunk).astype(np.float32)
        best.take(best.find(scores, chunk.start))
    return best.rows, best.scores


@dataclass(frozen=True, eq=False)
class Found:
    """Rows of a chunk that may be among the best: query `i` has those from `bounds[i]` to `bounds[i + 1]`."""

    bounds: IntArray
    rows: IntArray
    scores: FloatArray


class Best:
    """The k best rows of each of n queries so far, best first; ties go to the lower row."""

    def __init__(self, n: int, k: int) -> None:
        self.k = k
        self.rows: IntArray = np.empty((n, 0), dtype=np.int64)
        """(n, at most k) rows."""
        self.scores: FloatArray = np.empty((n, 0), dtype=np.float32)
        """Their scores."""

    @property
    def chunk_rows(self) -> int:
        """Rows to score at once."""
        return min(max(self.k, PRODUCT_CELLS // max(len(self.rows), 1), 1), max(self.k, CHUNK_ROWS))

    def find(self, scores: FloatArray, start: int) -> Found:
        """Return what of the scores of the rows from `start` on may be among the best. scores: (n, m)."""
        n, columns = scores.shape
        known = self.scores
        if known.shape[1] < self.k or not self.k:
            places = _largest(scores, self.k)
            bounds = np.arange(n + 1) * places.shape[1]
            return Found(bounds, (places + start).ravel(), np.take_along_axis(scores, places, axis=1).ravel())
        hits = np.flatnonzero(scores > known[:, -1:])
        bounds = np.searchsorted(hits, np.arange(n + 1) * columns)
        return Found(bounds, hits % columns + start, scores.ravel()[hits])

    def take(self, found: Found) -> None:
        """Take in what was found in a chunk; chunks come in ascending order."""
        filled = self.scores.shape[1] == self.k
        scores, rows = list(self.scores), list(self.rows)
        for query, (first, last) in enumerate(pairwise(found.bounds.tolist())):
            if first < last:
                values = np.concatenate([scores[query], found.scores[first:last]])
                places = np.concatenate([rows[query], found.rows[first:last]])
                order = np.argsort(-values, kind="stable")[: self.k]
                if filled:
                    self.scores[query], self.rows[query] = values[order], places[order]
                else:
                    scores[query], rows[query] = values[order], places[order]
        if not filled:
            self.scores, self.rows = np.array(scores), np.array(rows)


def _largest(scores: FloatArray, k: int) -> IntArray:
    """Return the places of the k largest of each row, largest first, ties by place; sorts nothing but those."""
    k = min(k, scores.shape[1])
    places = np.empty((len(scores), k), dtype=np.int64)
    least = np.partition(scores, -k, axis=1)[:, -k] if k else scores[:, :0]
    for row, values in enumerate(scores):
        enough = np.flatnonzero(values >= least[row])
        places[row] = enough[np.argsort(-values[enough], kind="stable")][:k]
    return places


def row_keys(vectors: FloatArray | HashedRows, seed: int) -> UInt64s:
    """Return a pseudo-random number for each row that depends on its content and the seed, not on its place.

    Multiply-shift hashing of the bits, mixed by the finaliser of splitmix64. Draws and ties that go by these numbers
    do not change when the pool comes in another order; equal rows get equal numbers. vectors: (n, d). Returns (n,).
    """
    if not isinstance(vectors, np.ndarray):
        return vectors.keys(seed)
    rng = np.random.default_rng(seed)
    factors = rng.integers(0, 2**63, size=vectors.shape[1], dtype=np.uint64) * np.uint64(2) + np.uint64(1)
    keys = np.empty(len(vectors), dtype=np.uint64)
    for chunk in row_chunks(len(vectors), 256):
        bits = np.ascontiguousarray(vectors[chunk], dtype=np.float32).view(np.uint32).astype(np.uint64)
        keys[chunk] = np.einsum("ij,j->i", bits, factors)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        keys = (keys ^ (keys >> np.uint64(shift))) * np.uint64(factor)
    return keys ^ (keys >> np.uint64(31))
