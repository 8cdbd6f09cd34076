"""Which usage prompts a person should answer first: weighted facility location over usage, greedily [ours].

    F(S) = Σ_u w_u · max_{x in S} nearness(u, x)        w_u = 1 − what training data and pool serve of u already

F is monotone and submodular (a sum of maxima with weights of at least 0), so each greedy list of n prompts reaches at
least 1 − 1/e, 63 %, of what the best n prompts would (Nemhauser, Wolsey and Fisher 1978). The list for n is the
beginning of the list for n + 1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from compass.selection.caps import DEFAULT_CAPS
from compass.selection.density import USAGE_NEIGHBOURS
from compass.semantic.arrays import FloatArray, IntArray, RealArray, StoredRows, nearest_rows, row_keys, unit_rows
from compass.semantic.blocks import walk

OWN_ROWS_FOR_A_NEED = 4
"""Training rows of the target language, all as near as usage rows are to each other, that serve a need in full
[ours]: in a first grid two rows of a function bring most of what six bring."""
PICKS_PER_OWN_ROW = 20
"""Pool rows that are worth one training row of the target language [ours]: in the same grid 24 picks bring 7 points on
the mean of two languages, and four own rows 23."""
PICKS_FOR_A_NEED = 24
"""Pool rows that count for a need, at most: the others of a large pool are never picked for it [ours]."""
SHARPNESS = 4
"""A row half as near as the level is worth 1/2 to this power of a row that reaches it [ours]."""
MOST_PROMPTS = 5000
"""Distinct prompts that are looked at; of more than these, a sample that only their content and the seed decide."""
LEAST_GAIN = 1e-6
"""Usage prompts that an answer must cover, at least."""


@dataclass(frozen=True, eq=False)
class ToLabel:
    """Usage rows for a person to answer, those that help most first."""

    rows: IntArray
    """(m,) rows of usage, m at most n."""
    stands_for: IntArray
    """(m,) usage prompts that are closer to it than to the others and are not served in full yet."""
    served: RealArray
    """(m,) what training data and pool serve of the row already, from 0 to 1."""
    coverage: RealArray
    """(m + 1,) share of what usage needs that is covered: by nothing new, by the first, by the first two, ..."""
    gains: RealArray
    """(m,) how many usage prompts more each row covers."""
    reasons: tuple[str, ...]
    """(m,) why each row was chosen, in plain words."""
    shortfall: int
    """Rows fewer than n: all others repeat a chosen or a training row, are not offered, or need nothing."""
    distinct: int
    """Distinct prompts of usage."""
    sampled: int
    """How many of them were looked at."""

    @property
    def worthwhile(self) -> int:
        """How many of the first rows cover at least one whole usage prompt more each: where one may stop."""
        less = np.flatnonzero(self.gains < 1.0)
        return int(less[0]) if len(less) else len(self.rows)


def choose_to_label(
    usage: FloatArray,
    train: FloatArray,
    pool: FloatArray,
    n: int,
    *,
    offered: npt.NDArray[np.bool_] | None = None,
    duplicate_similarity: float = DEFAULT_CAPS.duplicate_similarity,
    seed: int = 0,
) -> ToLabel:
    """Choose the usage rows whose answers cover most of what usage needs and training data and pool do not serve.

    usage: (n_U, d), train: (n_D, d), pool: (n_A, d) unit rows without language; the last two may be empty. offered:
    (n_U,) rows that may be chosen; None: all. A row this similar to a training row or a chosen one is not chosen.
    Equal rows count as often as they occur and are chosen once. The same seed gives the same rows in any order of
    usage. Raises ValueError for n below 1 or lengths that differ.
    """
    if n < 1:
        raise ValueError(f"n must be at least 1; got {n}.")
    may = np.ones(len(usage), dtype=bool) if offered is None else np.asarray(offered, dtype=bool)
    if len(may) != len(usage):
        raise ValueError(f"offered must have one value for each of the {len(usage)} usage rows; got {len(may)}.")
    distinct_rows, rows, counts, free = _distinct(usage, may, seed)
    distinct, zero = usage[rows], background(usage, pool if len(pool) else train)
    served = served_share(distinct, train, pool, zero)
    weights = counts * (1.0 - served)
    near = nearness(smoothed(distinct), smoothed(distinct), zero)
    if len(train) and len(rows):
        free &= (distinct @ train.T).max(axis=1) < duplicate_similarity

    chosen: list[int] = []
    gains: list[float] = []
    covered = np.zeros(len(rows))
    while len(chosen) < n and free.any():
        gain = np.where(free, weights @ np.maximum(near - covered[:, None], 0.0), -np.inf)
        best = int(np.argmax(gain))
        if gain[best] < LEAST_GAIN:
            break
        chosen.append(best)
        gains.append(float(gain[best]))
        covered = np.maximum(covered, near[:, best])
        free &= distinct @ distinct[best] < duplicate_similarity
        free[best] = False
    total = float(counts.sum()) or 1.0
    stands_for = _closest(near[:, chosen], counts * (weights > 0))
    return ToLabel(
        rows=rows[chosen],
        stands_for=stands_for,
        served=served[chosen],
        coverage=(float(counts @ served) + np.cumsum([0.0, *gains])) / total,
        gains=np.array(gains),
        reasons=tuple(map(_reason, stands_for.tolist(), served[chosen].tolist(), gains)),
        shortfall=n - len(chosen),
        distinct=distinct_rows,
        sampled=len(rows),
    )


def served_share(usage: FloatArray, train: FloatArray, pool: FloatArray, zero: float) -> RealArray:
    """Return what training data and pool serve of each usage row, (n_U,) from 0 to 1.

    The one place that says what an own row and a picked row are worth to a need. usage: (n_U, d) distinct rows, train:
    (n_D, d), pool: (n_A, d); zero: the cosine that counts as no nearness. A row that is as near as the usage row's own
    neighbours is worth a whole one, and one that is further off much less: it is often about another function.
    """
    if not len(usage):
        return np.empty(0)
    others = nearness(usage, usage, zero)
    np.fill_diagonal(others, 0.0)
    k = min(OWN_ROWS_FOR_A_NEED, max(1, len(usage) - 1))
    own_level = np.sort(others, axis=1)[:, -k:].mean(axis=1)
    # A prompt that is unlike all others would be served by rows that are as unlike it.
    level = np.maximum(own_level, np.median(own_level))
    own = _rows_as_near(usage, train, OWN_ROWS_FOR_A_NEED, zero, level)
    picks = _rows_as_near(usage, pool, PICKS_FOR_A_NEED, zero, level)
    return np.minimum((own + picks / PICKS_PER_OWN_ROW) / OWN_ROWS_FOR_A_NEED, 1.0)


def nearness(a: FloatArray, b: FloatArray, zero: float) -> RealArray:
    """Return cosines on a scale from 0, at `zero` and below, to 1. a: (n, d), b: (m, d). Returns (n, m)."""
    scaled: RealArray = np.clip((np.asarray(a @ b.T, dtype=np.float64) - zero) / (1.0 - zero), 0.0, 1.0)
    return scaled


def smoothed(usage: FloatArray) -> FloatArray:
    """Return each row averaged with its nearest rows, (n, d): a single prompt is a noisy sign of what is needed."""
    if not len(usage):
        return usage
    neighbours, _ = nearest_rows(usage, usage, USAGE_NEIGHBOURS)
    return unit_rows(usage + unit_rows(usage[neighbours].mean(axis=1)))


def background(usage: FloatArray, others: FloatArray | StoredRows) -> float:
    """Return the mean cosine between usage and other rows, which tells nothing, from 0 to 0.99; 0 without rows."""
    if not len(usage) or not len(others):
        return 0.0
    if isinstance(others, np.ndarray):
        mean = others.mean(axis=0, dtype=np.float64)
    else:
        mean = sum(walk(len(others), lambda block: others[block].sum(axis=0, dtype=np.float64))) / len(others)
    return float(np.clip(usage.mean(axis=0, dtype=np.float64) @ mean, 0.0, 0.99))


def _distinct(
    usage: FloatArray, offered: npt.NDArray[np.bool_], seed: int
) -> tuple[int, IntArray, RealArray, npt.NDArray[np.bool_]]:
    """Return how many distinct vectors there are, and of each (or a sample) a row, how often it occurs, if offered."""
    keys = row_keys(usage, seed)
    # Offered rows first, so that the first of equal ones is offered if any is.
    order = np.argsort(~offered, kind="stable")
    _, first, counts = np.unique(keys[order], return_index=True, return_counts=True)
    rows = order[first][:MOST_PROMPTS]
    return len(counts), rows, counts[:MOST_PROMPTS].astype(np.float64), offered[rows]


def _rows_as_near(usage: FloatArray, others: FloatArray, k: int, zero: float, level: RealArray) -> RealArray:
    """Return how many of the k nearest rows are as near to each usage row as its level, (n_U,); others in part."""
    if not len(others):
        return np.zeros(len(usage))
    cosines = nearest_rows(usage, others, k)[1].astype(np.float64)
    near = np.clip((cosines - zero) / (1.0 - zero), 0.0, 1.0)
    shares = np.clip(near / np.maximum(level, 1e-9)[:, None], 0.0, 1.0) ** SHARPNESS
    rows: RealArray = shares.sum(axis=1)
    return rows


def _closest(near: RealArray, counts: RealArray) -> IntArray:
    """Return how many prompts each chosen row is the closest to, (m,). near: (n, m); counts: (n,) prompts a row."""
    if not near.shape[1]:
        return np.empty(0, dtype=np.int64)
    has = near.max(axis=1, initial=0.0) > 0
    found = np.bincount(near.argmax(axis=1)[has], weights=counts[has], minlength=near.shape[1])
    return found.astype(np.int64)


def _reason(stands_for: int, served: float, gain: float) -> str:
    prompts = "1 usage prompt" if stands_for == 1 else f"{stands_for} usage prompts"
    return (
        f"stands for {prompts}; training data and pool serve {100 * served:.0f} % of what it needs; its answer covers "
        f"as much as {gain:.1f} prompts"
    )
