"""Blocks on all cores of this machine: for texts, where Python works on one core at a time.

Workers are started for as long as a block of `on_all_cores` runs, and end with this process however it ends.
"""

from __future__ import annotations

import logging
import os
import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from compass.engines import BLOCK_ROWS, PART_BYTES, Block, Result, is_elsewhere, portable, working_on
from compass.errors import CompassError, RunError
from compass.signals import end_with

if TYPE_CHECKING:
    from concurrent.futures import Future

    from loky import ProcessPoolExecutor

logger = logging.getLogger(__name__)

AHEAD = 2
"""Blocks that are handed to each worker at once."""


@contextmanager
def on_all_cores() -> Iterator[None]:
    """Have blocks in this context worked on by all cores; on one, or where an engine does it already, nothing changes.

    The processes start with the first block.
    """
    from loky import ProcessPoolExecutor, cpu_count

    workers = cpu_count()
    if workers < 2 or is_elsewhere():
        yield
        return
    logger.info("Texts are worked on by %d processes", workers)
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    executor = ProcessPoolExecutor(workers, initializer=_start, initargs=(os.getpid(),), env=threads)
    try:
        with working_on(ProcessEngine(executor, AHEAD * workers)):
            yield
    finally:
        executor.shutdown(wait=True, kill_workers=True)


class ProcessEngine:
    """Works on blocks in the processes of an executor."""

    block_rows, part_bytes = BLOCK_ROWS, PART_BYTES

    def __init__(self, executor: ProcessPoolExecutor, ahead: int) -> None:
        """ahead: blocks that are handed over before the first result is taken."""
        self._executor, self._ahead = executor, ahead

    def map(self, work: Callable[[Block], Result], blocks: Iterable[Block]) -> Iterator[Result]:
        """Yield what `work` returns for each block, in order; see `Engine`. Raises RunError where a process is gone."""
        from loky.process_executor import BrokenProcessPool

        waiting: deque[Future[Result]] = deque()
        try:
            for block in blocks:
                waiting.append(self._executor.submit(_done, work, block))
                if len(waiting) >= self._ahead:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        except BrokenProcessPool as error:
            raise RunError(
                "A process that read or cleaned texts was ended from outside, perhaps for lack of memory. Free some, "
                "or set LOKY_MAX_CPU_COUNT=1 to do without such processes, and run the same command again."
            ) from error


def _start(parent: int) -> None:
    """Prepare a worker: Ctrl-C is for the process that started it, and with that process it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with(parent)


def _done(work: Callable[[Block], Result], block: Block) -> Result:
    try:
        return work(block)
    except CompassError as error:
        raise portable(error) from None
