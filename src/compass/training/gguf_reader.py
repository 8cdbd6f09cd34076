"""GGUF files read once: transformers asks for the same metadata three times, a vocabulary of 262,144 each time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np


@contextmanager
def read_once(file: Path) -> Iterator[None]:
    """Let whatever reads this GGUF file in the block share one reading of it, on plain arrays.

    gguf's own reader slices a `numpy.memmap` once for each token, which takes three times as long as slicing an array.
    """
    import gguf as typed

    gguf: Any = typed

    class Plain(gguf.GGUFReader):  # type: ignore[misc]
        @property
        def data(self) -> Any:
            return self._plain

        @data.setter
        def data(self, mapped: Any) -> None:
            self._plain = np.asarray(mapped)

    theirs, read = gguf.GGUFReader, Plain(file)

    def reader(path: str, *arguments: Any, **options: Any) -> Any:
        return read if Path(path) == file else theirs(path, *arguments, **options)

    gguf.GGUFReader = reader
    try:
        yield
    finally:
        gguf.GGUFReader = theirs
