"""A first stage for large pools: a static embedding ranks all rows, and only the best go to the encoder [ours].

The encoder embeds usage, training data and a sample of the pool, to which the static embedding is fitted. Every usage
row then ranks the pool by the cosine of its own vector and the static ones, with language taken out of both, and a pool
row counts by its best rank: each usage row keeps as many of its nearest rows as there is room for, however crowded
its region is. The sample goes on as well, so that densities and clusters are not those of near rows alone.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence
from typing import Any

import numpy as np

from compass.encoders import Encoder
from compass.encoders.static import Pieces, StaticEmbedding
from compass.errors import RunError
from compass.runs import layout
from compass.runs.files import read_json, write_json
from compass.runs.folder import Run
from compass.semantic.arrays import FloatArray, IntArray, row_chunks
from compass.semantic.offsets import mean_offset, mean_offsets, remove_offsets, within_cluster_offsets
from compass.steps.resources import Resources
from compass.steps.state import RunData
from compass.steps.stored_data import data_hashes

logger = logging.getLogger(__name__)

SAMPLE = 4000
"""Rows of the pool that the static embedding is fitted to, drawn by the seed; at most half of those that go on."""
OFFSET_SAMPLE = 20_000
"""Rows of the pool that languages' offsets of static vectors are fitted on."""
BLOCK_ROWS = 8192
BINS = 4096
"""Steps of cosines by which rows are ranked: ranks are counted, and no cosine is kept."""


def keep_nearest(run: Run, resources: Resources, data: RunData) -> RunData:
    """Leave out the pool rows that are far from all usage, where the option asks for it; how many is logged and kept.

    Raises MissingExtraError without the packaged encoder, whose vocabulary it goes by.
    """
    n, file = resources.config.selection.prefilter, run.folder / layout.PREFILTER
    if not n or len(data.pool) <= n:
        file.unlink(missing_ok=True)
        return data
    encoder = resources.encoder
    inputs = {
        "data": data_hashes(run), "rows": len(data.pool), "prefilter": n, "seed": resources.config.run.seed,
        "encoder": [encoder.name, encoder.revision],
    }  # fmt: skip
    stored = stored_prefilter(run)
    if stored.get("inputs") == inputs:
        kept = np.array(stored["kept"], dtype=np.int64)
    else:
        kept = nearest_to_usage(encoder, data, n, seed=resources.config.run.seed)
        passed_over = len(data.pool) - len(kept)
        content = {"inputs": inputs, "rows": len(data.pool), "passed_over": passed_over, "kept": kept.tolist()}
        write_json(run.path(layout.PREFILTER), content)
    logger.info(
        "prefilter: %d of %d pool rows go on to the encoder, the others are passed over (%s)",
        len(kept), len(data.pool), layout.PREFILTER,
    )  # fmt: skip
    return _with(data, kept.tolist())


def keep_stored(run: Run, data: RunData) -> RunData:
    """Leave out what an earlier command passed over, of the same data; for a command that changes nothing."""
    stored = stored_prefilter(run)
    inputs = stored.get("inputs", {})
    same = inputs.get("data") == data_hashes(run) and inputs.get("rows") == len(data.pool)
    return _with(data, stored["kept"]) if same else data


def _with(data: RunData, kept: Sequence[int]) -> RunData:
    pool = tuple(data.pool[i] for i in kept)
    return dataclasses.replace(data, pool=pool, passed_over=len(data.pool) - len(pool))


def stored_prefilter(run: Run) -> dict[str, Any]:
    """Return what the first stage left in a run folder; empty where there was none, or it can't be read."""
    file = run.folder / layout.PREFILTER
    if not file.is_file():
        return {}
    try:
        stored = read_json(file, dict)
        places, rows = [int(i) for i in stored["kept"]], int(stored["rows"])
        whole = len(places) + int(stored["passed_over"]) == rows and all(0 <= i < rows for i in places)
    except (RunError, LookupError, TypeError, ValueError):
        whole = False
    if not whole:
        logger.warning("%s can't be read: the pool is ranked again", file)
        return {}
    return dict(stored)


def nearest_to_usage(encoder: Encoder, data: RunData, n: int, *, seed: int) -> IntArray:
    """Return the places of n pool rows, ascending: a sample, and those that static vectors find nearest to usage."""
    sample = np.sort(np.random.default_rng(seed).permutation(len(data.pool))[: min(SAMPLE, n // 2)])
    own = [*data.usage, *data.train, *(data.pool[i] for i in sample.tolist())]
    vectors, languages = encoder.encode([row.prompt for row in own]), [row.language for row in own]
    offsets = within_cluster_offsets(vectors, languages, seed=seed)
    usage = remove_offsets(vectors, languages, offsets, mean_offset(offsets))[: len(data.usage)]

    static = StaticEmbedding(encoder)
    pieces = static.pieces(row.prompt for row in data.pool)
    logger.info("prefilter: %d pieces of text distilled", static.distil(pieces))
    static.fit(pieces[sample], vectors[len(own) - len(sample) :])
    ranks, cosines = best_ranks(usage, _LanguageFree(static, pieces, [row.language for row in data.pool], seed))
    # The sample comes first. Ties go to the row that is nearer, and then to the earlier one.
    ranks[sample] = -1
    return np.sort(np.lexsort((-cosines, ranks))[:n])


def best_ranks(usage: FloatArray, rows: Any) -> tuple[IntArray, FloatArray]:
    """Return the best rank of each row among the rows by their cosine to any usage row, and its largest cosine.

    usage: (m, d) unit rows. rows: n unit rows, read by the block. Cosines count in steps of 2 / BINS. Returns (n,)
    each; rank 0 is the first.
    """
    counts = np.zeros((len(usage), BINS), dtype=np.int64)
    first = np.arange(len(usage), dtype=np.int64)[:, None] * BINS
    for block in row_chunks(len(rows), BLOCK_ROWS):
        places = (_bins(usage @ rows[block].T) + first).ravel()
        counts += np.bincount(places, minlength=counts.size).reshape(counts.shape)
    # How many rows lie in higher steps.
    above = counts[:, ::-1].cumsum(axis=1)[:, ::-1] - counts
    ranks, cosines = np.empty(len(rows), dtype=np.int64), np.empty(len(rows), dtype=np.float32)
    for block in row_chunks(len(rows), BLOCK_ROWS):
        found = usage @ rows[block].T
        ranks[block] = above.ravel()[_bins(found) + first].min(axis=0)
        cosines[block] = found.max(axis=0)
    return ranks, cosines


def _bins(cosines: FloatArray) -> IntArray:
    steps: IntArray = np.clip((cosines + 1.0) * (BINS / 2), 0, BINS - 1).astype(np.int64)
    return steps


class _LanguageFree:
    """Static vectors of the pool with language taken out, made as they are read."""

    def __init__(self, static: StaticEmbedding, pieces: Pieces, languages: Sequence[str], seed: int) -> None:
        self._static, self._pieces, self._languages = static, pieces, languages
        sample = np.sort(np.random.default_rng(seed).permutation(len(pieces))[:OFFSET_SAMPLE])
        self._offsets = mean_offsets(static.encode(pieces[sample]), [languages[i] for i in sample.tolist()])
        self._fallback = mean_offset(self._offsets)

    def __len__(self) -> int:
        return len(self._pieces)

    def __getitem__(self, rows: slice) -> FloatArray:
        vectors = self._static.encode(self._pieces[rows])
        return remove_offsets(vectors, self._languages[rows], self._offsets, self._fallback)
