"""Blocks as Ray Data on the workers of a cluster. Ray schedules, retries what a lost worker had, and spills to disk."""

from __future__ import annotations

import logging
import pickle
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from compass.engines import BLOCK_ROWS, PART_BYTES, Block, Result, portable
from compass.errors import CompassError, MissingExtraError, RunError

logger = logging.getLogger(__name__)

WINDOW_BYTES = 2**28
"""Blocks that are handed to Ray at once: what lies in its object store goes by this, not by the pool."""


class RayEngine:
    """Works on the cluster at an address, or on one that it starts here for this process."""

    def __init__(self, address: str = "", *, block_rows: int = BLOCK_ROWS, part_bytes: int = PART_BYTES) -> None:
        """address: as `ray.init` takes it; empty: RAY_ADDRESS, or a cluster of this machine alone.

        Raises MissingExtraError without Ray, RunError if the cluster can't be reached.
        """
        self.block_rows, self.part_bytes = block_rows, part_bytes
        try:
            import ray
            import ray.data
        except ImportError as error:
            raise MissingExtraError("ray", "ray", "The engine 'ray'") from error
        if not ray.is_initialized():
            try:
                ray.init(address=address or None, logging_level=logging.WARNING, log_to_driver=False)
            except (ConnectionError, RuntimeError, ValueError) as error:
                raise RunError(
                    f"No Ray cluster answers at {address or 'this machine'}: {str(error).strip().splitlines()[0]}. "
                    "Start one with `ray start --head`, or leave --address out for one of this machine alone."
                ) from error
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        context.print_on_execution_start = False
        context.execution_options.preserve_order = True

    def map(self, work: Callable[[Block], Result], blocks: Iterable[Block]) -> Iterator[Result]:
        """Yield what `work` returns for each block, in order; see `Engine`. Raises RunError where Ray gives up."""
        for window in _windows(blocks):
            yield from self._mapped(work, window)

    def _mapped(self, work: Callable[[Block], Result], window: list[bytes]) -> Iterator[Result]:
        import ray
        import ray.data
        from ray.exceptions import RayError

        items = ray.data.from_items([{"block": block} for block in window], override_num_blocks=len(window))
        if getattr(work, "holds_model", False):
            having = ray.cluster_resources()
            on_gpu = having.get("GPU", 0) >= 1
            workers = max(1, min(len(window), int(having.get("GPU" if on_gpu else "CPU", 1))))
            results = items.map_batches(
                _Worker,
                fn_constructor_args=(work,),
                batch_size=1,
                num_cpus=1,
                num_gpus=1 if on_gpu else None,
                compute=ray.data.ActorPoolStrategy(min_size=1, max_size=workers, max_tasks_in_flight_per_actor=2),
            )
        else:
            # Tasks: a worker that has loaded its libraries is there for the next step, too.
            worker = _Worker(work)
            results = items.map_batches(lambda batch: worker(batch), batch_size=1, num_cpus=1)
        try:
            for row in results.iter_rows():
                kind, value = pickle.loads(row["result"])
                if kind == "raised":
                    raise value
                yield value
        except RayError as error:
            raise RunError(
                f"Ray could not finish a step: {str(error).strip().splitlines()[-1]} Look at the cluster with `ray "
                "status`, and run the same command again: finished stages and embedded texts are kept."
            ) from error


def _windows(blocks: Iterable[Any]) -> Iterator[list[bytes]]:
    """Yield pickled blocks, as many as fit into a window together."""
    window: list[bytes] = []
    room = WINDOW_BYTES
    for block in blocks:
        window.append(pickle.dumps(block, protocol=5))
        room -= len(window[-1])
        if room <= 0:
            yield window
            window, room = [], WINDOW_BYTES
    if window:
        yield window


class _Worker:
    """Holds the work, as an actor with its model or for a task, and does it on one block after another."""

    def __init__(self, work: Callable[[Any], Any]) -> None:
        self.work = work

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[bytes]]:
        return {"result": [self._done(pickle.loads(block)) for block in batch["block"]]}

    def _done(self, block: Any) -> bytes:
        """Return the result, or what was raised for people to read: it is raised where the work was asked for."""
        try:
            return pickle.dumps(("done", self.work(block)), protocol=5)
        except CompassError as error:
            return pickle.dumps(("raised", portable(error)))
