"""Requests through the gateway to fake model servers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from compass.registry import Registry
from compass.serve.app import make_app
from compass.serve.gateway import Gateway
from model_servers import BASE, FakeVllm, make_gateway, settle

WELSH = "Trowch y golau ymlaen yn y gegin os gwelwch yn dda"
GREEK = "Άναψε το φως στην κουζίνα, σε παρακαλώ"
ENGLISH = "Please turn on the light in the kitchen for me"


def run(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(work, 30))


@asynccontextmanager
async def client_of(gateway: Gateway) -> AsyncIterator[httpx.AsyncClient]:
    """Return a client of a gateway that has looked at its backends once."""
    await settle(gateway)
    transport = httpx.ASGITransport(make_app(gateway), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
        yield client
    for replica in gateway.fleet.replicas:
        await replica.backend.close()


def chat(*turns: str, model: str = "auto", **more: Any) -> dict[str, Any]:
    """Return a request whose turns are the user's and the assistant's in turn."""
    roles = ("user", "assistant")
    messages = [{"role": roles[i % 2], "content": text} for i, text in enumerate(turns)]
    return {"model": model, "messages": messages, **more}


async def who(client: httpx.AsyncClient, body: dict[str, Any], **headers: str) -> str:
    """Return the model that answered."""
    response = await client.post("/v1/chat/completions", json=body, headers=headers)
    assert response.status_code == 200, response.text
    return str(response.json()["model"])


def test_the_language_of_the_last_turn_says_who_answers(registry: Registry, servers: list[FakeVllm]) -> None:
    """Users would be answered by another language's adapter."""

    async def work() -> None:
        async with client_of(make_gateway(registry, servers)) as client:
            assert await who(client, chat(WELSH)) == "cy@1"
            assert await who(client, chat(GREEK)) == "el@1"
            assert await who(client, chat(ENGLISH)) == BASE
            assert await who(client, chat(WELSH, "iawn", GREEK)) == "el@1"
            assert await who(client, chat(WELSH, "iawn", "ok 3")) == "cy@1"
            assert await who(client, chat(ENGLISH), **{"X-Compass-Language": "cy"}) == "cy@1"
            assert await who(client, chat(ENGLISH, metadata={"language": "cym"})) == "cy@1"
            assert await who(client, chat(ENGLISH, model="cy")) == "cy@1"
            assert await who(client, chat(ENGLISH, model="cy@1")) == "cy@1"
            assert await who(client, chat(WELSH, model=BASE)) == BASE
            response = await client.post("/v1/completions", json={"prompt": GREEK})
            assert response.json()["model"] == "el@1"

    run(work())


def test_a_named_conversation_keeps_its_language(registry: Registry, servers: list[FakeVllm]) -> None:
    """A client that sends one turn at a time would be answered in another language after a short one."""

    async def work() -> None:
        async with client_of(make_gateway(registry, servers)) as client:
            named = {"X-Compass-Conversation": "c1"}
            assert await who(client, chat(WELSH), **named) == "cy@1"
            assert await who(client, chat("ok"), **named) == "cy@1"
            assert await who(client, chat("ok"), **{"X-Compass-Conversation": "c2"}) == BASE
            assert await who(client, chat(ENGLISH), **named) == BASE

    run(work())


@pytest.mark.parametrize("model", ["cy@7", "de", "gpt-5", "cy@1@2", ""])
def test_what_is_not_served_is_404_with_what_is(registry: Registry, servers: list[FakeVllm], model: str) -> None:
    """A typing error would be answered by the base model, or by an unnamed error."""

    async def work() -> None:
        async with client_of(make_gateway(registry, servers)) as client:
            response = await client.post("/v1/chat/completions", json=chat(WELSH, model=model))
            assert response.status_code == 404
            assert response.json()["error"]["code"] == "model_not_found"
            assert "auto, tiny, cy, el, cy@1, el@1" in response.json()["error"]["message"]

    run(work())


@pytest.mark.parametrize(
    ("body", "headers"),
    [(b"{", {}), (b"[]", {}), (b'{"model": 3}', {}), (b"{}", {"X-Compass-Language": "no language"})],
)
def test_a_wrong_request_is_400(
    registry: Registry, servers: list[FakeVllm], body: bytes, headers: dict[str, str]
) -> None:
    """It would be a traceback, or a request to the model server."""

    async def work() -> None:
        async with client_of(make_gateway(registry, servers)) as client:
            response = await client.post("/v1/chat/completions", content=body, headers=headers)
            assert response.status_code == 400
            assert response.json()["error"]["message"]
            assert not servers[0].bodies

    run(work())


def test_requests_and_streams_pass_byte_for_byte(registry: Registry, servers: list[FakeVllm]) -> None:
    """Tools, images, unknown fields, odd numbers or half characters would arrive changed."""
    pieces = [b": ping\n\n", b'data: {"x": "\xc3', b'\xa9"}\r\n\r\n', b"data: [DONE]\n\n"]
    raw = (
        '{"model" : "cy", "stream":true, "temperature":1.0e0,"x":{"model":"auto"},"tools":[{"type":"function"}],'
        '"messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"data:,"}},'
        '{"type":"text","text":"\\u00e9 é"}]}]}'
    ).encode()

    async def work() -> None:
        servers[0].pieces = servers[1].pieces = pieces
        async with client_of(make_gateway(registry, servers[:1])) as client:
            headers = {"Authorization": "Bearer secret", "X-Trace": "t", "Connection": "X-Hop", "X-Hop": "1"}
            response = await client.post("/v1/chat/completions", content=raw, headers=headers)
            assert response.content == b"".join(pieces)
            assert servers[0].bodies == [raw.replace(b'"cy"', b'"cy@1"')]
            got = servers[0].headers[0]
            assert got["x-trace"] == "t"
            assert not {"authorization", "x-hop"} & set(got)
            assert response.headers["x-compass-model"] == "cy@1"
            plain = await client.post("/v1/chat/completions", json=chat(WELSH))
            assert plain.headers["x-own"] == "1"
            assert int(plain.headers["content-length"]) == len(plain.content)

    run(work())


def test_a_promotion_counts_once_every_backend_has_it(
    registry: Registry, servers: list[FakeVllm], runs: list[Path]
) -> None:
    """Half of the replicas would answer with another version, or with an error."""

    async def work() -> None:
        gateway = make_gateway(registry, servers)
        async with client_of(gateway) as client:
            registry.register(runs[1])
            servers[1].refuses.add("cy@2")
            registry.promote("cy")
            await settle(gateway)
            assert "cy@2" in servers[0].adapters
            assert {await who(client, chat(WELSH)) for _ in range(6)} == {"cy@1"}
            servers[1].refuses.clear()
            gateway.fleet.replicas[1].failures.clear()
            await settle(gateway)
            assert {await who(client, chat(WELSH)) for _ in range(6)} == {"cy@2"}
            # What a rollback brings back is still there, and it waits for nobody.
            servers[1].up = False
            registry.rollback("cy")
            await gateway.fleet.look()
            assert await who(client, chat(WELSH)) == "cy@1"

    run(work())


@pytest.mark.parametrize("gone", ["registry", "registry/cy"])
def test_a_registry_that_is_gone_for_a_while_changes_nothing(
    registry: Registry, servers: list[FakeVllm], caplog: pytest.LogCaptureFixture, gone: str
) -> None:
    """A disk that is not mounted for a minute would take every language out of service."""

    async def work() -> None:
        gateway = make_gateway(registry, servers[:1])
        async with client_of(gateway) as client:
            folder, away = registry.root.parent / gone, registry.root.parent / "away"
            folder.rename(away)
            for _ in range(2):
                await settle(gateway)
                assert await who(client, chat("hi", model="cy")) == "cy@1"
                assert await who(client, chat("hi", model="el")) == "el@1"
            assert len([row for row in caplog.records if "What is served" in row.getMessage()]) == 1
            away.rename(folder)
            await settle(gateway)
            assert await who(client, chat(WELSH)) == "cy@1"

    run(work())


def test_running_requests_end_on_their_version(registry: Registry, servers: list[FakeVllm], runs: list[Path]) -> None:
    """An answer would break off, because its adapter was unloaded under it."""

    async def work() -> None:
        gateway = make_gateway(registry, servers[:1])
        async with client_of(gateway) as client:
            servers[0].hold = asyncio.Event()
            running = asyncio.create_task(who(client, chat(WELSH)))
            while not servers[0].bodies:
                await asyncio.sleep(0.01)
            for number in (1, 2):
                registry.register(runs[number])
                registry.promote("cy")
                await settle(gateway)
            assert set(servers[0].adapters) == {"cy@1", "cy@2", "cy@3", "el@1"}
            servers[0].hold.set()
            assert await running == "cy@1"
            await settle(gateway)
            assert set(servers[0].adapters) == {"cy@2", "cy@3", "el@1"}

    run(work())


def test_a_restarted_backend_is_brought_back(registry: Registry, servers: list[FakeVllm]) -> None:
    """vLLM forgets its adapters, and requests for them would be errors."""

    async def work() -> None:
        gateway = make_gateway(registry, servers)
        async with client_of(gateway) as client:
            servers[0].restart()
            assert {await who(client, chat(WELSH)) for _ in range(6)} == {"cy@1"}
            await settle(gateway)
            assert set(servers[0].adapters) == {"cy@1", "el@1"}

    run(work())


def test_a_backend_that_never_answers_is_said_once(
    registry: Registry, servers: list[FakeVllm], caplog: pytest.LogCaptureFixture
) -> None:
    """A mistyped address would show in no line of the log, and each request get a 503."""
    caplog.set_level("INFO")

    async def work() -> None:
        servers[1].up = False
        gateway = make_gateway(registry, servers)
        async with client_of(gateway):
            for _ in range(3):
                await settle(gateway)
        replicas = [replica.name for replica in gateway.fleet.replicas]
        lines = [record.getMessage() for record in caplog.records if record.name == "compass.serve.fleet"]
        assert [line for line in lines if line.startswith(f"{replicas[0]} answers")] == [f"{replicas[0]} answers"]
        assert sum("does not answer" in line for line in lines) == 1
        assert f"{replicas[1]} does not answer, and gets no requests until it does" in lines

    run(work())


def test_a_dead_backend_gives_way_to_another(registry: Registry, servers: list[FakeVllm]) -> None:
    """Every second request would be an error; and with no backend left, the answer must say when to try again."""

    async def work() -> None:
        gateway = make_gateway(registry, servers)
        async with client_of(gateway) as client:
            servers[0].up = False
            assert {await who(client, chat(WELSH)) for _ in range(6)} == {"cy@1"}
            assert (await client.get("/readyz")).status_code == 200
            servers[1].up = False
            response = await client.post("/v1/chat/completions", json=chat(WELSH))
            assert (response.status_code, response.headers["retry-after"]) == (503, "1")
            assert (await client.get("/readyz")).status_code == 503
            assert (await client.get("/healthz")).status_code == 200

    run(work())


def test_a_stream_that_breaks_off_says_so(registry: Registry, servers: list[FakeVllm]) -> None:
    """A client would take half an answer for a whole one."""

    async def work() -> None:
        servers[0].breaks_after = 1
        gateway = make_gateway(registry, servers[:1])
        async with client_of(gateway) as client:
            # The ASGI transport gathers a body before it returns it, so the break comes from the backend's side.
            backend = gateway.fleet.replicas[0].backend
            backend._chunks = lambda response: broken()  # type: ignore[attr-defined]
            response = await client.post("/v1/chat/completions", json=chat(WELSH, stream=True))
            *_, last, end = response.content.split(b"\n\n")
            assert end == b""
            assert json.loads(last.removeprefix(b"data: "))["error"]["code"] == "backend_lost"
            assert b"[DONE]" not in response.content

    async def broken() -> AsyncIterator[bytes]:
        from compass.serve.protocol import LostError

        yield b"data: 1\n\n"
        raise LostError("http://server0 broke off.")

    servers[0].pieces = [b"data: 1\n\n"]
    run(work())


def test_a_slow_backend_is_a_timeout(registry: Registry, servers: list[FakeVllm]) -> None:
    """A client would wait for ever, and its place be taken for ever."""

    async def work() -> None:
        gateway = make_gateway(registry, servers[:1], timeout=0.2)
        async with client_of(gateway) as client:
            servers[0].hold = asyncio.Event()
            response = await client.post("/v1/chat/completions", json=chat(WELSH))
            assert (response.status_code, response.json()["error"]["code"]) == (504, "timeout")
            assert not gateway.fleet.replicas[0].running

    run(work())


def test_models_are_listed(registry: Registry, servers: list[FakeVllm]) -> None:
    """Clients could not ask what there is."""

    async def work() -> None:
        async with client_of(make_gateway(registry, servers)) as client:
            listed = (await client.get("/v1/models")).json()["data"]
            assert [entry["id"] for entry in listed] == ["auto", BASE, "cy", "el", "cy@1", "el@1"]

    run(work())
