"""A sliding window as histograms: whole blocks of prompts, of which the oldest falls out when a new one is full."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import numpy as np

from compass.errors import MonitorError
from compass.semantic.arrays import IntArray


class BlockWindow:
    """Counts of the last `blocks` full blocks and of the open one. Holds no prompt and no order within a block."""

    def __init__(self, categories: int, *, block: int, blocks: int) -> None:
        self.categories, self.block, self.blocks = categories, block, blocks
        self.prompts = 0
        """Prompts seen since the start."""
        self._full: deque[IntArray] = deque(maxlen=blocks)
        self._open: IntArray = np.zeros(categories, dtype=np.int64)

    def spans(self, n: int) -> list[slice]:
        """Cut the next n prompts where a block ends."""
        ends = [0, *range(self.block - self.prompts % self.block, n, self.block), n]
        return [slice(start, stop) for start, stop in pairwise(ends) if stop > start]

    def add(self, categories: IntArray) -> bool:
        """Count the prompts of a span; return whether they fill a block. categories: (n,) ints, n at least 1."""
        self._open += np.bincount(categories, minlength=self.categories)
        self.prompts += len(categories)
        if self.prompts % self.block:
            return False
        self._full.append(self._open)
        self._open = np.zeros(self.categories, dtype=np.int64)
        return True

    @property
    def number(self) -> int:
        """Blocks that were filled since the start."""
        return self.prompts // self.block

    @property
    def counts(self) -> IntArray | None:
        """(k,) counts of the full blocks; None before there are enough of them to compare."""
        return np.sum(self._full, axis=0) if len(self._full) == self.blocks else None

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dict. The second number of a block is for prompts far from every cluster: see novelty."""
        return {
            "prompts": self.prompts,
            "closed": [[counts.tolist(), 0] for counts in self._full],
            "open": [self._open.tolist(), 0],
        }

    def restore(self, stored: Mapping[str, Any]) -> None:
        """Read back what `to_dict` wrote. Raises MonitorError if it does not fit."""
        *full, last = (np.array(counts, dtype=np.int64) for counts, _ in [*stored["closed"], stored["open"]])
        if any(len(counts) != self.categories for counts in (*full, last)) or len(full) > self.blocks:
            raise MonitorError(
                f"The stored window has {len(last)} clusters and {len(full)} blocks of prompts; {self.categories} "
                f"clusters and at most {self.blocks} blocks are needed. Restart the monitor (--restart)."
            )
        self.prompts = int(stored["prompts"])
        self._full, self._open = deque(full, maxlen=self.blocks), last
