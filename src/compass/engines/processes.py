"""Blocks on all cores of this machine: for texts, where Python works on one core at a time.

Workers are started with the first block, run for as long as a block of `on_all_cores` does, and end with this process
however it ends.
"""

from __future__ import annotations

import logging
import os
import signal
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import psutil

from compass.engines import BLOCK_ROWS, PART_BYTES, Block, Result, is_elsewhere, portable, working_on
from compass.errors import RunError
from compass.signals import end_with, ended, handled

if TYPE_CHECKING:
    from concurrent.futures import Future

    from loky import ProcessPoolExecutor

logger = logging.getLogger(__name__)

AHEAD = 2
"""Blocks that are handed to each worker at once."""
WORKER_BYTES = 2**29
"""Free memory that there has to be for each worker: its libraries and models take some 200 MB, its blocks the rest."""


@contextmanager
def on_all_cores(n_bytes: int) -> Iterator[None]:
    """Have blocks in this context worked on by all cores; on one, or where an engine does it already, nothing changes.

    n_bytes: of all blocks together. There are no more workers than have two parts of it each, or than memory holds.
    """
    from loky import ProcessPoolExecutor, cpu_count

    workers = min(cpu_count(), n_bytes // (2 * PART_BYTES), psutil.virtual_memory().available // WORKER_BYTES)
    if workers < 2 or is_elsewhere():
        yield
        return
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    executor = ProcessPoolExecutor(workers, initializer=_start, initargs=(os.getpid(),), env=threads)
    with warnings.catch_warnings(), handled(signal.SIGTERM, ended):
        # It takes loaded models for a leak and starts another worker.
        warnings.filterwarnings("ignore", "A worker (stopped|was restarted) while some jobs", UserWarning)
        try:
            with working_on(ProcessEngine(executor, workers)):
                yield
        finally:
            executor.shutdown(wait=True, kill_workers=True)


class ProcessEngine:
    """Works on blocks in the processes of an executor."""

    block_rows, part_bytes = BLOCK_ROWS, PART_BYTES

    def __init__(self, executor: ProcessPoolExecutor, workers: int) -> None:
        self._executor, self._workers = executor, workers
        self._is_told = False

    def map(self, work: Callable[[Block], Result], blocks: Iterable[Block]) -> Iterator[Result]:
        """Yield what `work` returns for each block, in order; see `Engine`. Raises RunError where a process is gone."""
        from loky.process_executor import TerminatedWorkerError

        waiting: deque[Future[Result]] = deque()
        try:
            for block in blocks:
                waiting.append(self._submit(work, block))
                if len(waiting) >= AHEAD * self._workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        except TerminatedWorkerError as error:
            raise RunError(
                "A process that read or cleaned texts was ended from outside, perhaps for lack of memory. Free some, "
                "or set LOKY_MAX_CPU_COUNT=1 to do without such processes, and run the same command again."
            ) from error

    def _submit(self, work: Callable[[Block], Result], block: Block) -> Future[Result]:
        if not self._is_told:
            logger.info("Texts are worked on by %d processes", self._workers)
            self._is_told = True
        with _interrupts_held():
            future: Future[Result] = self._executor.submit(_done, work, block)
            return future


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """Hold Ctrl-C back: a process that starts meanwhile never gets it, for its parent tells it when to end."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _start(parent: int) -> None:
    """Prepare a worker: Ctrl-C is for the process that started it, and with that process it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with(parent)


def _done(work: Callable[[Block], Result], block: Block) -> Result:
    try:
        return work(block)
    except Exception as error:
        sent = portable(error)
        if sent is error:
            raise
        raise sent from None
