"""What training data and pool rows serve of usage: the one notion behind `compass label` and `--budget auto` [ours]."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from compass.semantic.arrays import FloatArray, IntArray, RealArray, StoredRows, nearest_rows, row_keys
from compass.semantic.blocks import walk

OWN_ROWS_FOR_A_NEED = 4
"""Training rows of the target language, all as near as usage rows are to each other, that serve a need in full
[ours]: in a grid of trainings two rows of a function bring two thirds of what six bring."""
PICKS_PER_OWN_ROW = 20
"""Pool rows that are worth one training row of the target language [ours]. In a grid of trainings it was 8, between 5
and 14, for picks that are all of the right class; with 8 `--budget auto` ends a fifth lower, where more did better."""
PICKS_FOR_A_NEED = 24
"""Pool rows that count for a need, at most: the others of a large pool are never picked for it [ours]."""
SHARPNESS = 4
"""A row half as near as the level is worth 1/2 to this power of a row that reaches it [ours]."""
MOST_PROMPTS = 5000
"""Distinct prompts that are looked at; of more than these, a sample that only their content and the seed decide."""


def served_share(usage: FloatArray, train: FloatArray, pool: FloatArray, zero: float) -> RealArray:
    """Return what training data and pool serve of each usage row, (n_U,) from 0 to 1.

    The one place that says what an own row and a picked row are worth to a need. usage: (n_U, d) distinct rows, train:
    (n_D, d), pool: (n_A, d); zero: the cosine that counts as no nearness. A row that is as near as the usage row's own
    neighbours is worth a whole one, and one that is further off much less: it is often about another function.
    """
    if not len(usage):
        return np.empty(0)
    level = levels(usage, zero)
    own = rows_as_near(usage, train, OWN_ROWS_FOR_A_NEED, zero, level)
    return served_by(own, rows_as_near(usage, pool, PICKS_FOR_A_NEED, zero, level))


def served_by(own: RealArray, picks: RealArray) -> RealArray:
    """Return what so many training rows and pool rows serve of a need, from 0 to 1. Arrays of one shape."""
    share: RealArray = np.minimum((own + picks / PICKS_PER_OWN_ROW) / OWN_ROWS_FOR_A_NEED, 1.0)
    return share


def levels(usage: FloatArray, zero: float) -> RealArray:
    """Return how near the usage rows closest to each one are to it, (n_U,). usage: (n_U, d), at least one row."""
    others = nearness(usage, usage, zero)
    np.fill_diagonal(others, 0.0)
    k = min(OWN_ROWS_FOR_A_NEED, max(1, len(usage) - 1))
    own_level = np.sort(others, axis=1)[:, -k:].mean(axis=1)
    # A prompt that is unlike all others would be served by rows that are as unlike it.
    level: RealArray = np.maximum(own_level, np.median(own_level))
    return level


def rows_as_near(usage: FloatArray, others: FloatArray, k: int, zero: float, level: RealArray) -> RealArray:
    """Return how many of the k nearest rows are as near to each usage row as its level, (n_U,); others in part."""
    if not len(others):
        return np.zeros(len(usage))
    rows: RealArray = as_near(nearest_rows(usage, others, k)[1], zero, level).sum(axis=1)
    return rows


def as_near(cosines: npt.ArrayLike, zero: float, level: RealArray) -> RealArray:
    """Return what part of a whole row each row is worth to each usage row. cosines: (n_U, m). Returns (n_U, m)."""
    near = np.clip((np.asarray(cosines, dtype=np.float64) - zero) / (1.0 - zero), 0.0, 1.0)
    parts: RealArray = np.clip(near / np.maximum(level, 1e-9)[:, None], 0.0, 1.0) ** SHARPNESS
    return parts


def nearness(a: FloatArray, b: FloatArray, zero: float) -> RealArray:
    """Return cosines on a scale from 0, at `zero` and below, to 1. a: (n, d), b: (m, d). Returns (n, m)."""
    scaled: RealArray = np.clip((np.asarray(a @ b.T, dtype=np.float64) - zero) / (1.0 - zero), 0.0, 1.0)
    return scaled


def background(usage: FloatArray, others: FloatArray | StoredRows) -> float:
    """Return the mean cosine between usage and other rows, which tells nothing, from 0 to 0.99; 0 without rows.

    usage: distinct rows, so that how often a prompt comes does not change what is near to another.
    """
    if not len(usage) or not len(others):
        return 0.0
    if isinstance(others, np.ndarray):
        mean = others.mean(axis=0, dtype=np.float64)
    else:
        mean = sum(walk(len(others), lambda block: others[block].sum(axis=0, dtype=np.float64))) / len(others)
    return float(np.clip(usage.mean(axis=0, dtype=np.float64) @ mean, 0.0, 0.99))


def distinct(
    usage: FloatArray, offered: npt.NDArray[np.bool_], seed: int
) -> tuple[int, IntArray, RealArray, npt.NDArray[np.bool_]]:
    """Return how many distinct vectors there are, and of each (or a sample) a row, how often it occurs, if offered."""
    keys = row_keys(usage, seed)
    # Offered rows first, so that the first of equal ones is offered if any is.
    order = np.argsort(~offered, kind="stable")
    _, first, counts = np.unique(keys[order], return_index=True, return_counts=True)
    rows = order[first][:MOST_PROMPTS]
    return len(counts), rows, counts[:MOST_PROMPTS].astype(np.float64), offered[rows]
