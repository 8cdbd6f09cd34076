"""`compass watch` for each language of a project: a process each, their events in one stream."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from queue import SimpleQueue

from compass.records import Event
from compass.signals import ended, handled

SECONDS_TO_END = 30.0
"""What a process has to end in when the whole is stopped."""


def in_one_stream(commands: Mapping[str, Sequence[str]], codes: dict[str, int]) -> Iterator[Event]:
    """Run a command of ours for each language, and yield its events, lines of JSON, as they come, with the language.

    codes: gets the exit code of each. When the caller stops, by Ctrl-C too, all of them end.
    """
    lines: SimpleQueue[tuple[str, str | None]] = SimpleQueue()

    def pass_on(tag: str, process: subprocess.Popen[str]) -> None:
        for line in process.stdout or ():
            lines.put((tag, line))
        codes[tag] = process.wait()
        lines.put((tag, None))

    processes = []
    with handled(signal.SIGTERM, ended):
        try:
            for tag, command in commands.items():
                whole = [sys.executable, "-m", "compass.cli", *command]
                processes.append(subprocess.Popen(whole, stdout=subprocess.PIPE, text=True, encoding="utf-8"))
                threading.Thread(target=pass_on, args=(tag, processes[-1]), daemon=True).start()
            left = len(processes)
            while left:
                tag, line = lines.get()
                left -= line is None
                if line:
                    told = json.loads(line)
                    kind, summary, version = told.pop("event"), told.pop("summary"), told.pop("version", "")
                    yield Event(kind, f"{tag}: {summary}", version, {"language": tag, **told})
        finally:
            for process in processes:
                # Ctrl-C of a terminal has reached it already.
                process.terminate()
            for process in processes:
                with suppress(subprocess.TimeoutExpired):
                    process.wait(SECONDS_TO_END)
