"""Removal of what a vector owes to its language rather than to its meaning.

Most multilingual encoders place a sentence by its language first. Subtracting each language's mean (the centring of
LIR, arXiv 2109.04727) helps, but a mean also carries the language's topic mix, and in COMPASS the mixes differ by
design. `within_cluster_offsets` therefore fits x = m_cluster + b_language and removes b alone. Both are our own
addition to the method [ours].
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

import numpy as np

from compass.semantic.arrays import FloatArray, IntArray, RealArray, row_chunks, unit_rows
from compass.semantic.kmeans import assign_nearest, spherical_kmeans

logger = logging.getLogger(__name__)

ROUNDS = 3
"""Times that the rows are clustered anew and the offsets re-estimated [ours]."""
SWEEPS = 10
"""Least-squares sweeps between cluster means and offsets within a round; the change is below 1e-3 by then."""
SHRINKAGE = 2.0
"""Pseudo-rows with which each language's offset is drawn to the mean offset, so that one row does not erase itself."""
ROWS_PER_CLUSTER = 25
"""Rows that one cluster should hold on average while offsets are estimated."""
VANISHED = 1e-6
"""Length below which nothing is left of a row."""
IN_CACHE_ROWS = 128
"""Rows of which all steps are done before the next ones are looked at."""
MAX_CLUSTERS = 60
"""Clusters, at most, while offsets are estimated: enough to separate topics, few enough to span languages."""


def mean_offsets(vectors: FloatArray, languages: Sequence[str]) -> dict[str, FloatArray]:
    """Return the mean vector of each language. vectors: (n, d); languages: n tags. Returns tag -> (d,)."""
    tags, index, counts = _index(languages)
    totals = _sums(vectors, index, len(tags))
    return _by_tag(tags, _shrunk(totals / counts[:, None], counts))


def within_cluster_offsets(
    vectors: FloatArray, languages: Sequence[str], *, seed: int, rounds: int = ROUNDS, n_clusters: int = 0
) -> dict[str, FloatArray]:
    """Fit x = m_cluster + b_language in alternation and return b [ours]. vectors: (n, d); languages: n tags.

    Starts from the plain means, clusters the residuals, solves the two-way model by least squares within these
    clusters, and repeats `rounds` times. The cluster means are kept centred over the rows, so that b carries what all
    rows share. n_clusters 0 takes one cluster for 25 rows, 60 at most. Returns tag -> (d,).
    """
    tags, index, counts = _index(languages)
    k = n_clusters or int(np.clip(len(vectors) // ROWS_PER_CLUSTER, 1, MAX_CLUSTERS))
    x = np.asarray(vectors, dtype=np.float64)
    language_means = _sums(vectors, index, len(tags)) / counts[:, None]
    offsets = _shrunk(language_means, counts)
    for turn in range(rounds):
        residuals = unit_rows(x - offsets[index])
        centroids = spherical_kmeans(residuals, k, seed=seed)
        labels = assign_nearest(residuals, centroids)
        # Rows enter the model only by the sums and counts of their (cluster, language) cell.
        cells = np.zeros((len(centroids), len(tags)))
        np.add.at(cells, (labels, index), 1.0)
        cluster_totals = _sums(vectors, labels, len(centroids))
        in_cluster = np.maximum(cells.sum(axis=1), 1.0)[:, None]
        before = offsets
        for _ in range(SWEEPS):
            means = (cluster_totals - cells @ offsets) / in_cluster
            means -= cells.sum(axis=1) @ means / len(x)
            offsets = _shrunk(language_means - (cells.T @ means) / counts[:, None], counts)
        change = float(np.linalg.norm(offsets - before, axis=1).max())
        logger.debug("offsets, round %d: largest change %.4f", turn + 1, change)
    return _by_tag(tags, offsets)


def mean_offset(offsets: Mapping[str, FloatArray]) -> FloatArray:
    """Return the mean of the languages' offsets, each language counting once. Returns (d,)."""
    table = np.stack([offsets[tag] for tag in sorted(offsets)])
    return np.asarray(table.mean(axis=0, dtype=np.float64), dtype=np.float32)


def offset_of(language: str, offsets: Mapping[str, FloatArray], fallback: FloatArray) -> FloatArray:
    """Return a language's offset. A tag that was not seen at fit time takes the offset of the first fitted tag, in
    alphabetical order, with the same primary subtag (`pt-BR` for `pt`), else `fallback`, the mean offset: what all
    languages share is removed, what is the new language's own stays. The rule looks at the tag alone, so that a row
    is placed the same whatever else is in its batch [ours]."""
    if language in offsets:
        return offsets[language]
    primary = language.split("-")[0]
    relatives = sorted(tag for tag in offsets if tag.split("-")[0] == primary)
    return offsets[relatives[0]] if relatives else fallback


def remove_offsets(
    vectors: FloatArray, languages: Sequence[str], offsets: Mapping[str, FloatArray], fallback: FloatArray
) -> FloatArray:
    """Subtract each row's language offset and scale to length 1. vectors: (n, d). Returns (n, d) float32.

    A row that equals its offset keeps its own direction: nothing is left of it otherwise.
    """
    tags, index, _ = _index(languages)
    if not tags:
        return np.empty(vectors.shape, dtype=np.float32)
    table = np.stack([offset_of(tag, offsets, fallback) for tag in tags])
    return without_offsets(vectors, index, table)


def without_offsets(vectors: FloatArray, index: IntArray, table: FloatArray) -> FloatArray:
    """Subtract the offset that each row's number stands for, as `remove_offsets`. index: (n,), table: (tags, d)."""
    out = np.empty(vectors.shape, dtype=np.float32)
    squares = np.empty((IN_CACHE_ROWS, vectors.shape[1]), dtype=np.float32)
    for chunk in row_chunks(len(vectors), IN_CACHE_ROWS):
        residuals = np.subtract(vectors[chunk], table[index[chunk]], out=out[chunk])
        norms = _norms(residuals, squares)
        if norms.min() < VANISHED:
            gone = norms[:, 0] < VANISHED
            residuals[gone] = vectors[chunk][gone]
            norms = _norms(residuals, squares)
            norms[norms == 0] = 1.0
        np.divide(residuals, norms, out=residuals)
    return out


def _norms(rows: FloatArray, squares: FloatArray) -> FloatArray:
    """Return the lengths of rows, (n, 1), as `np.linalg.norm` gives them. squares: room for their squares."""
    np.multiply(rows, rows, out=squares[: len(rows)])
    lengths: FloatArray = np.sqrt(np.add.reduce(squares[: len(rows)], axis=1, keepdims=True))
    return lengths


def _index(languages: Sequence[str]) -> tuple[list[str], IntArray, RealArray]:
    tags, index, counts = np.unique(np.asarray(languages, dtype=str), return_inverse=True, return_counts=True)
    return [str(tag) for tag in tags], index.astype(np.int64), counts.astype(np.float64)


def _sums(vectors: FloatArray, index: IntArray, n: int) -> RealArray:
    """Sum the rows of each group in double precision. Returns (n, d)."""
    from scipy.sparse import csr_array

    rows = len(vectors)
    totals = np.zeros((n, vectors.shape[1]))
    for chunk in row_chunks(rows):
        size = chunk.stop - chunk.start
        groups = csr_array((np.ones(size), (index[chunk], np.arange(size))), shape=(n, size))
        totals += groups @ vectors[chunk].astype(np.float64)
    return totals


def _shrunk(estimates: RealArray, counts: RealArray) -> RealArray:
    common = estimates.mean(axis=0)
    weight = (counts / (counts + SHRINKAGE))[:, None]
    shrunk: RealArray = weight * estimates + (1.0 - weight) * common
    return shrunk


def _by_tag(tags: Sequence[str], offsets: RealArray) -> dict[str, FloatArray]:
    return {tag: row.astype(np.float32) for tag, row in zip(tags, offsets, strict=True)}
