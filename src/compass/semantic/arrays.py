"""Array types and the few row-wise operations that the rooms share."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt

from compass.errors import DataError

FloatArray = npt.NDArray[np.float32]
"""Vectors, one a row."""
IntArray = npt.NDArray[np.int64]
"""Cluster labels and counts."""
RealArray = npt.NDArray[np.float64]
"""Shares, scores and other computed quantities."""

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


def check_vectors(name: str, vectors: npt.ArrayLike, dimensions: int | None = None) -> FloatArray:
    """Return the vectors as (n, d) float32. Raises DataError if they are not 2-D, not finite, or not d-dimensional."""
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
            row = chunk.start + int(np.argmin(finite))
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
        out[chunk] = np.partition(similarity, -k, axis=1)[:, -k:].mean(axis=1, dtype=np.float64)
    return out


def nearest_rows(
    queries: FloatArray, keys: FloatArray, k: int, *, bonus: Callable[[slice], RealArray] | None = None
) -> tuple[IntArray, FloatArray]:
    """Return the k nearest keys of each query by cosine, nearest first. queries: (n, d), keys: (m, d).

    bonus(chunk of keys): (chunk,) or (n, chunk), added to the cosines. Ties go to the lower index. Walks the keys in
    chunks, so that a pool of a million rows needs little memory. Returns indices (n, min(k, m)) and scores of the same
    shape.
    """
    k = min(k, len(keys))
    best = np.empty((len(queries), 0), dtype=np.float32)
    index = np.empty((len(queries), 0), dtype=np.int64)
    for chunk in row_chunks(len(keys), max(k, PRODUCT_CELLS // max(len(queries), 1), 1)):
        scores = queries @ keys[chunk].T
        if bonus is not None:
            scores += bonus(chunk).astype(np.float32)
        places = _largest(scores, k)
        scores = np.concatenate([best, np.take_along_axis(scores, places, axis=1)], axis=1)
        places = np.concatenate([index, places + chunk.start], axis=1)
        order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        best, index = np.take_along_axis(scores, order, axis=1), np.take_along_axis(places, order, axis=1)
    return index, best


def _largest(scores: FloatArray, k: int) -> IntArray:
    """Return the places of the k largest of each row, largest first, ties by place; sorts nothing but those."""
    k = min(k, scores.shape[1])
    places = np.empty((len(scores), k), dtype=np.int64)
    least = np.partition(scores, -k, axis=1)[:, -k] if k else scores[:, :0]
    for row, values in enumerate(scores):
        enough = np.flatnonzero(values >= least[row])
        places[row] = enough[np.argsort(-values[enough], kind="stable")][:k]
    return places


def row_keys(vectors: FloatArray, seed: int) -> npt.NDArray[np.uint64]:
    """Return a pseudo-random number for each row that depends on its content and the seed, not on its place.

    Multiply-shift hashing of the bits, mixed by the finaliser of splitmix64. Draws and ties that go by these numbers
    do not change when the pool comes in another order; equal rows get equal numbers. vectors: (n, d). Returns (n,).
    """
    rng = np.random.default_rng(seed)
    factors = rng.integers(0, 2**63, size=vectors.shape[1], dtype=np.uint64) * np.uint64(2) + np.uint64(1)
    keys = np.empty(len(vectors), dtype=np.uint64)
    for chunk in row_chunks(len(vectors), 8192):
        bits = np.ascontiguousarray(vectors[chunk], dtype=np.float32).view(np.uint32).astype(np.uint64)
        keys[chunk] = (bits * factors).sum(axis=1, dtype=np.uint64)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        keys = (keys ^ (keys >> np.uint64(shift))) * np.uint64(factor)
    return keys ^ (keys >> np.uint64(31))
