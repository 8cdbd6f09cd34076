"""Spans of OpenTelemetry, by its in-memory exporter."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from compass.registry import Registry
from compass.serve.app import make_app
from compass.serve.door import Door
from compass.serve.gateway import Gateway
from compass.serve.keys import Key, Keys
from compass.serve.tracing import Spans
from model_servers import FakeVllm, make_gateway, settle

SECRETS = ("PRIVATE", "sk-key", "c-4711", "Trowch", "cy@1!")
TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


@asynccontextmanager
async def client_of(gateway: Gateway) -> AsyncIterator[httpx.AsyncClient]:
    await settle(gateway)
    transport = httpx.ASGITransport(make_app(gateway), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
        yield client
    for replica in gateway.fleet.replicas:
        await replica.backend.close()


def test_a_span_lies_between_the_clients_and_the_servers(registry: Registry, servers: list[FakeVllm]) -> None:
    """A trace would break at the gateway, or carry prompts, answers, keys and conversations to who stores it."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    servers[0].answers["cy@1"] = "PRIVATE answer"

    async def work() -> None:
        import hashlib

        keys = Keys([Key("app", hashlib.sha256(b"sk-key").hexdigest())])
        gateway = make_gateway(registry, servers[:1], spans=Spans(provider), door=Door(keys))
        headers = {"authorization": "Bearer sk-key", "x-compass-conversation": "c-4711"}
        traced = headers | {"traceparent": f"00-{TRACE}-{PARENT}-01", "tracestate": "vendor=1"}
        body = {"model": "cy", "messages": [{"role": "user", "content": "PRIVATE Trowch y golau ymlaen"}]}
        async with client_of(gateway) as client:
            for sent, more in ((traced, {}), (headers, {"stream": True})):
                response = await client.post("/v1/chat/completions", json={**body, **more}, headers=sent)
                assert response.status_code == 200
            servers[0].fails = {"cy@1"}
            await client.post("/v1/chat/completions", json=body, headers=traced)
            servers[0].up = False
            await client.post("/v1/chat/completions", json=body, headers=traced)

    asyncio.run(asyncio.wait_for(work(), 30))
    spans = exporter.get_finished_spans()
    assert [span.name for span in spans] == ["compass.request"] * 4
    assert f"{spans[0].context.trace_id:032x}" == TRACE
    assert f"{spans[0].parent.span_id:016x}" == PARENT
    for span, got in zip(spans, servers[0].headers, strict=False):
        assert got["traceparent"].startswith(f"00-{span.context.trace_id:032x}-{span.context.span_id:016x}-")
    assert servers[0].headers[0]["tracestate"] == "vendor=1"
    assert spans[1].parent is None
    assert spans[0].attributes["compass.language"] == "cy"
    assert [span.attributes["http.response.status_code"] for span in spans] == [200, 200, 500, 503]
    assert [span.status.status_code for span in spans[2:]] == [StatusCode.ERROR] * 2
    everything = "".join(span.to_json() for span in spans)
    assert not [secret for secret in SECRETS if secret in everything]
    assert all(not span.events for span in spans), json.dumps(everything)


def test_a_clients_context_is_passed_on_where_nobody_writes_spans(registry: Registry, servers: list[FakeVllm]) -> None:
    """A gateway without OpenTelemetry set up would cut the trace off."""
    sent = f"00-{TRACE}-{PARENT}-00"

    async def work() -> None:
        async with client_of(make_gateway(registry, servers[:1], spans=Spans())) as client:
            body = {"model": "cy", "messages": [{"role": "user", "content": "x"}]}
            await client.post("/v1/chat/completions", json=body, headers={"traceparent": sent})

    asyncio.run(asyncio.wait_for(work(), 30))
    assert servers[0].headers[0]["traceparent"] == sent
