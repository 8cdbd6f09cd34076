"""A sliding window as histograms: whole blocks of prompts, of which the oldest falls out when a new one is full."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import fields
from itertools import pairwise
from typing import Any

import numpy as np

from compass.drift.traffic import Pairs
from compass.errors import MonitorError
from compass.semantic.arrays import IntArray


class Block:
    """Counts of a block of prompts, also by the hours that they came at, and of pairs among them."""

    def __init__(
        self, counts: IntArray, pairs: Pairs, hours: dict[int, IntArray] | None = None, began: float | None = None
    ) -> None:
        self.counts, self.pairs, self.began = counts, pairs, began
        """began: when its first prompt came, in seconds since 1970; None if that is not known."""
        self.hours = {} if hours is None else hours
        """Stratum -> (k,) counts of its prompts."""

    @classmethod
    def empty(cls, categories: int) -> Block:
        """Return a block without prompts."""
        return cls(np.zeros(categories, dtype=np.int64), Pairs.none(categories))

    def __add__(self, other: Block) -> Block:
        hours = {hour: self.hours.get(hour, 0) + other.hours.get(hour, 0) for hour in {**self.hours, **other.hours}}
        began = self.began if self.counts.any() else other.began
        return Block(self.counts + other.counts, self.pairs + other.pairs, hours, began)  # type: ignore[arg-type]

    def to_dict(self) -> dict[str, Any]:
        """Return what a version before 0.2 does not know, JSON-ready."""
        content: dict[str, Any] = {name: column.tolist() for name, column in vars(self.pairs).items()}
        return content | {
            "began": self.began,
            "hours": {str(hour): counts.tolist() for hour, counts in self.hours.items()},
        }

    @classmethod
    def from_dict(cls, counts: IntArray, stored: Mapping[str, Any] | None) -> Block:
        """Read back a block; of one that version 0.1 stored the pairs are not known."""
        if not stored:
            return cls(counts, Pairs.none(len(counts)))
        none = Pairs.none(len(counts))
        columns = [np.array(stored[field.name], dtype=np.int64) for field in fields(Pairs)]
        if any(len(mine) != len(theirs) for mine, theirs in zip(columns, none.columns(), strict=True)):
            return cls(counts, none)
        hours = {int(hour): np.array(table, dtype=np.int64) for hour, table in stored["hours"].items()}
        return cls(counts, Pairs(*columns), hours, stored["began"])


class BlockWindow:
    """Counts of the last `blocks` full blocks and of the open one. Holds no prompt and no order within a block."""

    def __init__(self, categories: int, *, block: int, blocks: int) -> None:
        self.categories, self.block, self.blocks = categories, block, blocks
        self.prompts = 0
        """Prompts seen since the start."""
        self._full: deque[Block] = deque(maxlen=blocks)
        self._open = Block.empty(categories)

    def spans(self, n: int) -> list[slice]:
        """Cut the next n prompts where a block ends."""
        ends = [0, *range(self.block - self.prompts % self.block, n, self.block), n]
        return [slice(start, stop) for start, stop in pairwise(ends) if stop > start]

    def add(
        self,
        categories: IntArray,
        pairs: Pairs | None = None,
        hours: Mapping[int, IntArray] | None = None,
        began: float | None = None,
    ) -> bool:
        """Count the prompts of a span; return whether they fill a block. began: when the first of them came.

        categories: (n,) ints, n at least 1; pairs among them; hours: stratum -> (k,) counts.
        """
        counts = np.bincount(categories, minlength=self.categories)
        self._open += Block(counts, pairs or Pairs.none(self.categories), dict(hours or {}), began)
        self.prompts += len(categories)
        if self.prompts % self.block:
            return False
        self._full.append(self._open)
        self._open = Block.empty(self.categories)
        return True

    @property
    def number(self) -> int:
        """Blocks that were filled since the start."""
        return self.prompts // self.block

    @property
    def full(self) -> list[Block]:
        """The full blocks, oldest first."""
        return list(self._full)

    @property
    def whole(self) -> Block | None:
        """The full blocks together; None before there are enough of them to compare."""
        if len(self._full) < self.blocks:
            return None
        return sum(self._full, start=Block.empty(self.categories))

    @property
    def counts(self) -> IntArray | None:
        """(k,) counts of the full blocks; None before there are enough of them to compare."""
        return np.sum([block.counts for block in self._full], axis=0) if len(self._full) == self.blocks else None

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dict. The second number of a block is for prompts far from every cluster: see novelty."""
        return {
            "prompts": self.prompts,
            "closed": [[block.counts.tolist(), 0] for block in self._full],
            "open": [self._open.counts.tolist(), 0],
            "traffic": [block.to_dict() for block in (*self._full, self._open)],
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
        traffic = stored.get("traffic") or [None] * (len(full) + 1)
        *blocks, self._open = map(Block.from_dict, (*full, last), traffic)
        self._full = deque(blocks, maxlen=self.blocks)
