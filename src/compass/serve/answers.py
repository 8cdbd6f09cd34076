"""What the gateway itself says to a client, in the form of OpenAI's API, and how an answer is sent on as it comes."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from compass.serve.protocol import CHAT, COMPLETIONS, Headers

Result = TypeVar("Result")

RETRY_SECONDS = 1.0
"""When a client may try again where no backend could answer, or the gateway stopped."""


class ClientGoneError(Exception):
    """The client has closed its connection: nobody waits for the answer."""


class RefusedError(Exception):
    """A request is not passed on. status: of HTTP; code: a word for programs; after: seconds until another try."""

    def __init__(self, status: int, code: str, message: str, *, after: float | None = None) -> None:
        super().__init__(message)
        self.status, self.code, self.after = status, code, after

    def response(self) -> Response:
        """Return it as an answer."""
        headers = {} if self.after is None else {"retry-after": str(max(1, math.ceil(self.after)))}
        return Response(error_body(str(self), self.code), self.status, headers, "application/json")


def error_body(message: str, code: str) -> bytes:
    """Return an error as OpenAI's API writes it."""
    return json.dumps({"error": {"message": message, "type": "compass_error", "param": None, "code": code}}).encode()


def error_event(message: str, code: str) -> bytes:
    """Return an error as the last event of a stream that breaks off."""
    return b"\n\ndata: " + error_body(message, code) + b"\n\n"


async def unless_gone(receive: Receive, work: Coroutine[Any, Any, Result]) -> Result:
    """Return what `work` does, which ends when the client goes. Raises ClientGoneError then."""
    task, listening = asyncio.ensure_future(work), asyncio.ensure_future(_gone(receive))
    try:
        await asyncio.wait({task, listening}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        raise ClientGoneError
    finally:
        for one in (task, listening):
            one.cancel()
        await asyncio.gather(task, listening, return_exceptions=True)


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def with_headers(response: Response, headers: Headers) -> Response:
    """Add headers to an answer as they are, also those that come more than once."""
    response.raw_headers += [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]
    return response


class CutOff:
    """Middleware: what still runs when the server stops waiting, and cancels it, ends in an error of OpenAI's API."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun = streams = False

        async def watched(message: Message) -> None:
            nonlocal begun, streams
            begun = True
            if message["type"] == "http.response.start" and scope["path"] in (CHAT, COMPLETIONS):
                streams = any(value.startswith(b"text/event-stream") for _, value in message["headers"])
            await send(message)

        try:
            await self._app(scope, receive, watched)
        except asyncio.CancelledError:
            said = "The gateway was stopped during the answer. Send the request again."
            why = RefusedError(503, "stopped", said, after=RETRY_SECONDS)
            if streams:
                last = error_event(str(why), why.code)
                await send({"type": "http.response.body", "body": last, "more_body": False})
            elif not begun:
                await why.response()(scope, receive, send)


class Streamed(Response):
    """An answer that is sent on piece by piece. end: called once, however it ends."""

    def __init__(self, status: int, headers: Headers, chunks: AsyncIterator[bytes], end: Callable[[], Awaitable[None]]):
        self.status_code, self.background = status, None
        self.raw_headers = []
        with_headers(self, tuple(pair for pair in headers if pair[0] != "content-length"))
        self._chunks, self._end = chunks, end

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it; stops when the client goes."""
        try:
            await unless_gone(receive, self._send(send))
        except ClientGoneError:
            pass
        finally:
            await self._end()

    async def _send(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        async for chunk in self._chunks:
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})
