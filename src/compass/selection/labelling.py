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
from compass.selection.coverage import background, distinct, nearness, served_share
from compass.selection.density import USAGE_NEIGHBOURS
from compass.semantic.arrays import FloatArray, IntArray, RealArray, nearest_rows, unit_rows

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
    n_distinct, rows, counts, free = distinct(usage, may, seed)
    prompts = usage[rows]
    zero = background(prompts, pool if len(pool) else train)
    served = served_share(prompts, train, pool, zero)
    weights = counts * (1.0 - served)
    near = nearness(smoothed(prompts), smoothed(prompts), zero)
    if len(train) and len(rows):
        free &= (prompts @ train.T).max(axis=1) < duplicate_similarity

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
        free &= prompts @ prompts[best] < duplicate_similarity
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
        distinct=n_distinct,
        sampled=len(rows),
    )


def smoothed(usage: FloatArray) -> FloatArray:
    """Return each row averaged with its nearest rows, (n, d): a single prompt is a noisy sign of what is needed."""
    if not len(usage):
        return usage
    neighbours, _ = nearest_rows(usage, usage, USAGE_NEIGHBOURS)
    return unit_rows(usage + unit_rows(usage[neighbours].mean(axis=1)))


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
