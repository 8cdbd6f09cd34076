"""`compass watch` for each language of a project: a process each, their events in one stream."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from queue import Empty, SimpleQueue
from typing import IO

from compass.records import Event
from compass.signals import STOPPED, ended, ending_with_this, handled, name_of

logger = logging.getLogger(__name__)

SECONDS_TO_END = 30.0
"""What a process has to end in when the whole is stopped."""
SECONDS_TO_HEAR = 3.0
"""What a process may take to end by itself at Ctrl-C, which a terminal sends to all of them."""
SECONDS_OF_LOG = 1.0
"""What the log of a process that has ended may still take."""


def in_one_stream(commands: Mapping[str, Sequence[str]], codes: dict[str, int]) -> Iterator[Event]:
    """Run a command of ours for each language, and yield its events, lines of JSON, as they come, with the language.

    codes: gets the exit code of each. One that ends leaves the others; a line that is no event is passed over and
    counted. What they log is written to stderr with the language before it. When the caller stops, all of them end; by
    Ctrl-C or SIGTERM, what they tell as they end still comes.
    """
    lines: SimpleQueue[tuple[str, str | None]] = SimpleQueue()

    def pass_on(tag: str, process: subprocess.Popen[str]) -> None:
        log = threading.Thread(target=_pass_log_on, args=(tag, process.stderr), daemon=True)
        log.start()
        with process.stdout or nullcontext(()) as told:
            for line in told:
                lines.put((tag, line))
        codes[tag] = process.wait()
        # The reason of an error comes before its end. A worker that holds the stream open still is not waited for.
        log.join(SECONDS_OF_LOG)
        lines.put((tag, None))

    processes, watched = [], set[str]()
    with handled(signal.SIGTERM, ended):
        try:
            for tag, command in commands.items():
                whole = [sys.executable, "-m", "compass.cli", *command]
                process = subprocess.Popen(
                    whole, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, encoding="utf-8",
                    errors="replace", env=ending_with_this(os.environ),
                )  # fmt: skip
                processes.append(process)
                watched.add(tag)
                threading.Thread(target=pass_on, args=(tag, process), daemon=True).start()
            yield from _events(lines, codes, watched)
        except STOPPED as stop:
            # Each tells its status as it ends. Ctrl-C of a terminal has reached it already; another signal would cut
            # that short.
            if isinstance(stop, KeyboardInterrupt):
                yield from _events(lines, codes, watched, seconds=SECONDS_TO_HEAR)
            for process in processes:
                process.terminate()
            yield from _events(lines, codes, watched, seconds=SECONDS_TO_END)
            raise
        finally:
            for process in processes:
                process.terminate()
            for process in processes:
                try:
                    process.wait(SECONDS_TO_END)
                except subprocess.TimeoutExpired:
                    process.kill()


def _events(
    lines: SimpleQueue[tuple[str, str | None]],
    codes: Mapping[str, int],
    watched: set[str],
    *,
    seconds: float | None = None,
) -> Iterator[Event]:
    """Yield what processes tell until all have ended; with `seconds`, when they were stopped, so long at most.

    watched: languages that have not ended; those that end are taken out.
    """
    unread, deadline = 0, None if seconds is None else time.monotonic() + seconds
    while watched:
        try:
            tag, line = lines.get(timeout=None if deadline is None else max(0.0, deadline - time.monotonic()))
        except Empty:
            return
        if line is None:
            watched.discard(tag)
            if seconds is None:
                _tell_end(tag, codes[tag], len(watched))
        elif event := _event_of(tag, line):
            yield event
        else:
            unread += 1
            logger.warning("%s: %d lines of output that are no event were passed over so far", tag, unread)


def _pass_log_on(tag: str, log: IO[str]) -> None:
    """Write what a process logs to stderr, each line with its language: those of others come between."""
    with log:
        for line in log:
            sys.stderr.write(f"{tag}: {line}")


def _event_of(tag: str, line: str) -> Event | None:
    """Return the event of a line of JSON, with its language; None for a line that is none, or was cut by a kill."""
    try:
        told = json.loads(line)
        kind, summary, version = told.pop("event"), told.pop("summary"), told.pop("version", "")
    except (ValueError, KeyError, AttributeError, TypeError):
        return None
    return Event(kind, f"{tag}: {summary}", version, {"language": tag, **told})


def _tell_end(tag: str, code: int, left: int) -> None:
    """Say at once that a language is no longer watched because its process was killed, which says nothing itself."""
    if code < 0:
        name = name_of(-code)
        others = f"; {left} others go on" if left else ""
        logger.error("%s is no longer watched: its process was killed (%s)%s", tag, name, others)
