"""From a client's request to a backend's answer: read `answer` top to bottom."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import ExitStack

from starlette.requests import Request
from starlette.responses import Response

from compass.serve.answers import (
    RETRY_SECONDS,
    ClientGoneError,
    RefusedError,
    Streamed,
    error_event,
    unless_gone,
    with_headers,
)
from compass.serve.body import Body, read_body
from compass.serve.door import Door
from compass.serve.exchange import Exchange
from compass.serve.fleet import Fleet, Replica
from compass.serve.keys import Key
from compass.serve.over_http import OURS, end_to_end
from compass.serve.protocol import Call, LostError, Reply, UnknownAdapterError, UnreachableError
from compass.serve.router import Router
from compass.serve.routing import BASE, RouteError
from compass.serve.tracing import Spans

logger = logging.getLogger(__name__)

Observer = Callable[[Exchange], None]


class Gateway:
    """Answers requests by the backends of a fleet. observers: called when an answer has ended; they do not wait."""

    def __init__(
        self,
        fleet: Fleet,
        *,
        door: Door | None = None,
        timeout: float = 600.0,
        observers: Sequence[Observer] = (),
        spans: Spans | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.fleet, self.door, self._timeout, self._clock = fleet, door or Door(), timeout, clock
        self.observers, self.spans = [*observers, *((spans.ended,) if spans else ())], spans
        self._router = Router()

    async def answer(self, request: Request, path: str) -> Response:
        """Answer a call of OpenAI's API. Raises RefusedError with what the client is to hear instead."""
        # 1. Who asks, and what for.
        key = self.door.key_of(request.headers)
        work = ExitStack()
        work.enter_context(self.door.inside(key))
        try:
            body = await self._body(request)
            exchange = self._routed(path, body, request.headers, key)
        except BaseException:
            work.close()
            raise
        # 2. Who answers it: the version stays the same to the end, whatever is promoted meanwhile.
        passed_on = end_to_end(request.headers.raw, OURS)
        if self.spans:
            passed_on = self.spans.started(exchange, passed_on)
        call = Call(path, body, exchange.route.adapter, passed_on)
        begin = self._first_byte if body.streams else self._whole
        try:
            reply = await unless_gone(request.receive, begin(call, exchange, work))
        except BaseException as error:
            work.close()
            exchange.status = _status_of(error)
            self._ended(exchange)
            raise
        # 3. The answer, as it comes.
        if body.streams:
            return Streamed(
                reply.status,
                (*reply.headers, *_about(exchange)),
                self._passed_on(reply, exchange),
                lambda: self._close(reply, exchange, work),
            )
        work.close()
        self._ended(exchange)
        response = Response(bytes(exchange.answer), reply.status)
        return with_headers(
            response, tuple(pair for pair in (*reply.headers, *_about(exchange)) if pair[0] != "content-length")
        )

    async def _body(self, request: Request) -> Body:
        try:
            return read_body(await self.door.body_of(request))
        except ValueError as error:
            raise RefusedError(400, "invalid_body", f"{error}.") from None

    def _routed(self, path: str, body: Body, headers: Mapping[str, str], key: Key) -> Exchange:
        try:
            asked, found = self._router.routed(body.values, self.fleet.table, headers)
        except RouteError as error:
            if error.missing:
                raise RefusedError(404, "model_not_found", f"{error}.") from None
            raise RefusedError(400, "invalid_request", f"{error}.") from None
        return Exchange(path, body, asked, found, key.name, started=self._clock())

    async def _first_byte(self, call: Call, exchange: Exchange, work: ExitStack) -> Reply:
        """Return the beginning of the first answer that a backend gives; one that took nothing gives way to another."""
        tried: list[Replica] = []
        try:
            async with asyncio.timeout(self._timeout):
                while replica := self.fleet.choose(call.adapter, exchange.asked.conversation, tried):
                    tried.append(replica)
                    exchange.backend = replica.name
                    with ExitStack() as attempt:
                        attempt.enter_context(replica.at_work(call.adapter))
                        try:
                            reply = await replica.backend.forward(call)
                        except UnknownAdapterError:
                            replica.forgot(call.adapter)
                            continue
                        except UnreachableError:
                            replica.lost()
                            continue
                        work.push(attempt.pop_all())
                    replica.answered = self._clock()
                    exchange.status, exchange.first_byte = reply.status, self._clock() - exchange.started
                    return reply
        except TimeoutError:
            raise RefusedError(504, "timeout", f"No answer came within {self._timeout:g} s.") from None
        except LostError as error:
            self._look_again(tried)
            raise RefusedError(502, "backend_lost", f"{error} Send the request again.", after=RETRY_SECONDS) from None
        self._look_again(tried)
        what = call.adapter or "the base model"
        raise RefusedError(503, "no_backend", f"No backend can answer with {what} now.", after=RETRY_SECONDS)

    def _look_again(self, replicas: Sequence[Replica]) -> None:
        for replica in replicas:
            replica.wake.set()
        self.fleet.recompute()

    async def _whole(self, call: Call, exchange: Exchange, work: ExitStack) -> Reply:
        """Return an answer that has been read to its end."""
        reply = await self._first_byte(call, exchange, work)
        try:
            await self._read(reply, exchange)
        finally:
            await reply.close()
        return reply

    async def _read(self, reply: Reply, exchange: Exchange) -> None:
        """Read an answer that is sent in one piece, so that one that breaks off becomes a clean error."""
        left = max(0.0, self._timeout - (self._clock() - exchange.started))
        try:
            async with asyncio.timeout(left):
                async for chunk in reply.chunks:
                    exchange.answer += chunk
        except TimeoutError:
            raise RefusedError(504, "timeout", f"No whole answer came within {self._timeout:g} s.") from None
        except LostError as error:
            raise RefusedError(502, "backend_lost", f"{error} Send the request again.", after=RETRY_SECONDS) from None

    async def _passed_on(self, reply: Reply, exchange: Exchange) -> AsyncIterator[bytes]:
        """Yield the pieces of a stream; one that breaks off ends in an event that says so, and without `[DONE]`."""
        status, exchange.status = exchange.status, 499
        try:
            async for chunk in reply.chunks:
                exchange.saw(chunk)
                yield chunk
            exchange.status = status
        except (LostError, TimeoutError) as error:
            exchange.status = 504 if isinstance(error, TimeoutError) else 502
            yield error_event(str(error), "backend_lost")

    async def _close(self, reply: Reply, exchange: Exchange, work: ExitStack) -> None:
        work.close()
        self._ended(exchange)
        await reply.close()

    def _ended(self, exchange: Exchange) -> None:
        exchange.seconds = self._clock() - exchange.started
        for observer in self.observers:
            try:
                observer(exchange)
            except Exception as error:
                # Nobody's answer depends on what is counted; the error may quote it.
                logger.warning("An answer is not counted (%s)", type(error).__name__)
                logger.debug("The error:", exc_info=error)


def _about(exchange: Exchange) -> tuple[tuple[str, str], ...]:
    """Return headers that say who answered."""
    return (
        ("x-compass-model", exchange.route.adapter or BASE),
        ("x-compass-conversation", exchange.asked.conversation),
    )


def _status_of(error: BaseException) -> int:
    if isinstance(error, RefusedError):
        return error.status
    return 499 if isinstance(error, ClientGoneError | asyncio.CancelledError) else 500
