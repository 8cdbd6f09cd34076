"""A model in the gateway's own process: transformers and peft, with several adapters in one batch.

One thread owns the model. What arrives together begins as one batch, and joins those that run after its first token, so
that a new request does not wait for them. Adapters are loaded between two tokens.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import queue
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compass.errors import CompassError, DataError, ServeError
from compass.serve.answers import error_body
from compass.serve.completions import Answer, Asked, AskedWronglyError, read_request
from compass.serve.protocol import CHAT, Call, Listing, LostError, Reply, UnknownAdapterError, UnreachableError, once
from compass.steps.lock import dtype_of
from compass.steps.resources import cache_folder

if TYPE_CHECKING:
    from compass.training.mixed import Batch, MixedModel, Row

logger = logging.getLogger(__name__)

MOST_ROWS = 32
"""Prompts that are answered at a time; others wait."""
GATHER_SECONDS = 0.005
"""How long the first of several requests waits for the others."""
JSON_TYPE, STREAM_TYPE = (("content-type", "application/json"),), (("content-type", "text/event-stream"),)


@dataclass(frozen=True)
class _Piece:
    """New text of one of a request's answers."""

    index: int
    text: str
    end: str
    """Why it has ended; empty while it goes on."""


@dataclass(eq=False)
class _Work:
    """A request in the model's thread. Pieces, or the error that ended it, come out of `events` in the event loop."""

    asked: Asked
    adapter: str
    loop: asyncio.AbstractEventLoop
    events: asyncio.Queue[_Piece | Exception] = field(default_factory=asyncio.Queue)
    rows: list[Row] = field(default_factory=list)
    sent: list[int] = field(default_factory=list)
    """Characters of each answer that were handed on."""
    told: set[int] = field(default_factory=set)
    """Answers whose end was handed on."""
    gone: bool = False
    """Whether nobody waits for it any more."""

    def put(self, event: _Piece | Exception) -> None:
        """Hand an event to the event loop, from the model's thread."""
        with contextlib.suppress(RuntimeError):  # The loop may be closed.
            self.loop.call_soon_threadsafe(self.events.put_nowait, event)

    def cancel(self) -> None:
        """End the work: nobody waits for it."""
        self.gone = True

    @property
    def usage(self) -> dict[str, int]:
        """Tokens of prompts and answers."""
        prompt, answer = (sum(map(len, part)) for part in zip(*((r.prompt, r.tokens) for r in self.rows), strict=True))
        return {"prompt_tokens": prompt, "completion_tokens": answer, "total_tokens": prompt + answer}


class Embedded:
    """The embedded backend. The base model is that of the first adapter that is loaded."""

    name = "embedded"

    def __init__(self, *, cache_dir: str = "", dtype: str = "auto") -> None:
        """Nothing is loaded yet. cache_dir: of prepared models, as in `cache_folder`; dtype: `auto` takes that of the
        first adapter's run."""
        self._cache_dir, self._dtype = cache_dir, dtype
        self._folders: dict[str, Path] = {}
        self._model: MixedModel | None = None
        self._engine = _Engine()

    async def health(self) -> bool:
        """Say whether its thread is alive."""
        return self._engine.alive

    async def list(self) -> Listing:
        """Return the base model and the adapters with their folders."""
        return Listing(self._model.base.name if self._model else "", {n: str(f) for n, f in self._folders.items()})

    async def load(self, name: str, folder: Path) -> None:
        """Load an adapter, the first one with its base model. Raises ServeError if it does not fit."""
        if name in self._folders:
            return
        await self._in_thread(lambda: self._load(name, folder))

    async def unload(self, name: str) -> None:
        """Unload an adapter."""
        if self._folders.pop(name, None) is not None and (model := self._model):
            await self._in_thread(lambda: model.unload(name))

    async def forward(self, call: Call) -> Reply:
        """Answer a request."""
        try:
            asked = read_request(call.path, call.body.values)
        except AskedWronglyError as error:
            return _refused(str(error))
        if call.adapter and call.adapter not in self._folders:
            raise UnknownAdapterError(f"{self.name} does not have {call.adapter}.")
        if self._model is None or not self._engine.alive:
            raise UnreachableError(f"{self.name} has loaded no model yet.")
        work = _Work(asked, call.adapter, asyncio.get_running_loop())
        model = self._model
        self._engine.submit(lambda: _prepare(work, model), work)
        answer = Answer(asked, call.adapter or model.base.name)
        try:
            first = await work.events.get()
            if isinstance(first, DataError):
                return _refused(str(first))
            if isinstance(first, Exception):
                raise LostError(f"{self.name} broke off ({type(first).__name__}).") from first
            if asked.stream:
                return Reply(200, STREAM_TYPE, _stream(work, answer, first), _closing(work))
            return Reply(200, JSON_TYPE, once(await _whole(work, answer, first)))
        except BaseException:
            work.cancel()
            raise

    async def close(self) -> None:
        """End the thread and give the memory back."""
        await asyncio.to_thread(self._engine.stop)
        self._model, self._folders = None, {}

    def _load(self, name: str, folder: Path) -> None:
        from compass.training import resolve_model
        from compass.training.mixed import MixedModel, base_of

        if name in self._folders:
            # Who asked before did not wait to the end.
            return
        if self._model is None:
            base, revision = base_of(folder)
            found = resolve_model(base, revision=revision, cache_dir=cache_folder(self._cache_dir))
            self._model = self._engine.model = MixedModel(found, dtype=dtype_of(folder.parent, self._dtype))
        self._model.load(name, folder)
        self._folders[name] = folder

    async def _in_thread(self, job: Callable[[], Any]) -> None:
        try:
            await asyncio.wrap_future(self._engine.run(job))
        except ServeError:
            raise
        except CompassError as error:
            raise ServeError(f"{self.name}: {error}") from error


class _Engine:
    """The thread that owns the model."""

    def __init__(self) -> None:
        self.model: MixedModel | None = None
        self._jobs: queue.SimpleQueue[tuple[Callable[[], Any] | None, _Work | Future[Any] | None]] = queue.SimpleQueue()
        self._waiting: list[_Work] = []
        self._batches: list[tuple[Batch, list[_Work]]] = []
        self._stopped = False
        self._thread = threading.Thread(target=self._work, name="compass-embedded", daemon=True)
        self._thread.start()

    @property
    def alive(self) -> bool:
        return self._thread.is_alive() and not self._stopped

    def run(self, job: Callable[[], Any]) -> Future[Any]:
        """Run a job between two tokens."""
        done: Future[Any] = Future()
        self._jobs.put((job, done))
        if not self.alive:
            self._turn_away()
        return done

    def submit(self, prepare: Callable[[], Any], work: _Work) -> None:
        """Answer a request. prepare: makes its rows."""
        self._jobs.put((prepare, work))

    def stop(self) -> None:
        """End the thread; requests that run break off."""
        self._stopped = True
        self._jobs.put((None, None))
        self._thread.join()

    def _work(self) -> None:
        while not self._stopped:
            self._take(wait=not self._batches and not self._waiting)
            self._begin()
            for batch, works in list(self._batches):
                self._step(batch, works)
            self._join()
        for work in [*self._waiting, *(work for _batch, works in self._batches for work in works)]:
            work.put(ServeError("the server was stopped"))
        self._turn_away()

    def _turn_away(self) -> None:
        """Tell who still waits for the thread that it has ended."""
        with contextlib.suppress(queue.Empty):
            while True:
                _job, owner = self._jobs.get_nowait()
                stopped = ServeError("the embedded backend was stopped.")
                if isinstance(owner, Future):
                    if owner.set_running_or_notify_cancel():
                        owner.set_exception(stopped)
                elif owner is not None:
                    owner.put(stopped)

    def _take(self, *, wait: bool) -> None:
        """Take what has come in; wait: for the first thing, and a moment for what comes along with it."""
        timeout = None if wait else 0.0
        while True:
            try:
                job, owner = self._jobs.get(timeout=timeout) if timeout != 0.0 else self._jobs.get_nowait()
            except queue.Empty:
                return
            if timeout is None:
                timeout = GATHER_SECONDS
            if job is None:
                return
            self._do(job, owner)

    def _do(self, job: Callable[[], Any], owner: _Work | Future[Any] | None) -> None:
        if isinstance(owner, Future) and not owner.set_running_or_notify_cancel():
            return
        try:
            done = job()
        except Exception as error:  # Whatever it is, it is told to who asked, and the others go on.
            if isinstance(owner, Future):
                owner.set_exception(error)
            elif owner is not None:
                owner.put(error)
            return
        if isinstance(owner, Future):
            owner.set_result(done)
        elif owner is not None:
            self._waiting.append(owner)

    def _begin(self) -> None:
        """Make a batch of waiting requests, as many as there is room for."""
        running = sum(len(batch.rows) for batch, _ in self._batches)
        chosen: list[_Work] = []
        while self._waiting and (not running or running + len(self._waiting[0].rows) <= MOST_ROWS):
            work = self._waiting.pop(0)
            if not work.gone:
                chosen.append(work)
                running += len(work.rows)
        if chosen and self.model:
            self._batches.append((self.model.start([row for work in chosen for row in work.rows]), chosen))

    def _step(self, batch: Batch, works: list[_Work]) -> None:
        for work in works:
            if work.gone:
                for row in work.rows:
                    row.finished = row.finished or "stop"
        try:
            stepped = batch.step()
            for work in works:
                self._tell(work)
        except Exception as error:
            logger.exception("answering broke off")
            for work in works:
                work.put(error)
            stepped = []
        # A batch that others join may go on for ever: who has got everything is left out.
        works[:] = [work for work in works if len(work.told) < len(work.rows)]
        if not stepped or all(row.finished for row in stepped):
            self._batches = [pair for pair in self._batches if pair[0] is not batch]

    def _join(self) -> None:
        """Put batches together that have made a step; those of some models stay apart."""
        together: list[tuple[Batch, list[_Work]]] = []
        for batch, works in self._batches:
            try:
                joined = bool(together) and together[0][0].join(batch)
            except Exception as error:
                # As where memory runs out: neither can go on.
                logger.exception("putting batches together failed")
                for work in [*together.pop(0)[1], *works]:
                    work.put(error)
                continue
            if joined:
                together[0][1].extend(works)
            else:
                together.append((batch, works))
        self._batches = together

    def _tell(self, work: _Work) -> None:
        """Hand on what is new of a request's answers."""
        assert self.model is not None
        if failed := next((row.failed for row in work.rows if row.failed), None):
            logger.warning("An answer of %s broke off: %s", work.adapter or "the base model", failed)
            work.put(failed)
            work.told.update(range(len(work.rows)))
        for index, row in enumerate(work.rows):
            if index in work.told:
                # Beside a row that failed, others would go on for nobody.
                row.finished = row.finished or "stop"
                continue
            text, shown = self.model.text_of(row.tokens), None
            for stop in work.asked.stop:
                if (at := text.find(stop)) >= 0:
                    shown = min(at, len(text) if shown is None else shown)
            if shown is not None:
                text, row.finished = text[:shown], "stop"
            if row.finished:
                work.told.add(index)
            else:
                text = text[: _safe_length(text, work.asked.stop)]
            if len(text) > work.sent[index] or row.finished:
                work.put(_Piece(index, text[work.sent[index] :], row.finished))
                work.sent[index] = max(len(text), work.sent[index])


def _safe_length(text: str, stops: tuple[str, ...]) -> int:
    """Return how much of a text may be shown: no half character, and no beginning of what would end it."""
    end = len(text.rstrip("\N{REPLACEMENT CHARACTER}"))
    for stop in stops:
        for n in range(min(len(stop) - 1, end), 0, -1):
            if text[:end].endswith(stop[:n]):
                end -= n
                break
    return end


def _prepare(work: _Work, model: MixedModel) -> None:
    """Make a request's rows. Raises DataError for what the model can't take."""
    from compass.training.mixed import Row

    asked = work.asked
    if asked.path == CHAT:
        prompts = [model.prompt_of(asked.messages, work.adapter, asked.tools)]
    else:
        prompts = [model.ids_of(p, asked.special_tokens) if isinstance(p, str) else list(p) for p in asked.prompts]
    for prompt in prompts:
        room = model.max_length - len(prompt)
        if not prompt or room < 1:
            raise DataError(f"the prompt has {len(prompt)} tokens, and the model takes 1 to {model.max_length - 1}")
        if max(prompt) >= model.vocabulary:
            raise DataError(f"prompt: token ids go up to {model.vocabulary - 1}")
        work.rows.append(
            Row(prompt, work.adapter, min(asked.max_tokens, room), asked.temperature, asked.top_p, asked.seed)
        )
    work.sent = [0] * len(prompts)


async def _pieces(work: _Work, first: _Piece) -> AsyncIterator[_Piece]:
    left, piece = len(work.rows), first
    while True:
        yield piece
        left -= bool(piece.end)
        if not left:
            return
        found = await work.events.get()
        if isinstance(found, Exception):
            raise LostError(f"the embedded model broke off ({type(found).__name__}).") from found
        piece = found


async def _whole(work: _Work, answer: Answer, first: _Piece) -> bytes:
    texts, ends = [""] * len(work.rows), [""] * len(work.rows)
    async for piece in _pieces(work, first):
        texts[piece.index] += piece.text
        ends[piece.index] = piece.end
    return answer.whole(texts, ends, work.usage)


async def _stream(work: _Work, answer: Answer, first: _Piece) -> AsyncIterator[bytes]:
    if begin := answer.begin():
        yield begin
    async for piece in _pieces(work, first):
        yield answer.piece(piece.index, piece.text, piece.end)
    yield answer.end(work.usage)


def _closing(work: _Work) -> Any:
    async def close() -> None:
        work.cancel()

    return close


def _refused(message: str) -> Reply:
    return Reply(400, JSON_TYPE, once(error_body(message, "invalid_request")))
