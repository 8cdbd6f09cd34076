"""Commands of ours in processes of their own, several at a time, one for each device."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path
from queue import SimpleQueue

from compass.progress import progress
from compass.runs.files import PRIVATE, is_full_disk
from compass.signals import ended, ending_with_this, handled, name_of

logger = logging.getLogger(__name__)

CORES_OF_A_WORKER = 4
LOG_LINES = 15
"""Lines of a failed job's log that are shown."""


class Processes:
    """Commands of ours in processes of their own, which end when the comparison does."""

    def __init__(self) -> None:
        self._running: set[subprocess.Popen[bytes]] = set()
        self.stopped = threading.Event()

    def run(self, arguments: Sequence[str], log: Path, environment: Mapping[str, str]) -> str:
        """Run `compass` with its output in a file; return the end of that if it failed."""
        command = [sys.executable, "-m", "compass.cli", *arguments]
        # What goes wrong may quote rows.
        with os.fdopen(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, PRIVATE), "ab") as file:
            process = subprocess.Popen(
                command, stdout=file, stderr=subprocess.STDOUT, env=ending_with_this(environment)
            )
            self._running.add(process)
            try:
                if self.stopped.is_set():
                    process.terminate()
                code = process.wait()
            finally:
                self._running.discard(process)
        if code < 0 and not self.stopped.is_set():
            name = name_of(-code)
            return f"It was killed ({name}); if nobody did, the machine ran out of memory. Its log is {log}."
        if code:
            return "\n".join(log.read_text("utf-8", "replace").splitlines()[-LOG_LINES:]) or f"exit code {code}"
        return ""

    def stop(self) -> None:
        """End them all, and those that are about to start."""
        self.stopped.set()
        for process in list(self._running):
            process.terminate()


Job = Callable[[Processes, Mapping[str, str]], str]
"""Does its work through the processes, in an environment that names its device; returns what went wrong, or nothing."""


def in_parallel(title: str, jobs: Mapping[str, Job], workers: int) -> dict[str, str]:
    """Run all jobs, `workers` at a time (0: see `default_workers`), and return name -> error of those that failed."""
    count, devices = workers_at_once(workers), _devices()
    free: SimpleQueue[int] = SimpleQueue()
    for worker in range(count):
        free.put(worker)
    processes = Processes()

    def work(job: Job) -> str:
        if processes.stopped.is_set():
            return ""
        worker = free.get()
        try:
            return job(processes, _environment(worker, count, devices))
        except OSError as error:
            if is_full_disk(error):
                raise
            return str(error)
        finally:
            free.put(worker)

    failures: dict[str, str] = {}
    # Killed at once, this process would leave those that it started at work.
    terminable = handled(signal.SIGTERM, ended)
    with terminable, progress(title, len(jobs), title.lower()) as advance, ThreadPoolExecutor(count) as pool:
        names: dict[Future[str], str] = {pool.submit(work, job): name for name, job in jobs.items()}
        left = set(names)
        try:
            while left:
                done, left = wait(left, return_when=FIRST_COMPLETED)
                for future in done:
                    advance()
                    if error := future.result():
                        failures[names[future]] = error
                        logger.warning("%s failed; the others go on", names[future])
        except BaseException:
            processes.stop()
            raise
    return failures


def workers_at_once(workers: int) -> int:
    """Return how many cells run at a time where `workers` are asked for (0: as many as the machine is for)."""
    return workers or default_workers(len(_devices()))


def default_workers(n_devices: int) -> int:
    """Return how many cells run at a time: one for each GPU, or one for each four cores."""
    return n_devices or max(1, (os.cpu_count() or 1) // CORES_OF_A_WORKER)


def _devices() -> list[str]:
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [device for device in visible.split(",") if device.strip()]
    from compass.training import gpu_names

    return [str(i) for i in range(len(gpu_names()))]


def _environment(worker: int, count: int, devices: Sequence[str]) -> dict[str, str]:
    environment = dict(os.environ)
    if devices:
        environment["CUDA_VISIBLE_DEVICES"] = devices[worker % len(devices)]
    environment.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // count)))
    return environment
