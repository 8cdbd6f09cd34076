"""Progress of long work: a bar on a terminal, plain log lines elsewhere; always on stderr."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from compass.sanitize import printable

logger = logging.getLogger(__name__)

LOG_EVERY_SECONDS = 10.0
"""Seconds between two log lines of one task when stderr is not a terminal."""


class Advance(Protocol):
    """Say that `n` more units of a task are done."""

    def __call__(self, n: int = 1) -> None: ...


@contextmanager
def progress(
    description: str,
    total: int,
    unit: str = "rows",
    *,
    done: int = 0,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[Advance]:
    """Show the progress of `total` units of work; the block calls the yielded function with each number done.

    done: units that were done before, which tell nothing of the pace. clock: gives the time in seconds.
    """
    if sys.stderr.isatty():
        with _bar(description, total, unit, done, clock) as advance:
            yield advance
    else:
        yield _log_lines(description, total, unit, done, clock)


@contextmanager
def _bar(description: str, total: int, unit: str, before: int, clock: Callable[[], float]) -> Iterator[Advance]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}", markup=False),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(printable(description), total=total, completed=before, rate="")
        start = clock()
        done = 0

        def advance(n: int = 1) -> None:
            nonlocal done
            done += n
            bar.update(task, advance=n, rate=pace(done, clock() - start, unit))

        yield advance


def _log_lines(description: str, total: int, unit: str, before: int, clock: Callable[[], float]) -> Advance:
    start = last = clock()
    done = 0

    def advance(n: int = 1) -> None:
        nonlocal done, last
        done += n
        now = clock()
        if now - last >= LOG_EVERY_SECONDS:
            last = now
            seconds = now - start
            to_do = total - before - done
            left = f", {duration(to_do * seconds / done)} left" if done and to_do > 0 else ""
            rate = pace(done, seconds, unit)
            logger.info("%s: %d of %d %s, %s%s", description, before + done, total, unit, rate, left)

    return advance


def pace(done: int, seconds: float, unit: str) -> str:
    """Say how fast work goes: `81 rows/s`, `4.7 rows/s`, or, if one takes longer than a second, `150 s each`."""
    rate = done / max(seconds, 1e-9)
    if rate >= 1:
        return f"{rate:,.0f} {unit}/s" if rate >= 10 else f"{rate:.1f} {unit}/s"
    if not done:
        return f"0 {unit}/s"
    each = seconds / done
    return f"{each:.1f} s each" if each < 10 else f"{each:.0f} s each"


def duration(seconds: float) -> str:
    """Say roughly how long something takes: `about 45 s`, `about 44 min` or `about 3.5 h`."""
    if seconds < 90:
        return f"about {seconds:.0f} s"
    return f"about {seconds / 60:.0f} min" if seconds < 90 * 60 else f"about {seconds / 3600:.1f} h"
