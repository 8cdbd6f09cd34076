"""SGLang and llama.cpp as their own documentation and sources have it: what they list, load, and take in a request."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

from compass.errors import ConfigError, ServeError
from compass.serve.body import read_body
from compass.serve.llamacpp import LlamaCpp
from compass.serve.over_http import end_to_end
from compass.serve.protocol import CHAT, Call, Reply, UnknownAdapterError
from compass.serve.sglang import Sglang
from compass.serve.start import make_backend
from compass.serve.vllm import Vllm
from listening import listening

ASKED = b'{"model": "cy", "messages": [{"role": "user", "content": "helo"}], "x_own": 1}'


def sglang(adapters: dict[str, str], asked: list[dict[str, Any]]) -> FastAPI:
    """A server with SGLang's endpoints: adapters are in the list of models, and errors are 400 with a message."""
    app = FastAPI()

    @app.get("/health")
    async def health() -> None:
        return

    @app.get("/v1/models")
    async def models() -> dict[str, Any]:
        cards = [{"id": "tiny", "root": "tiny", "parent": None, "max_model_len": 256}]
        cards += [
            {"id": name, "root": path, "parent": "tiny", "max_model_len": None} for name, path in adapters.items()
        ]
        return {"object": "list", "data": cards}

    @app.post("/load_lora_adapter")
    async def load(request: Request) -> JSONResponse:
        body = await request.json()
        if body["lora_name"] in adapters:
            message = f"LoRA with name {body['lora_name']} already exists. Loaded LoRAs: {list(adapters)}"
            return JSONResponse({"success": False, "error_message": message}, 400)
        if not Path(body["lora_path"]).is_dir():
            return JSONResponse({"success": False, "error_message": "no such folder"}, 400)
        adapters[body["lora_name"]] = body["lora_path"]
        return JSONResponse({"success": True, "loaded_adapters": adapters})

    @app.post("/unload_lora_adapter")
    async def unload(request: Request) -> JSONResponse:
        name = (await request.json())["lora_name"]
        if adapters.pop(name, None) is None:
            message = f"LoRA with name {name} does not exist. Loaded LoRAs: {list(adapters)}"
            return JSONResponse({"success": False, "error_message": message}, 400)
        return JSONResponse({"success": True, "loaded_adapters": adapters})

    @app.post(CHAT)
    async def answer(request: Request) -> JSONResponse:
        body = await request.json()
        asked.append(body)
        base, _, name = body["model"].partition(":")
        if name and name not in adapters:
            message = (
                f"The following requested LoRA adapters are not loaded: {name}\nLoaded adapters: {list(adapters)}."
            )
            return JSONResponse({"object": "error", "message": message, "code": 400}, 400)
        if "stop" in body:
            return JSONResponse({"object": "error", "message": "stop is no text", "code": 400}, 400)
        return JSONResponse({"id": "1", "model": base})

    return app


def llamacpp(adapters: dict[str, str], asked: list[dict[str, Any]]) -> FastAPI:
    """A server with the endpoints of llama.cpp: one model, and a list of adapters with numbers."""
    app = FastAPI()

    @app.get("/v1/models")
    async def models() -> dict[str, Any]:
        return {"object": "list", "data": [{"id": "../models/tiny.gguf", "object": "model", "owned_by": "llamacpp"}]}

    @app.get("/lora-adapters")
    async def loras() -> list[dict[str, Any]]:
        return [{"id": n, "path": path, "scale": 0.0} for n, path in enumerate(adapters.values())]

    @app.post(CHAT)
    async def answer(request: Request) -> JSONResponse:
        asked.append(await request.json())
        return JSONResponse({"id": "1"})

    return app


async def content_of(reply: Reply) -> bytes:
    return b"".join([chunk async for chunk in reply.chunks])


def call(adapter: str, body: bytes = ASKED) -> Call:
    return Call(CHAT, read_body(body), adapter)


def test_sglang_loads_and_answers_by_base_and_adapter(tmp_path: Path) -> None:
    """Breaks if an adapter that is there is loaded for ever, or a request names it as vLLM would."""
    adapters: dict[str, str] = {}
    asked: list[dict[str, Any]] = []

    async def work() -> None:
        server = Sglang("http://s", timeout=5, transport=httpx.ASGITransport(sglang(adapters, asked)))
        assert await server.health()
        await server.load("cy@1", tmp_path)
        await server.load("cy@1", tmp_path)
        with pytest.raises(ServeError, match="no such folder"):
            await server.load("el@1", tmp_path / "none")
        listing = await server.list()
        assert (listing.base, listing.adapters) == ("tiny", {"cy@1": str(tmp_path)})
        assert json.loads(await content_of(await server.forward(call("cy@1")))) == {"id": "1", "model": "tiny"}
        await content_of(await server.forward(call("")))
        assert [body["model"] for body in asked] == ["tiny:cy@1", "tiny"]
        assert asked[0]["x_own"] == 1
        # What is wrong with the request is the client's to hear.
        wrong = await server.forward(call("cy@1", ASKED[:-1] + b', "stop": 1}'))
        assert (wrong.status, json.loads(await content_of(wrong))["message"]) == (400, "stop is no text")
        # After its restart it has nothing: the request is asked again elsewhere, and the adapter loaded anew.
        adapters.clear()
        with pytest.raises(UnknownAdapterError):
            await server.forward(call("cy@1"))
        await server.unload("cy@1")
        await server.close()

    asyncio.run(work())


def test_llamacpp_gets_the_scale_of_each_adapter(tmp_path: Path) -> None:
    """Breaks if a request were answered with another language's adapter beside its own."""
    asked: list[dict[str, Any]] = []
    files = {"cy": "/adapters/cy@3.gguf", "el": "el@1.gguf"}

    async def work() -> None:
        server = LlamaCpp("http://s", timeout=5, transport=httpx.ASGITransport(llamacpp(files, asked)))
        listing = await server.list()
        assert (listing.base, set(listing.adapters)) == ("../models/tiny.gguf", {"cy@3", "el@1"})
        await server.load("cy@3", tmp_path)
        with pytest.raises(ServeError, match=r"restart http://s with --lora cy@4\.gguf"):
            await server.load("cy@4", tmp_path)
        for adapter in ("cy@3", ""):
            await content_of(await server.forward(call(adapter)))
        assert [body["lora"] for body in asked] == [
            [{"id": 0, "scale": 1.0}, {"id": 1, "scale": 0.0}],
            [{"id": 0, "scale": 0.0}, {"id": 1, "scale": 0.0}],
        ]
        await server.unload("cy@3")
        assert set((await server.list()).adapters) == {"el@1"}, "it would be unloaded twice a second for ever"
        await server.load("cy@3", tmp_path)
        assert set((await server.list()).adapters) == {"cy@3", "el@1"}
        await server.close()

    asyncio.run(work())


def test_headers_outside_ascii_are_passed_on() -> None:
    """A title or a name in a header is UTF-8 with most clients, and the request would end in an error of ours."""
    sent = [(b"x-title", "Café".encode()), (b"x-latin", b"caf\xe9")]
    heard: list[tuple[bytes, bytes]] = []
    app = FastAPI()

    @app.post(CHAT)
    async def answer(request: Request) -> dict[str, str]:
        heard.extend(request.headers.raw)
        return {"id": "1"}

    async def work(url: str) -> None:
        server = Vllm(url, timeout=5)
        asked = Call(CHAT, read_body(ASKED), "cy@1", end_to_end(sent, frozenset()))
        assert await content_of(await server.forward(asked)) == b'{"id":"1"}'
        await server.close()

    with listening(app) as url:
        asyncio.run(work(url))
    assert {*sent[:1], (b"x-latin", "café".encode())} <= set(heard)


@pytest.mark.parametrize("address", ["http://localhost:99999", "sglang+http://localhost:0", "llamacpp+http://h:70000"])
def test_a_port_that_there_is_not_is_refused_at_the_start(address: str) -> None:
    """The gateway would start, and no request ever be answered."""
    with pytest.raises(ConfigError, match="ports are from 1 to 65535"):
        make_backend(address, timeout=1.0)
