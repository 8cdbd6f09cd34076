"""Model servers for the gateway's tests: in the process, over httpx's ASGI transport, so that no port is opened."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import httpx
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse

from compass.registry import Registry
from compass.serve.desired import DesiredState
from compass.serve.fleet import Fleet
from compass.serve.gateway import Gateway
from compass.serve.vllm import Vllm

BASE = "tiny"


@dataclass
class FakeVllm:
    """A server with vLLM's endpoints. `bodies` are the requests that it got, as bytes."""

    adapters: dict[str, str] = field(default_factory=dict)
    bodies: list[bytes] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    up: bool = True
    refuses: set[str] = field(default_factory=set)
    """Adapters that it can't load."""
    hold: asyncio.Event | None = None
    """Answers wait for it."""
    pieces: list[bytes] | None = None
    """What a stream consists of, in place of its own."""
    breaks_after: int = -1
    """Pieces after which the connection breaks."""
    status: int = 200
    fails: set[str] = field(default_factory=set)
    """Models whose requests end in an error 500."""
    loads: int = 0
    answers: dict[str, str] = field(default_factory=dict)
    """Model -> what it says; by default its name."""

    def restart(self) -> None:
        self.adapters.clear()

    def app(self) -> FastAPI:
        app = FastAPI()

        @app.get("/health")
        async def health() -> Response:
            return Response()

        @app.get("/v1/models")
        async def models() -> dict[str, Any]:
            cards = [{"id": BASE, "root": "/models/tiny", "parent": None}]
            cards += [{"id": name, "root": root, "parent": BASE} for name, root in self.adapters.items()]
            return {"object": "list", "data": cards}

        @app.post("/v1/load_lora_adapter")
        async def load(request: Request) -> Response:
            body = await request.json()
            self.loads += 1
            if body["lora_name"] in self.refuses:
                return Response("no room", 400)
            if body["lora_name"] in self.adapters:
                return Response(f"The lora adapter {body['lora_name']!r} has already been loaded.", 400)
            self.adapters[body["lora_name"]] = body["lora_path"]
            return Response("Success")

        @app.post("/v1/unload_lora_adapter")
        async def unload(request: Request) -> Response:
            body = await request.json()
            if self.adapters.pop(body["lora_name"], None) is None:
                return Response("The lora adapter cannot be found.", 404)
            return Response("Success")

        @app.post("/v1/chat/completions")
        @app.post("/v1/completions")
        async def answer(request: Request) -> Response:
            raw = await request.body()
            self.bodies.append(raw)
            self.headers.append(dict(request.headers))
            body = json.loads(raw)
            model = body["model"]
            if model != BASE and model not in self.adapters:
                return JSONResponse({"error": {"message": f"The model `{model}` does not exist."}}, 404)
            await asyncio.sleep(body.get("x_delay", 0))
            if self.hold:
                await self.hold.wait()
            if self.status != 200 or model in self.fails:
                return JSONResponse({"error": {"message": "no"}}, 500 if model in self.fails else self.status)
            says = self.answers.get(model, model)
            if body.get("stream"):
                return StreamingResponse(self._stream(model), media_type="text/event-stream")
            number = len(self.bodies)
            choice = {"index": 0, "message": {"role": "assistant", "content": says}, "text": says}
            return JSONResponse({"id": f"cmpl-{number}", "model": model, "choices": [choice]}, headers={"x-own": "1"})

        return app

    async def _stream(self, model: str) -> AsyncIterator[bytes]:
        own = [
            f'data: {{"id":"cmpl-{len(self.bodies)}","choices":[{{"delta":{{"content":"{part}"}}}}]}}\n\n'.encode()
            for part in (model, "!")
        ]
        for number, piece in enumerate(self.pieces or [*own, b"data: [DONE]\n\n"]):
            if number == self.breaks_after:
                raise httpx.ReadError("the connection broke")
            yield piece
            await asyncio.sleep(0)


class Switchable(httpx.AsyncBaseTransport):
    """Reaches a fake server while that is up."""

    def __init__(self, server: FakeVllm) -> None:
        self.server, self._inner = server, httpx.ASGITransport(server.app())

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if not self.server.up:
            raise httpx.ConnectError("connection refused", request=request)
        return await self._inner.handle_async_request(request)


def make_gateway(registry: Registry, servers: list[FakeVllm], *, timeout: float = 5.0, **options: Any) -> Gateway:
    """Return a gateway before fake servers, which nothing reconciles but the test."""
    backends = [
        Vllm(f"http://server{number}", timeout=timeout, transport=Switchable(server))
        for number, server in enumerate(servers)
    ]
    fleet_options = {name: options.pop(name) for name in ("share", "candidates") if name in options}
    fleet = Fleet(backends, DesiredState(registry).read, **fleet_options)
    return Gateway(fleet, timeout=timeout, **options)


async def settle(gateway: Gateway) -> None:
    """Let every backend be looked at once."""
    await gateway.fleet.look()
    for replica in gateway.fleet.replicas:
        await gateway.fleet.reconcile(replica)


if __name__ == "__main__":
    import sys

    import uvicorn

    uvicorn.run(FakeVllm().app(), port=int(sys.argv[1]), log_level="warning")
