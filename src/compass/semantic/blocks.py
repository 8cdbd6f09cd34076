"""Vectors that need not be in memory: read a block at a time, with language taken out as they are read.

A pool is a numpy array, or anything with a shape that gives float32 rows for a slice or for an array of row numbers.
Both go through the same arithmetic, row by row, so that a row has the same bits either way.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from compass.engines import each, is_elsewhere
from compass.semantic.arrays import FloatArray, IntArray, StoredRows, UInt64s, check_vectors, row_chunks, row_keys
from compass.semantic.kmeans import assign_nearest
from compass.semantic.offsets import offset_of, without_offsets

T = TypeVar("T")

BLOCK_ROWS = 16_384
"""Rows that one thread works on at a time: 25 MB of 384 dimensions."""


class LanguageFree:
    """Stored rows in a space's language-free form, made as they are read."""

    ndim = 2

    def __init__(
        self,
        rows: StoredRows,
        languages: Sequence[str],
        offsets: Mapping[str, FloatArray],
        fallback: FloatArray,
    ) -> None:
        tags, index = number_tags(languages)
        self._rows = rows
        self._index = index
        self._table = np.stack([offset_of(tag, offsets, fallback) for tag in tags])
        self._keys: dict[int, UInt64s] = {}
        self.shape = rows.shape

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self._rows)

    def __getitem__(self, rows: Any) -> FloatArray:
        """Return the rows of a slice, of an array of numbers, or one row, as a new array of unit rows."""
        if isinstance(rows, int | np.integer):
            return self[np.array([rows])].reshape(-1)
        return without_offsets(self._rows[rows], self._index[rows], self._table)

    def keys(self, seed: int) -> UInt64s:
        """Return `row_keys` of all rows, found once for each seed."""
        if seed not in self._keys:
            self._keys[seed] = np.concatenate(list(walk(len(self), lambda block: row_keys(self[block], seed))))
        return self._keys[seed]

    def nearest(self, centroids: FloatArray, seed: int | None = None) -> IntArray:
        """Return the nearest centroid of each row, (n,), and find the `keys` of a seed in the same walk."""

        assign = Assign(self._table, centroids, seed)

        def read(block: slice) -> tuple[int, FloatArray, npt.NDArray[Any]]:
            return block.start, self._rows[block], self._index[block]

        if is_elsewhere():
            found = each(assign, map(read, row_chunks(len(self), BLOCK_ROWS)))
        else:
            found = walk(len(self), lambda block: assign.find(*read(block)))
        labels, keys = zip(*found, strict=True)
        if seed is not None:
            self._keys[seed] = np.concatenate(keys)
        return np.concatenate(labels).astype(np.int64)


class Assign:
    """Finds clusters and `row_keys` of a block of rows, wherever it is."""

    def __init__(self, table: FloatArray, centroids: FloatArray, seed: int | None) -> None:
        self._table, self._centroids, self._seed = table, centroids, seed

    def __call__(self, block: tuple[int, FloatArray, npt.NDArray[Any]]) -> tuple[npt.NDArray[np.int32], UInt64s | None]:
        """Take the number of the first row, (n, d) vectors and (n,) numbers of languages; return (n,) each."""
        from threadpoolctl import threadpool_limits

        with threadpool_limits(1, "blas"):
            return self.find(*block)

    def find(
        self, first: int, rows: FloatArray, index: npt.NDArray[Any]
    ) -> tuple[npt.NDArray[np.int32], UInt64s | None]:
        """Do the same, where products run on one thread already."""
        x = check_vectors("vectors", without_offsets(rows, index, self._table), first=first)
        labels = assign_nearest(x, self._centroids).astype(np.int32)
        return labels, None if self._seed is None else row_keys(x, self._seed)


class Subset:
    """Some rows of a pool in an order of their own, read when they are asked for."""

    ndim = 2

    def __init__(self, rows: Any, places: IntArray) -> None:
        self._rows, self._places = rows, places
        self.shape = (len(places), rows.shape[1])

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self._places)

    def __getitem__(self, rows: Any) -> FloatArray:
        """Return the rows of a slice or of an array of numbers, as a new array."""
        found: FloatArray = self._rows[self._places[rows]]
        return found

    def keys(self, seed: int) -> UInt64s:
        """Return `row_keys` of the rows."""
        return row_keys(self._rows, seed)[self._places]


def in_order(rows: Any, places: IntArray) -> Any:
    """Return rows in another order, or some of them: of stored rows they are read when they are asked for."""
    return rows[places] if isinstance(rows, np.ndarray) else Subset(rows, places)


def number_tags(languages: Sequence[str]) -> tuple[list[str], npt.NDArray[np.int32]]:
    """Number language tags in the order in which they come. Returns the tags, and (n,) numbers."""
    numbers: dict[str, int] = {}
    index = np.fromiter(
        (numbers.setdefault(tag, len(numbers)) for tag in languages), dtype=np.int32, count=len(languages)
    )
    return list(numbers), index


def walk(n: int, work: Callable[[slice], T], size: int = BLOCK_ROWS) -> Iterator[T]:
    """Yield what `work` returns for each block of `n` rows, in order, on as many threads as matrix products may use.

    Products run on one thread each meanwhile, so that their bits do not depend on the number of threads.
    """
    from threadpoolctl import threadpool_info, threadpool_limits

    threads = max((pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"), default=1)
    with threadpool_limits(1, "blas"):
        if threads == 1:
            yield from map(work, row_chunks(n, size))
            return
        with ThreadPoolExecutor(threads) as pool:
            running: deque[Future[T]] = deque()
            for block in row_chunks(n, size):
                running.append(pool.submit(work, block))
                if len(running) > threads:
                    yield running.popleft().result()
            while running:
                yield running.popleft().result()
