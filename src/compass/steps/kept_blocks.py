"""What was found in blocks of texts, kept until all are done: a killed run goes on at its last block."""

from __future__ import annotations

import hashlib
import io
import json
import logging
import pickle
import shutil
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np

from compass.data.example import Example
from compass.data.stored_rows import NAMES, StoredRows
from compass.engines import Block, Result, block_rows, engine_in_use, part_bytes, working_on
from compass.engines.processes import on_all_cores
from compass.runs.files import write_bytes

logger = logging.getLogger(__name__)

WORTHWHILE_BYTES = 2**26
"""Texts on disk from which more processes save more time than they take to start: some 400,000 short rows [ours]."""
DIGEST_BYTES = 16
FOUND, LIST, ARRAY, BYTES = ".found.json", ".list.json", ".npy", ".bin"
"""Kinds of results: rows to drop with reasons, tags, arrays, bytes. Others are not kept: no texts lie there."""
_FIELDS = attrgetter(*NAMES)


@contextmanager
def working_through(folder: Path, key: str, n_bytes: int) -> Iterator[None]:
    """Have blocks of texts worked on by all cores and kept, if there are n bytes of text that are worth it.

    folder: holds nothing else, and is gone when the context ends without an error. key: tells these inputs from others;
    what was kept for others is removed.
    """
    for other in [path for path in folder.glob("*") if path.name != key]:
        shutil.rmtree(other, ignore_errors=True)
    if n_bytes < WORTHWHILE_BYTES:
        yield
    else:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with on_all_cores(n_bytes):
            kept = KeptBlocks(folder / key)
            with working_on(kept):
                yield
        if kept.found_before:
            logger.info("%d blocks of texts were done before, by a run that did not end", kept.found_before)
    shutil.rmtree(folder, ignore_errors=True)


class KeptBlocks:
    """Gives results that a folder has; the others come from the engine in use, or are found here, and written there.

    A result goes by what was done and by the block's rows. One that is damaged is found again.
    """

    def __init__(self, folder: Path) -> None:
        self._folder, self._engine = folder, engine_in_use()
        self.block_rows, self.part_bytes = block_rows(), part_bytes()
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
        options = sorted((k, v) for k, v in getattr(work, "keywords", {}).items() if isinstance(v, (int, float, str)))
        content = _digest(repr(options).encode() + _content(block)).hex()
        return self._folder / f"{name.lstrip('_')}-{content}"


def _content(block: Any) -> bytes:
    """Return what is the same for the same rows, whichever objects hold them."""
    if isinstance(block, StoredRows):
        return pickle.dumps(block, protocol=5)
    if isinstance(block, tuple):
        return b"".join(map(_digest, map(_content, block)))
    if isinstance(block, np.ndarray):
        return block.tobytes()
    is_rows = isinstance(block, Sequence) and len(block) > 0 and isinstance(block[0], Example)
    rows = list(map(_FIELDS, block)) if is_rows else block
    return repr(rows).encode("utf-8", "surrogatepass")


def _digest(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=DIGEST_BYTES).digest()


def _write(path: Path, result: Any) -> None:
    """Write a result if it is of a kind that can be kept, after its digest."""
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
    write_bytes(path.with_name(path.name + suffix), _digest(content) + content)


def _read(path: Path) -> Any:
    """Return a result that is there and whole, None if none is."""
    readers: dict[str, Callable[[bytes], Any]] = {
        BYTES: bytes,
        ARRAY: lambda content: np.load(io.BytesIO(content), allow_pickle=False),
        FOUND: lambda content: {index: (reason, detail) for index, reason, detail in json.loads(content)},
        LIST: json.loads,
    }
    for suffix, read in readers.items():
        file = path.with_name(path.name + suffix)
        if not file.is_file():
            continue
        stored = file.read_bytes()
        digest, content = stored[:DIGEST_BYTES], stored[DIGEST_BYTES:]
        if digest == _digest(content):
            return read(content)
        logger.warning("%s is damaged; its block is looked at again", file)
    return None
