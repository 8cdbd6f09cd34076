"""Where work on blocks of rows is done: here, on all cores, or by the workers of a cluster.

Rooms that work through many rows hand a function and blocks of them to `each`. Without an engine that is `map`.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Protocol, TypeVar

from compass.errors import CompassError

Block = TypeVar("Block")
Result = TypeVar("Result")
Row = TypeVar("Row")

BLOCK_ROWS = 8_192
"""Rows of a block of texts."""
PART_BYTES = 2**22
"""Bytes of a source that one worker reads at a time: some 20,000 short rows."""


class Engine(Protocol):
    """Does the same work on many blocks."""

    block_rows: int
    """Rows of a block of texts, at most."""
    part_bytes: int
    """Bytes of a part of a source, about."""

    def map(self, work: Callable[[Block], Result], blocks: Iterable[Block]) -> Iterator[Result]:
        """Yield what `work` returns for each block, in the order of the blocks. What `work` raises, this raises.

        `work` has to be such as pickle sends. With an attribute `holds_model` that is true it goes to each worker
        once, with a GPU where there are any, and keeps there what it has loaded.
        """
        ...


_engine: ContextVar[Engine | None] = ContextVar("_engine", default=None)


@contextmanager
def working_on(engine: Engine | None) -> Iterator[None]:
    """Have all blocks in this context worked on by an engine; None: here."""
    token = _engine.set(engine)
    try:
        yield
    finally:
        _engine.reset(token)


def engine_in_use() -> Engine | None:
    """Return the engine that blocks go to; None: they are worked on here."""
    return _engine.get()


def is_elsewhere() -> bool:
    """Say whether blocks go to an engine."""
    return engine_in_use() is not None


def block_rows() -> int:
    """Return the rows of a block of texts, at most."""
    engine = _engine.get()
    return BLOCK_ROWS if engine is None else engine.block_rows


def part_bytes() -> int:
    """Return the bytes of a part of a source."""
    engine = _engine.get()
    return PART_BYTES if engine is None else engine.part_bytes


def each(work: Callable[[Block], Result], blocks: Iterable[Block]) -> Iterator[Result]:
    """Yield what `work` returns for each block, in order."""
    engine = _engine.get()
    return map(work, blocks) if engine is None else engine.map(work, blocks)


def each_block(work: Callable[[Sequence[Row]], Result], rows: Sequence[Row]) -> Iterator[tuple[int, Result]]:
    """Yield the first row's number and what `work` returns for each block of rows, in order."""
    size = block_rows()
    starts = range(0, len(rows), size)
    return zip(starts, each(work, (rows[start : start + size] for start in starts)), strict=True)


def portable(error: Exception) -> Exception:
    """Return an error that can be sent between processes: itself, or one of a kind that it is, with its message."""
    message = str(error)
    others = (kind for kind in type(error).__mro__ if issubclass(kind, CompassError))
    found = (_made(kind, message) for kind in others)
    ways = (error, *found, RuntimeError(f"{type(error).__name__}: {message}"))
    return next(way for way in ways if way is not None and _is_portable(way))


def _made(kind: type[Exception], message: str) -> Exception | None:
    try:
        return kind(message)
    except Exception:
        return None


def _is_portable(error: Exception) -> bool:
    try:
        return str(pickle.loads(pickle.dumps(error))) == str(error)
    except Exception:
        return False
