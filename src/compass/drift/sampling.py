"""Which vectors the second test sees, and which prompts are kept for the next update."""

from __future__ import annotations

import math

import numpy as np

from compass.semantic.arrays import FloatArray, RealArray


class VectorSample:
    """Evenly spaced vectors of the last whole window of a stream, in memory alone: vectors never reach the state.

    Which prompts are taken depends on their place in the stream only: the sample is as exchangeable as they are.
    """

    def __init__(self, window: int, rows: int) -> None:
        self.window = window
        self.stride = math.ceil(window / rows)
        self.prompts = 0
        """Prompts seen since the process started."""
        self._parts: list[FloatArray] = []

    def add(self, rows: FloatArray) -> FloatArray | None:
        """Take in rows in their order; return the sample of the last window if one or more were finished.

        rows: (n, d). Of several windows that are finished at once only the last is returned.
        """
        start, end = self.prompts, self.prompts + len(rows)
        boundary = end // self.window * self.window
        self.prompts = end
        if boundary <= start:
            self._parts.append(self._every(rows, start))
            return None
        first = max(start, boundary - self.window)
        sample = self._every(rows[first - start : boundary - start], first)
        if first == start:
            sample = np.concatenate([*self._parts, sample])
        self._parts = [self._every(rows[boundary - start :], boundary)]
        return sample

    def _every(self, rows: FloatArray, position: int) -> FloatArray:
        return rows[-(position % self.window) % self.stride :: self.stride].copy()


def sampling_ranks(n: int, position: int, half_life: int, rng: np.random.Generator) -> RealArray:
    """Return the ranks of n prompts that follow `position` earlier ones; a reservoir keeps the highest. Returns (n,).

    log weight plus Gumbel noise, which is weighted sampling without replacement in one pass (Efraimidis and Spirakis
    2006). A prompt's weight doubles every `half_life` prompts, so the reservoir is a random sample that follows the
    usage of late [ours].
    """
    growth = np.log(2.0) / half_life
    ranks: RealArray = growth * (position + np.arange(n)) + rng.gumbel(size=n)
    return ranks
