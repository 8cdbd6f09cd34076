"""`POST /v1/feedback`: `{"id": "chatcmpl-...", "thumb": "down", "correction": "..."}`."""

from __future__ import annotations

import asyncio
import logging

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from compass.errors import MonitorError
from compass.serve.answers import RefusedError
from compass.serve.body import read_body
from compass.serve.door import Door
from compass.serve.keeper import Keeper
from compass.serve.routing import BASE, adapter_name
from compass.serve.store import Said

logger = logging.getLogger(__name__)

FEEDBACK = "/v1/feedback"
FIELDS = ("id", "thumb", "correction")
THUMBS = {"up": 1, "down": 0}
LONGEST_CORRECTION = 100_000
DATABASE_SECONDS = 10.0


async def take(request: Request, door: Door, keeper: Keeper) -> Response:
    """Keep what a user says of an answer. Raises RefusedError with what the client is to hear."""
    key = door.key_of(request.headers)
    with door.inside(key):
        said = _said(await door.body_of(request), key.name)
        if said.correction is not None and not keeper.keeps_texts:
            raise RefusedError(409, "not_kept", "This gateway keeps no texts, so it can't keep a correction.")
        try:
            async with asyncio.timeout(DATABASE_SECONDS):
                answer = await keeper.say(said)
        except (MonitorError, TimeoutError) as error:
            logger.warning("Feedback can't be kept now: %s", error or "the database is slow")
            raise RefusedError(503, "database", "Feedback can't be kept now. Send it again.", after=1.0) from None
    if answer is None:
        raise RefusedError(
            404, "unknown_answer", "There is no such answer of yours, or it is too old. Give the `id` of its response."
        )
    model = adapter_name(answer.language, answer.version) if answer.version else BASE
    return JSONResponse({"object": "feedback", "id": said.id, "model": model})


def _said(raw: bytes, key: str) -> Said:
    try:
        values = read_body(raw).values
    except ValueError as error:
        raise RefusedError(400, "invalid_body", f"{error}.") from None
    id, thumb, correction = (values.get(name) for name in FIELDS)
    problems = [f"{name!r} is not known" for name in values if name not in FIELDS]
    if not isinstance(id, str) or not id:
        problems.append("`id` must be the id of an answer")
    if thumb is not None and (not isinstance(thumb, str) or thumb not in THUMBS):
        problems.append("`thumb` must be up or down")
    if correction is not None and (not isinstance(correction, str) or not correction.strip()):
        problems.append("`correction` must be a text")
    elif isinstance(correction, str) and len(correction) > LONGEST_CORRECTION:
        problems.append(f"`correction` may have {LONGEST_CORRECTION} characters")
    if thumb is None and correction is None:
        problems.append("say a `thumb` or a `correction`")
    if problems:
        raise RefusedError(400, "invalid_feedback", f"Feedback is id, thumb and correction: {'; '.join(problems)}.")
    return Said(str(id), key, None if thumb is None else THUMBS[str(thumb)], correction)
