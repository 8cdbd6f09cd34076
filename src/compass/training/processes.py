"""One function in several processes that train together: one a GPU, or parts of a CPU."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable
from typing import Any, TypeVar

from compass.errors import ModelError

Result = TypeVar("Result")

LOCAL = "127.0.0.1"


def check_devices(n: int) -> None:
    """Refuse more processes than there are GPUs, where there are any. Raises ModelError."""
    import torch

    if torch.cuda.is_available() and n > torch.cuda.device_count():
        raise ModelError(
            f"num_processes is {n}, and this machine shows {torch.cuda.device_count()} GPUs; each process takes one. "
            "Lower it, or check CUDA_VISIBLE_DEVICES."
        )


def in_processes(n: int, function: Callable[..., Result], *arguments: Any) -> Result:
    """Call a function of a module in n processes that torch.distributed joins; return what the first one returns.

    The arguments go to each process by pickle. If one fails, the others are ended. Raises ModelError, which quotes it.
    """
    from torch import multiprocessing

    results = multiprocessing.get_context("spawn").SimpleQueue()
    with socket.socket() as free:
        free.bind((LOCAL, 0))
        port = free.getsockname()[1]
    found: list[Result] = []
    running = multiprocessing.spawn(_one, (n, port, results, function, arguments), nprocs=n, join=False)
    try:
        finished = False
        while not finished:
            finished = running.join(timeout=0.2)
            # A process that returns much ends only when it has been read.
            if not results.empty():
                found.append(results.get())
    except (multiprocessing.ProcessRaisedException, multiprocessing.ProcessExitedException) as error:
        said = str(error).strip().splitlines()[-1]
        raise ModelError(f"One of the {n} processes that trained together failed: {said}") from error
    finally:
        for process in running.processes:
            process.terminate()
            process.join()
        results.close()
    return found[0]


def _one(rank: int, n: int, port: int, results: Any, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    import torch

    os.environ |= {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(n),
        "LOCAL_WORLD_SIZE": str(n),
        "MASTER_ADDR": LOCAL,
        "MASTER_PORT": str(port),
    }
    if rank:
        # What is to be said, of a checkpoint that is cut for one, the first one says.
        logging.getLogger("compass").setLevel(logging.ERROR)
    if not torch.cuda.is_available() and "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(max(1, torch.get_num_threads() // n))
    try:
        result = function(*arguments)
        if rank == 0:
            results.put(result)
    finally:
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()
