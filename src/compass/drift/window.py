"""A sliding window as histograms: whole blocks of prompts, of which the oldest falls out when a new one is full."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any

import numpy as np

from compass.errors import MonitorError
from compass.semantic.arrays import IntArray


class BlockWindow:
    """Counts of the last `blocks` full blocks and of the open one. Holds no prompt and no order within a block."""

    def __init__(self, n_clusters: int, *, block: int, blocks: int) -> None:
        self.n_clusters, self.block, self.blocks = n_clusters, block, blocks
        self.prompts = 0
        """Prompts seen since the start."""
        self._closed: deque[tuple[IntArray, int]] = deque(maxlen=blocks)
        self._open: IntArray = np.zeros(n_clusters, dtype=np.int64)
        self._open_novel = 0

    def add(self, clusters: IntArray, novel: Any) -> Iterator[bool]:
        """Count prompts in their order and stop after each block that fills up; yield whether the window is full then.

        clusters: (n,) ints; novel: (n,) booleans. The counts at that moment are `counts` and `novel`.
        """
        start = 0
        while start < len(clusters):
            stop = min(len(clusters), start + self.block - self.prompts % self.block)
            self._open += np.bincount(clusters[start:stop], minlength=self.n_clusters)
            self._open_novel += int(np.count_nonzero(novel[start:stop]))
            self.prompts += stop - start
            start = stop
            if self.prompts % self.block == 0:
                self._closed.append((self._open, self._open_novel))
                self._open, self._open_novel = np.zeros(self.n_clusters, dtype=np.int64), 0
                yield len(self._closed) == self.blocks

    @property
    def looks(self) -> int:
        """Blocks that were filled since the start: the number of the last look."""
        return self.prompts // self.block

    @property
    def full(self) -> bool:
        """Whether there are enough blocks to compare."""
        return len(self._closed) == self.blocks

    @property
    def counts(self) -> IntArray:
        """(k,) counts of the full blocks."""
        return sum((counts for counts, _ in self._closed), np.zeros(self.n_clusters, dtype=np.int64))

    @property
    def novel(self) -> int:
        """Novel prompts in the full blocks."""
        return sum(novel for _, novel in self._closed)

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dict."""
        return {
            "prompts": self.prompts,
            "closed": [[counts.tolist(), novel] for counts, novel in self._closed],
            "open": [self._open.tolist(), self._open_novel],
        }

    @classmethod
    def from_dict(cls, stored: dict[str, Any], n_clusters: int, *, block: int, blocks: int) -> BlockWindow:
        """Read back what `to_dict` wrote. Raises MonitorError if it does not fit the options."""
        window = cls(n_clusters, block=block, blocks=blocks)
        window.prompts = int(stored["prompts"])
        pairs = [*stored["closed"], stored["open"]]
        arrays = [(np.array(counts, dtype=np.int64), int(novel)) for counts, novel in pairs]
        if any(len(counts) != n_clusters for counts, _ in arrays) or len(arrays) > blocks + 1:
            raise MonitorError(
                f"A stored window of {len(arrays[0][0])} clusters and {len(arrays) - 1} blocks does not fit "
                f"{n_clusters} clusters and {blocks} blocks. Start the monitor anew with restart."
            )
        window._closed.extend(arrays[:-1])
        window._open, window._open_novel = arrays[-1]
        return window
