"""Prompts on their way to the monitor: files of JSON Lines in `SERVE_DIR/prompts`, which `compass watch` reads.

A prompt is written once its answer has ended well, by a thread that never makes a request wait. Lost are, and counted:
what finds the queue full, what can't be written (a full disk), and what redaction fails on. Lost and not counted is
what the gateway has not written when it is killed: at most the last FLUSH_SECONDS. Nothing is written twice: each
process has files of its own, and a line that a kill left half is never completed.
"""

from __future__ import annotations

import json
import logging
import os
import queue
import threading
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, NamedTuple
from uuid import uuid4

from compass.data.languages import UNDETERMINED
from compass.data.redaction import check_installed
from compass.drift.log_lines import FILE_HEADER, LABEL_OF, SERVED, UNKNOWN_LANGUAGE
from compass.drift.reservoir import stored_form
from compass.serve.exchange import Exchange
from compass.serve.routing import Route
from compass.serve.store import Answer

logger = logging.getLogger(__name__)

FOLDER = "prompts"
FLUSH_SECONDS = 0.2
MOST_WAITING = 10_000
"""Prompts in the queue; more are dropped."""
LARGEST_FILE = 64 << 20
DAY = 86_400.0
END = None

Item = tuple[str, Route, str, float] | tuple[Answer, float] | None


class PromptLog:
    """Writes prompts down. mode: `redacted` or `full`, as the option `reservoir`; with `off` there is no log."""

    def __init__(
        self, serve_dir: Path, mode: str, *, retention_days: float, clock: Callable[[], float] = time.time
    ) -> None:
        """Make the folder and start the thread. Raises MissingExtraError if redaction can't work."""
        if mode == "redacted":
            check_installed()
        self.folder = serve_dir / FOLDER
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.dropped: Counter[str] = Counter()
        """Prompts that were lost, by reason."""
        self.written = 0
        self._mode, self._retention, self._clock = mode, retention_days * DAY, clock
        self._queue: queue.SimpleQueue[Item] = queue.SimpleQueue()
        self._file: IO[bytes] | None = None
        self._size, self._purged = 0, float("-inf")
        self._thread = threading.Thread(target=self._work, name="prompts", daemon=True)
        self._thread.start()

    def ended(self, exchange: Exchange) -> None:
        """Take in the prompt of a whole answer; never waits. A tool's answer repeats a prompt and is passed over, and
        so is a request with `store: false`."""
        asked = exchange.asked
        if not exchange.ok or not asked.ends_with_user or not asked.turns or not exchange.may_be_kept:
            return
        self._put((asked.turns[-1], exchange.route, asked.conversation, self._clock()))

    def heard(self, answer: Answer) -> None:
        """Take in what a user says of an answer, for the monitor's test of losses; never waits. A thumb decides, and a
        correction alone says that the answer was wrong."""
        self._put((answer, self._clock()))

    def _put(self, item: Item) -> None:
        if self._queue.qsize() >= MOST_WAITING:
            self.dropped["the queue is full"] += 1
        else:
            self._queue.put(item)

    def close(self) -> None:
        """Write what waits, and end."""
        self._queue.put(END)
        self._thread.join()

    def _work(self) -> None:
        while True:
            batch = [self._queue.get()]
            time.sleep(FLUSH_SECONDS if batch[0] is not END else 0.0)
            while not self._queue.empty() and len(batch) < MOST_WAITING:
                batch.append(self._queue.get())
            lines = [line for item in batch if item is not END and (line := self._bytes(item))]
            try:
                self._write(lines)
            except OSError as error:
                # A line that was written in part is never completed: the next ones go to another file.
                self.dropped[f"can't be written ({error.strerror})"] += len(lines)
                logger.warning("%d prompts are lost to the monitor: %s (%s)", len(lines), error.strerror, self.folder)
                self._close_file()
            if END in batch:
                self._close_file()
                return

    def _bytes(self, item: tuple[Any, ...]) -> bytes:
        return _label(*item) if isinstance(item[0], Answer) else self._line(*item)

    def _line(self, prompt: str, route: Route, conversation: str, at: float) -> bytes:
        form = stored_form(prompt, route.spoken, self._mode, lost="A prompt is lost to the monitor:")
        if form is None:
            self.dropped["redaction failed"] += 1
            return b""
        row = {
            "prompt": form,
            "language": UNKNOWN_LANGUAGE if route.spoken == UNDETERMINED else route.spoken,
            SERVED: route.language,
            "session": conversation,
            "timestamp": _time(at),
            "version": route.version,
        }
        return _json_line(row)

    def _write(self, lines: list[bytes]) -> None:
        self._purge()
        if not lines:
            return
        if self._file is None or self._size > LARGEST_FILE:
            self._open()
        content = memoryview(b"".join(lines))
        while self._file is not None and content:
            taken = self._file.write(content)
            self._size += taken
            content = content[taken:]
        self.written += len(lines)

    def _open(self) -> None:
        self._close_file()
        now = datetime.fromtimestamp(self._clock(), UTC)
        path = self.folder / f"{now:%Y%m%dT%H%M%S%f}-{uuid4().hex[:8]}.jsonl"
        # Unbuffered, and its owner's alone. The first line tells the file from others when lines of it are forgotten.
        self._file = os.fdopen(os.open(path, os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_WRONLY, 0o600), "wb", 0)
        header = FILE_HEADER + f', "format": 1, "id": "{uuid4().hex}"}}\n'.encode()
        self._file.write(header)
        self._size = len(header)

    def _close_file(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _purge(self) -> None:
        """Remove files whose last prompt is older than the retention time; a file is ended after a day."""
        now = self._clock()
        if now - self._purged < min(DAY, max(self._retention, 1.0)) / 24:
            return
        if self._purged > float("-inf"):
            self._close_file()
        self._purged = now
        for path in self.folder.glob("*.jsonl"):
            try:
                if path.stat().st_mtime < now - self._retention:
                    path.unlink()
            except OSError as error:
                logger.warning("%s can't be removed: %s", path, error.strerror)


def _label(answer: Answer, at: float) -> bytes:
    row = {
        LABEL_OF: answer.id,
        # As in the line of its prompt: the base model has no language of its own.
        SERVED: answer.language if answer.version else UNDETERMINED,
        "version": answer.version,
        "correct": answer.pleased,
        "session": answer.conversation,
        "timestamp": _time(at),
    }
    return _json_line(row)


def _time(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")


def _json_line(row: dict[str, Any]) -> bytes:
    return json.dumps(row, ensure_ascii=False).encode("utf-8", "replace") + b"\n"


class Blanked(NamedTuple):
    """Lines of a conversation that were blanked."""

    prompts: int
    feedback: int
    """Lines that say what a user thought of an answer."""
    texts: set[str]
    """The prompts themselves."""


def forget(serve_dir: Path, conversation: str, *, dry_run: bool = False) -> Blanked:
    """Blank a conversation's lines, so that readers' places stay right; return what they were.

    dry_run: leave them.
    """
    prompts, feedback = 0, 0
    texts: set[str] = set()
    for path in sorted((serve_dir / FOLDER).glob("*.jsonl")):
        with path.open("r+b") as file:
            while True:
                start = file.tell()
                line = file.readline()
                if not line:
                    break
                if conversation.encode() not in line:
                    continue
                try:
                    row = json.loads(line)
                except ValueError:
                    continue
                if isinstance(row, dict) and row.get("session") == conversation:
                    end = file.tell()
                    if not dry_run:
                        file.seek(start)
                        file.write(b" " * len(line.rstrip(b"\n")))
                        file.seek(end)
                    if "prompt" in row:
                        prompts += 1
                        texts.add(str(row["prompt"]))
                    else:
                        feedback += 1
    return Blanked(prompts, feedback, texts)
