"""Work on the same rows that is done once: for the languages of a project, which share a pool.

Within `reusing()`, a function marked `reused` gives the result that it gave for the same arguments before. Rows count
as the same if they are the same objects, so nothing has to be compared or hashed. Outside of it nothing is kept.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")
Memory = dict[Any, tuple[Any, Any]]

_memory: ContextVar[Memory | None] = ContextVar("_memory", default=None)


@contextmanager
def reusing() -> Iterator[None]:
    """Keep what reused functions return until the block ends."""
    token = _memory.set({})
    try:
        yield
    finally:
        _memory.reset(token)


def reused(function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """Mark a function whose result depends on its arguments alone, and is never changed by who gets it."""

    @functools.wraps(function)
    def wrapper(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        memory = _memory.get()
        if memory is None:
            return function(*args, **kwargs)
        key = (function, _key(args), _key(kwargs))
        if key not in memory:
            # The arguments are kept, so that none of their ids can become another object's.
            memory[key] = (function(*args, **kwargs), (args, kwargs))
        result: Result = memory[key][0]
        return result

    return wrapper


def _key(value: Any) -> Any:
    if isinstance(value, (str, int, float, Path, type(None))):
        return value
    if callable(same_as := getattr(value, "same_as", None)):
        # Rows that are made when they are asked for: the objects tell nothing.
        return same_as()
    if isinstance(value, Mapping):
        return tuple(sorted((name, _key(part)) for name, part in value.items()))
    if isinstance(value, (set, frozenset)):
        return frozenset(value)
    if isinstance(value, Collection):
        return tuple(map(_key, value))
    return id(value)
