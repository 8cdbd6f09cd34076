"""What was found in blocks of texts, kept until all are done: a killed run goes on at its last block."""

from __future__ import annotations

import hashlib
import io
import json
import logging
import pickle
import shutil
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np

from compass.engines import BLOCK_ROWS, PART_BYTES, Block, Engine, Result, engine_in_use, working_on
from compass.engines.processes import on_all_cores
from compass.runs.files import write_bytes

logger = logging.getLogger(__name__)

WORTHWHILE_BYTES = 2**26
"""Texts on disk from which more processes save more time than they take to start: some 400,000 short rows [ours]."""
FOUND, LIST, ARRAY, BYTES = ".found.json", ".list.json", ".npy", ".bin"
"""Kinds of results: rows to drop with reasons, texts, arrays, bytes. Others are not kept."""


def working_through(folder: Path, n_bytes: int) -> AbstractContextManager[None]:
    """Have blocks of texts worked on by all cores and kept in a folder, if there are n bytes of text that are worth it.

    folder: see `keeping_blocks`.
    """
    return _working_through(folder) if n_bytes >= WORTHWHILE_BYTES else nullcontext()


@contextmanager
def _working_through(folder: Path) -> Iterator[None]:
    with on_all_cores(), keeping_blocks(folder):
        yield


@contextmanager
def keeping_blocks(folder: Path) -> Iterator[None]:
    """Keep what is found in blocks within this context in a folder, and take from it what is there.

    folder: for these inputs alone. Its parent holds nothing else, and is removed if the context ends without an error.
    """
    kept = KeptBlocks(folder, engine_in_use())
    with working_on(kept):
        yield
    if kept.found_before:
        logger.info("%d blocks of texts were done before, by a run that did not end", kept.found_before)
    shutil.rmtree(folder.parent, ignore_errors=True)


class KeptBlocks:
    """Gives results that a folder has; the others come from an engine, or are found here, and are written there.

    A result goes by what was done and by the block's rows.
    """

    def __init__(self, folder: Path, engine: Engine | None) -> None:
        self._folder, self._engine = folder, engine
        self.block_rows = BLOCK_ROWS if engine is None else engine.block_rows
        self.part_bytes = PART_BYTES if engine is None else engine.part_bytes
        self.found_before = 0
        """Blocks whose results were there."""

    def map(self, work: Callable[[Block], Result], blocks: Iterable[Block]) -> Iterator[Result]:
        """Yield what `work` returns for each block, in order; see `Engine`."""
        waiting: deque[tuple[Path, Any]] = deque()

        def missing() -> Iterator[Block]:
            for block in blocks:
                path = self._path(work, block)
                known = _read(path)
                waiting.append((path, known))
                if known is None:
                    yield block

        found = map(work, missing()) if self._engine is None else self._engine.map(work, missing())
        for result in found:
            yield from self._known(waiting)
            _write(waiting.popleft()[0], result)
            yield result
        yield from self._known(waiting)

    def _known(self, waiting: deque[tuple[Path, Any]]) -> Iterator[Any]:
        """Yield the results that were there before, up to the next block without one."""
        while waiting and waiting[0][1] is not None:
            self.found_before += 1
            yield waiting.popleft()[1]

    def _path(self, work: Any, block: Any) -> Path:
        name = getattr(getattr(work, "func", work), "__name__", type(work).__name__)
        content = hashlib.blake2b(pickle.dumps(block, protocol=5), digest_size=16).hexdigest()
        return self._folder / f"{name.lstrip('_')}-{content}"


def _write(path: Path, result: Any) -> None:
    """Write a result if it is of a kind that can be kept."""
    if isinstance(result, bytes):
        suffix, content = BYTES, result
    elif isinstance(result, np.ndarray):
        file = io.BytesIO()
        np.save(file, result, allow_pickle=False)
        suffix, content = ARRAY, file.getvalue()
    elif isinstance(result, dict):
        suffix, content = FOUND, json.dumps([[index, *why] for index, why in result.items()]).encode()
    elif isinstance(result, list) and all(isinstance(one, str) for one in result):
        suffix, content = LIST, json.dumps(result).encode()
    else:
        return
    write_bytes(path.with_name(path.name + suffix), content)


def _read(path: Path) -> Any:
    """Return a result that is there, None if none is."""
    readers: dict[str, Callable[[bytes], Any]] = {
        BYTES: bytes,
        ARRAY: lambda content: np.load(io.BytesIO(content), allow_pickle=False),
        FOUND: lambda content: {index: (reason, detail) for index, reason, detail in json.loads(content)},
        LIST: json.loads,
    }
    for suffix, read in readers.items():
        file = path.with_name(path.name + suffix)
        if file.is_file():
            return read(file.read_bytes())
    return None
