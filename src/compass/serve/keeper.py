"""Writes answers and feedback down in a thread of its own, so that no request waits for a database."""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from compass.data.redaction import check_installed
from compass.drift.reservoir import storable, stored_form
from compass.errors import CompassError, MonitorError
from compass.serve.exchange import Exchange
from compass.serve.labelled import write_rows
from compass.serve.routing import text_of
from compass.serve.said import id_and_text
from compass.serve.store import Answer, Said, Store, storable_id

logger = logging.getLogger(__name__)

MOST_WAITING = 10_000
"""Answers in the queue; more are not kept."""
MOST_AT_ONCE = 500
GATHER_SECONDS, RETRY_SECONDS, ROWS_SECONDS, PURGE_SECONDS = 0.05, 1.0, 5.0, 3600.0
DAY = 86_400.0
END = None

Item = tuple[Exchange, float] | tuple[Said, "Future[Answer | None]"] | None


class Keeper:
    """Keeps answers, with texts as `mode` says: `off`, `redacted` or `full`, as the option `reservoir`."""

    def __init__(
        self,
        store: Store,
        serve_dir: Path,
        mode: str,
        *,
        retention_days: float,
        clock: Callable[[], float] = time.time,
        heard: Sequence[Callable[[Answer], None]] = (),
    ) -> None:
        """Start the thread. heard: each is called in it with each answer that something was said of.

        Raises MissingExtraError if redaction can't work.
        """
        if mode == "redacted":
            check_installed()
        self.dropped: Counter[str] = Counter()
        """Answers that are not kept, by reason."""
        self.heard = heard
        self._store, self._folder, self._mode = store, serve_dir, mode
        self._retention, self._clock = retention_days * DAY, clock
        self._queue: queue.SimpleQueue[Item] = queue.SimpleQueue()
        self._waiting: list[Answer] = []
        self._rows_due, self._purge_due = float("inf"), float("-inf")
        self._thread = threading.Thread(target=self._work, name="answers", daemon=True)
        self._thread.start()

    @property
    def keeps_texts(self) -> bool:
        """Whether corrections can be kept."""
        return self._mode != "off"

    def ended(self, exchange: Exchange) -> None:
        """Take in a whole answer; never waits."""
        if not exchange.ok or not exchange.may_be_kept:
            return
        if self._queue.qsize() >= MOST_WAITING:
            self.dropped["the queue is full"] += 1
            return
        self._queue.put((exchange, self._clock()))

    async def say(self, said: Said) -> Answer | None:
        """Write down what a user says; return the answer, None where there is none. Raises MonitorError."""
        done: Future[Answer | None] = Future()
        self._queue.put((said, done))
        return await asyncio.wrap_future(done)

    def close(self) -> None:
        """Write what waits, and end."""
        self._queue.put(END)
        self._thread.join()
        self._store.close()

    def _work(self) -> None:
        ended = False
        while not ended:
            items = self._next()
            ended = END in items
            for item in items:
                if item is END:
                    continue
                first, second = item
                if isinstance(first, Said):
                    self._hear(first, second)  # type: ignore[arg-type]
                    continue
                try:
                    self._take(first, float(second))  # type: ignore[arg-type]
                except Exception as error:
                    # One odd answer must not end the thread; the error may quote it.
                    self.dropped[f"unexpected {type(error).__name__}"] += 1
                    logger.warning("An answer is not kept (%s)", type(error).__name__)
            self._flush()
            self._tidy(ended=ended)

    def _next(self) -> list[Item]:
        try:
            items = [self._queue.get(timeout=RETRY_SECONDS)]
        except queue.Empty:
            return []
        if not isinstance(items[0], tuple) or not isinstance(items[0][0], Said):
            time.sleep(GATHER_SECONDS)
        while len(items) < MOST_AT_ONCE and not self._queue.empty():
            items.append(self._queue.get())
        return items

    def _take(self, exchange: Exchange, at: float) -> None:
        streamed = exchange.body.streams
        found, response = id_and_text(bytes(exchange.answer), streamed=streamed)
        if not found:
            self.dropped["the answer has no id"] += 1
            return
        if len(self._waiting) >= MOST_WAITING:
            self.dropped["the database can't be used"] += 1
            return
        route = exchange.route
        self._waiting.append(
            Answer(
                storable_id(found), exchange.asked.conversation, exchange.key, route.spoken, route.version,
                route.candidate, at, self._content(exchange, response), exact=route.exact,
            )
        )  # fmt: skip

    def _content(self, exchange: Exchange, response: str) -> dict[str, Any]:
        """Return the texts that are kept of an answer."""
        asked, language = exchange.asked, exchange.route.spoken
        if self._mode == "off" or not asked.turns or not asked.ends_with_user:
            return {}
        messages = exchange.body.values.get("messages")
        turns = messages[:-1] if isinstance(messages, list) else []
        context = [
            [str(turn.get("role")), self._form(text_of(turn.get("content")), language)]
            for turn in turns
            if isinstance(turn, dict)
        ]
        prompt = self._form(asked.turns[-1], language)
        return {"prompt": prompt, "response": self._form(response, language), "context": context}

    def _form(self, text: str, language: str) -> str:
        """Return a text as it may be kept; nothing of it where its private data can't be replaced."""
        form = stored_form(text, language, self._mode, lost="A text is not kept, since")
        if form is None:
            self.dropped["redaction failed"] += 1
            return ""
        return storable(form)

    def _hear(self, said: Said, done: Future[Answer | None]) -> None:
        if not done.set_running_or_notify_cancel():
            # Who said it waits no longer, and was told to send it again.
            return
        try:
            # What is said of an answer may come before that was written.
            self._store.add(self._waiting)
            self._waiting = []
            correction = None if said.correction is None else self._form(said.correction, "und")
            answer = self._store.say(Said(storable_id(said.id), said.key, said.thumb, correction), self._clock())
        except Exception as error:
            done.set_exception(error)
            return
        if answer is not None:
            self._rows_due = min(self._rows_due, self._clock() + ROWS_SECONDS)
            for tell in self.heard:
                try:
                    tell(answer)
                except Exception as error:
                    logger.warning(
                        "Feedback is kept, but not counted for candidate or monitor (%s)", type(error).__name__
                    )
        done.set_result(answer)

    def _flush(self) -> None:
        if not self._waiting:
            return
        try:
            self._store.add(self._waiting)
            self._waiting = []
        except MonitorError as error:
            logger.warning("%d answers wait to be kept: %s", len(self._waiting), error)
            time.sleep(RETRY_SECONDS)

    def _tidy(self, *, ended: bool) -> None:
        now = self._clock()
        try:
            if now >= self._purge_due:
                self._purge_due = now + PURGE_SECONDS
                self._store.purge(now=now, retention_seconds=self._retention, texts=self.keeps_texts)
                self._rows_due = now
            if now >= self._rows_due or (ended and self._rows_due < float("inf")):
                self._rows_due = float("inf")
                write_rows(self._folder, self._store.said)
        except (CompassError, OSError) as error:
            self._rows_due = now + PURGE_SECONDS / 60
            logger.warning("The rows that users' feedback became are not up to date: %s", error)
