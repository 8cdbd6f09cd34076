"""Data selection with importance resampling over hashed n-grams (DSIR; Xie et al. 2023, arXiv 2302.03169).

Two bags of hashed n-grams, usage and pool, give each pool row a log importance weight; rows are drawn without
replacement in proportion to the weights (Gumbel top-k). Words are compared as they are spelt, so across languages only
what they share counts: names, numbers, loans, scripts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from compass.selection.audit import finish, take_in_order
from compass.selection.features import Ngrams, required
from compass.selection.protocol import Candidates, Selection
from compass.selection.round_robin import rank
from compass.semantic.arrays import RealArray, row_keys

SMOOTHING = 1e-8
"""Added to each bucket's probability, as in the authors' package `data-selection`."""


@dataclass(frozen=True)
class Dsir:
    """Draws in proportion to importance weights; no caps. The authors' filter of rows under 100 tokens is left out."""

    name: ClassVar[str] = "dsir"
    language_removal: ClassVar[str | None] = None
    needs: ClassVar[frozenset[str]] = frozenset({"ngrams"})

    def select(self, candidates: Candidates, budget: int, seed: int) -> Selection:
        """Pick rows of the pool that cost no more than `budget` together. The same seed gives the same rows."""
        weights = log_importance(required(candidates.features.ngrams, "ngrams", self.name))
        noisy = weights + gumbel(candidates, seed)
        indices = take_in_order(candidates, rank(candidates, noisy, seed), budget)
        reasons = [
            f"drawn by its words' importance (log weight {weights[row]:.1f}; the pool's mean {weights.mean():.1f})"
            for row in indices.tolist()
        ]
        return finish(self.name, candidates, budget, indices=indices, scores=weights[indices], reasons=reasons)


def log_importance(ngrams: Ngrams) -> RealArray:
    """Return log p(row | usage) - log p(row | pool) of each pool row under the two bags of n-grams. Returns (n_A,)."""
    usage, pool = (np.asarray(counts.sum(axis=0), dtype=np.float64).ravel() for counts in (ngrams.usage, ngrams.pool))
    p, q = usage / max(usage.sum(), 1.0), pool / max(pool.sum(), 1.0)
    change = np.log(p + SMOOTHING) - np.log(q + SMOOTHING)
    return np.asarray(ngrams.pool @ change, dtype=np.float64)


def gumbel(candidates: Candidates, seed: int) -> RealArray:
    """Return standard Gumbel noise of each pool row, which its content and the seed decide. Returns (n_A,).

    Rows of one content get noise of their own each, by how many there are.
    """
    keys = row_keys(candidates.pool, seed)
    order = np.argsort(keys, kind="stable")
    first = np.flatnonzero(np.diff(keys[order], prepend=~keys[order[:1]]))
    copy = np.empty(len(keys), dtype=np.uint64)
    copy[order] = np.arange(len(keys)) - np.repeat(first, np.diff(first, append=len(keys)))
    # The golden-ratio step of splitmix64 spreads the copies of a row evenly.
    uniform = ((keys + copy * np.uint64(0x9E3779B97F4A7C15)).astype(np.float64) + 0.5) / 2.0**64
    noise: RealArray = -np.log(-np.log(np.clip(uniform, 1e-300, 1.0 - 2.0**-53)))
    return noise
