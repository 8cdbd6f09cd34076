"""Progress of long work: a bar on a terminal, plain log lines elsewhere; always on stderr."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

logger = logging.getLogger(__name__)

LOG_EVERY_SECONDS = 10.0
"""Seconds between two log lines of one task when stderr is not a terminal."""


class Advance(Protocol):
    """Say that `n` more units of a task are done."""

    def __call__(self, n: int = 1) -> None: ...


@contextmanager
def progress(description: str, total: int, unit: str = "rows") -> Iterator[Advance]:
    """Show the progress of `total` units of work; the block calls the yielded function with each number done."""
    if sys.stderr.isatty():
        with _bar(description, total, unit) as advance:
            yield advance
    else:
        yield _log_lines(description, total, unit)


@contextmanager
def _bar(description: str, total: int, unit: str) -> Iterator[Advance]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(description, total=total, rate="")
        start = time.monotonic()
        done = 0

        def advance(n: int = 1) -> None:
            nonlocal done
            done += n
            rate = done / max(time.monotonic() - start, 1e-9)
            bar.update(task, advance=n, rate=f"{rate:,.0f} {unit}/s")

        yield advance


def _log_lines(description: str, total: int, unit: str) -> Advance:
    start = last = time.monotonic()
    done = 0

    def advance(n: int = 1) -> None:
        nonlocal done, last
        done += n
        now = time.monotonic()
        if now - last >= LOG_EVERY_SECONDS:
            last = now
            rate = done / (now - start)
            left = (total - done) / rate if rate else float("inf")
            logger.info(
                "%s: %d of %d %s, %.1f %s/s, about %.0f s left", description, done, total, unit, rate, unit, left
            )

    return advance
