"""Work for a client that may go: what it gives, and how it ends."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from compass.serve.answers import ClientGoneError, CutOff, unless_gone

EVENTS = [(b"content-type", b"text/event-stream; charset=utf-8")]


class Client:
    """Receives as an application does: nothing until the client goes."""

    def __init__(self) -> None:
        self.gone = asyncio.Event()

    async def receive(self) -> dict[str, Any]:
        await self.gone.wait()
        return {"type": "http.disconnect"}


def run(work: Coroutine[Any, Any, Any]) -> Any:
    """Return what it returns; nothing of it may still be running then."""

    async def whole() -> Any:
        try:
            return await work
        finally:
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            assert asyncio.all_tasks() == {asyncio.current_task()}

    return asyncio.run(whole())


def test_an_answer_and_an_error_are_passed_on() -> None:
    async def answer() -> str:
        await asyncio.sleep(0)
        return "answer"

    async def error() -> str:
        await asyncio.sleep(0)
        raise ValueError("wrong")

    async def ask(work: Coroutine[Any, Any, str]) -> str:
        return await unless_gone(Client().receive, work)

    assert run(ask(answer())) == "answer"
    with pytest.raises(ValueError, match="wrong"):
        run(ask(error()))


def test_a_client_that_goes_ends_the_work_and_the_request_goes_on() -> None:
    """The model would write to the end for nobody; and who counts requests would be cancelled with the work."""
    ended = []

    async def ask() -> str:
        client = Client()

        async def work() -> None:
            asyncio.get_running_loop().call_soon(client.gone.set)
            try:
                async with asyncio.timeout(60):
                    await asyncio.sleep(60)
            finally:
                ended.append(True)

        with pytest.raises(ClientGoneError):
            await unless_gone(client.receive, work())
        # As after any other error: what comes next is not cancelled.
        await asyncio.sleep(0)
        return "counted"

    assert run(ask()) == "counted"
    assert ended == [True]


def test_a_request_that_somebody_else_ends_is_cancelled() -> None:
    """A server that stops would be told that the client has gone, and wait for ever."""

    async def ask() -> None:
        task = asyncio.ensure_future(unless_gone(Client().receive, asyncio.sleep(60)))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(ask())


@pytest.mark.parametrize("begun", [False, True])
def test_what_a_stop_cuts_off_ends_in_an_error_that_clients_understand(begun: bool) -> None:
    """The server would write a traceback for each request, and clients get a plain 500 or a stream without an end."""
    sent: list[dict[str, Any]] = []

    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        if begun:
            await send({"type": "http.response.start", "status": 200, "headers": EVENTS})
        await asyncio.sleep(60)

    async def send(message: Any) -> None:
        sent.append(message)

    async def stopped() -> None:
        scope = {"type": "http", "path": "/v1/chat/completions"}
        task = asyncio.create_task(CutOff(app)(scope, Client().receive, send))
        await asyncio.sleep(0.01)
        task.cancel()
        await task

    run(stopped())
    assert [message["type"] for message in sent] == ["http.response.start", "http.response.body"]
    assert sent[0]["status"] == (200 if begun else 503)
    assert b'"code": "stopped"' in sent[1]["body"]
    assert sent[1]["body"].lstrip().startswith(b"data: ") == begun
    assert not sent[1].get("more_body")
