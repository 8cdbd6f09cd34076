"""How often each row of the data at hand is worth seeing, given what usage asks for."""

from __future__ import annotations

import numpy as np

from compass.selection.protocol import Candidates
from compass.semantic.arrays import IntArray

CLOSER_THAN = 10
"""A row at hand gets a usage row's vote only if at most this many pool rows lie nearer to that usage row [ours]."""
CHUNK = 256
"""Usage rows whose similarities to the pool are held at once."""


def repeats_by_usage(candidates: Candidates, times: int) -> IntArray:
    """Return how often each row of the data at hand is seen in an epoch: 1 + times · votes, (n_D,) ints [ours].

    Each usage row votes for the row at hand that lies nearest to it, if fewer than CLOSER_THAN pool rows lie nearer:
    what usage asks for and the data at hand answers at all is repeated, and where the data at hand has no answer
    nothing is. Without this a small model learns that the target language means the labels which the data at hand has
    most of (LOG.md). Ties go to the first row.
    """
    votes = np.zeros(len(candidates.current), dtype=np.int64)
    if not len(votes) or times == 0:
        return votes + 1
    for start in range(0, len(candidates.usage), CHUNK):
        usage = candidates.usage[start : start + CHUNK]
        similarity = usage @ candidates.current.T
        nearest = similarity.argmax(axis=1)
        best = similarity[np.arange(len(usage)), nearest]
        nearer = (usage @ candidates.pool.T > best[:, None]).sum(axis=1)
        np.add.at(votes, nearest[nearer < CLOSER_THAN], 1)
    return 1 + times * votes
