"""The gateway as an ASGI application."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response

from compass.serve.answers import ClientGoneError, CutOff, RefusedError
from compass.serve.feedback import FEEDBACK, take
from compass.serve.gateway import Gateway
from compass.serve.keeper import Keeper
from compass.serve.measures import CONTENT_TYPE_LATEST, Measures
from compass.serve.prompt_log import PromptLog
from compass.serve.protocol import CHAT, COMPLETIONS
from compass.serve.rollout import Rollout
from compass.serve.routing import models

CLOSED = 499
"""Status of a request whose client has gone; nobody reads it."""


def make_app(
    gateway: Gateway,
    *,
    keeper: Keeper | None = None,
    prompts: PromptLog | None = None,
    rollout: Rollout | None = None,
) -> FastAPI:
    """Return the application of a gateway; it starts and stops the fleet with itself.

    keeper, prompts: what keeps answers for feedback, and prompts for the monitor; both end with the application.
    rollout: what watches candidates.
    """

    @asynccontextmanager
    async def alive(_app: FastAPI) -> AsyncIterator[None]:
        await gateway.fleet.start()
        try:
            yield
        finally:
            await gateway.fleet.stop()
            for one in (keeper, prompts):
                if one:
                    await asyncio.to_thread(one.close)

    measures = Measures(gateway.fleet, prompts=prompts, keeper=keeper, rollout=rollout)
    kept = [one.ended for one in (prompts, keeper, rollout) if one]
    if keeper:
        keeper.heard = [one.heard for one in (rollout, prompts) if one]
    gateway.observers += [*kept, measures.ended]
    app = FastAPI(title="compass serve", lifespan=alive, docs_url=None, redoc_url=None, openapi_url=None)
    app.state.gateway = gateway
    app.add_middleware(CutOff)

    async def passed_on(request: Request) -> Response:
        return await gateway.answer(request, request.url.path)

    for path in (CHAT, COMPLETIONS):
        # Starlette's own route: FastAPI's would look for parameters in each request.
        app.add_route(path, passed_on, methods=["POST"])

    if keeper:

        async def feedback(request: Request) -> Response:
            return await take(request, gateway.door, keeper)

        app.add_api_route(FEEDBACK, feedback, methods=["POST"], response_model=None)

    @app.get("/v1/models")
    async def listed(request: Request) -> Response:
        gateway.door.key_of(request.headers)
        now = int(time.time())
        entries = [
            {"id": name, "object": "model", "created": now, "owned_by": "compass"}
            for name in models(gateway.fleet.table)
        ]
        return JSONResponse({"object": "list", "data": entries})

    @app.get("/healthz")
    async def healthy() -> Response:
        return Response("ok\n", media_type="text/plain")

    @app.get("/readyz")
    async def ready() -> Response:
        reason = gateway.fleet.ready()
        return Response(f"{reason or 'ready'}\n", 503 if reason else 200, media_type="text/plain")

    @app.get("/metrics")
    async def metrics() -> Response:
        return Response(measures.text(), media_type=CONTENT_TYPE_LATEST)

    @app.exception_handler(RefusedError)
    async def refused(_request: Request, error: Exception) -> Response:
        found = cast(RefusedError, error)
        measures.refused(found.code)
        return found.response()

    @app.exception_handler(ClientGoneError)
    async def gone(_request: Request, _error: Exception) -> Response:
        return Response(status_code=CLOSED)

    return app
