"""The pages: who may see them, what they ask, and how they stay up to date. `state.py` says what is on them."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Awaitable, Callable
from contextlib import suppress
from urllib.parse import parse_qs, quote, urlsplit

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Mount, Route

from compass.config import GateConfig
from compass.dashboard import pages
from compass.dashboard.actions import Actions, Wanted, ids_of
from compass.dashboard.live import Live
from compass.dashboard.places import Places
from compass.dashboard.sessions import Session, Sessions, same
from compass.dashboard.state import Reader
from compass.dashboard.updates import Launch, Updates
from compass.errors import LanguageError
from compass.serve.fleet import Fleet
from compass.serve.keys import Keys

logger = logging.getLogger(__name__)

PATH = "/dashboard"
COOKIE, LOGIN_COOKIE = "compass_dashboard", "compass_login"
LARGEST_FORM = 1 << 18
HEADERS = {
    "content-security-policy": (
        "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cache-control": "no-store",
}
"""Of every answer: nothing from elsewhere, nothing kept, nothing in a frame."""
DOCUMENT = {**HEADERS, "content-security-policy": "sandbox allow-scripts allow-popups; " + "frame-ancestors 'none'"}
"""Of a report: it brings scripts and a policy of its own, and is kept apart from the dashboard's cookie."""

Answer = Callable[[Request, Session], Awaitable[Response]]


class Dashboard:
    """All that the pages need. fleet: of the gateway that serves them; None where they stand alone."""

    def __init__(
        self,
        places: Places,
        keys: Keys,
        *,
        gate: GateConfig | None = None,
        fleet: Fleet | None = None,
        launch: Launch | None = None,
    ) -> None:
        gate = gate or GateConfig()
        self.places, self.fleet = places, fleet
        self.sessions = Sessions(keys)
        self.reader = Reader(places, gate)
        self.updates = Updates(places, gate, launch)
        self.actions = Actions(places, gate, self.updates)
        self.live = Live(places, fleet, self.updates.tidy)
        self.app = Starlette(
            routes=[
                Route("/login", self._show_login, methods=["GET"]),
                Route("/login", self._login, methods=["POST"]),
                Route("/logout", self._post(self._logout), methods=["POST"]),
                Route("/events", self._get(self._events), methods=["GET"]),
                Route("/static/{name}", _static, methods=["GET"]),
                Route("/", self._get(self._overview), methods=["GET"]),
                Route("/status", self._get(self._status), methods=["GET"]),
                Route("/{tag}", self._get(self._language), methods=["GET"]),
                Route("/{tag}/to-label.jsonl", self._get(self._to_label), methods=["GET"]),
                Route("/{tag}/report/{version}", self._get(self._report), methods=["GET"]),
                Route("/{tag}/{action}", self._get(self._confirm), methods=["GET"]),
                Route("/{tag}/{action}", self._post(self._act), methods=["POST"]),
            ],
            exception_handlers={404: _not_found, 405: _not_found, 500: _failed},
        )

    # Pages.

    async def _overview(self, request: Request, session: Session) -> Response:
        return _page(await run_in_threadpool(pages.overview, self, session))

    async def _language(self, request: Request, session: Session) -> Response:
        tag = self._tag(request)
        if not tag:
            return _not_found(request)
        return _page(await run_in_threadpool(pages.language, self, session, tag))

    async def _confirm(self, request: Request, session: Session) -> Response:
        tag = self._tag(request)
        query = request.query_params
        page = await run_in_threadpool(
            pages.confirm, self, session, tag, request.path_params["action"], query.get("version", "")
        )
        return _page(page) if tag and page else _not_found(request)

    async def _status(self, request: Request, session: Session) -> Response:
        return HTMLResponse(await run_in_threadpool(pages.status, self), headers=DOCUMENT)

    async def _report(self, request: Request, session: Session) -> Response:
        tag = self._tag(request)
        page = await run_in_threadpool(pages.report, self, tag, request.path_params["version"]) if tag else None
        return HTMLResponse(page, headers=DOCUMENT) if page else _not_found(request)

    async def _to_label(self, request: Request, session: Session) -> Response:
        tag = self._tag(request)
        if not tag:
            return _not_found(request)
        rows = await run_in_threadpool(pages.to_label, self, tag)
        name = f'attachment; filename="to-label-{quote(tag)}.jsonl"'
        return Response(rows, media_type="application/jsonl", headers={**HEADERS, "content-disposition": name})

    async def _events(self, request: Request, session: Session) -> Response:
        def open_still() -> bool:
            return self.sessions.find(request.cookies.get(COOKIE, "")) is not None

        stream = self.live.stream(request.is_disconnected, open_still)
        return StreamingResponse(stream, media_type="text/event-stream", headers=HEADERS)

    # Actions.

    async def _act(self, request: Request, session: Session) -> Response:
        tag, action = self._tag(request), request.path_params["action"]
        if not tag or action not in pages.ACTIONS:
            return _not_found(request)
        if not session.may_act:
            return _page(pages.message("Not allowed", "Your key may view the dashboard, but not act on it."), 403)
        form = request.state.form
        wanted = Wanted(
            action, tag, session.name, _one(form, "reason")[:500].strip(), _one(form, "version")[:100],
            _one(form, "expected")[:100], ids_of(form.get("prompts", [])), _one(form, "marks") != "no",
        )  # fmt: skip
        outcome = await run_in_threadpool(self.actions.do, wanted)
        session.told.append(("good" if outcome.done else "bad", outcome.message))
        del session.told[:-5]
        return _redirect(f"{PATH}/{quote(tag)}")

    # Who is there.

    async def _show_login(self, request: Request) -> Response:
        return self._login_page(request)

    def _login_page(self, request: Request, problem: str = "", status: int = 200) -> Response:
        token = request.cookies.get(LOGIN_COOKIE, "") or secrets.token_urlsafe(32)
        response = _page(pages.login(token, problem), status)
        _set_cookie(response, request, LOGIN_COOKIE, token)
        return response

    async def _login(self, request: Request) -> Response:
        form = await _form(request)
        expected = request.cookies.get(LOGIN_COOKIE, "")
        if form is None or not same(_one(form, "csrf"), expected):
            return self._login_page(request, "The page was open for too long. Try again.", 403)
        address = request.client.host if request.client else ""
        if wait := self.sessions.wait(address):
            response = self._login_page(request, "Too many tries. Wait a moment, and try again.", 429)
            response.headers["retry-after"] = str(int(wait) + 1)
            return response
        token = self.sessions.open(_one(form, "key").strip())
        if not token:
            logger.warning("Somebody at %s tried to log in to the dashboard with a key that does not open it", address)
            return self._login_page(request, "This key does not open the dashboard.", 403)
        if session := self.sessions.find(token):
            logger.info("%s has logged in to the dashboard", session.name)
        response = _redirect(f"{PATH}/")
        _set_cookie(response, request, COOKIE, token)
        response.delete_cookie(LOGIN_COOKIE, path=PATH)
        return response

    async def _logout(self, request: Request, session: Session) -> Response:
        self.sessions.close(request.cookies.get(COOKIE, ""))
        response = _redirect(f"{PATH}/login")
        response.delete_cookie(COOKIE, path=PATH)
        return response

    def _get(self, answer: Answer) -> Callable[[Request], Awaitable[Response]]:
        async def asked(request: Request) -> Response:
            session = self.sessions.find(request.cookies.get(COOKIE, ""))
            return await answer(request, session) if session else _redirect(f"{PATH}/login")

        return asked

    def _post(self, answer: Answer) -> Callable[[Request], Awaitable[Response]]:
        async def asked(request: Request) -> Response:
            session = self.sessions.find(request.cookies.get(COOKIE, ""))
            if session is None:
                return _redirect(f"{PATH}/login")
            form = await _form(request)
            if form is None or not same(_one(form, "csrf"), session.csrf):
                return _page(pages.message("Not done", "The form was not sent by this page. Open it again."), 403)
            request.state.form = form
            return await answer(request, session)

        return asked

    def _tag(self, request: Request) -> str:
        """Return the language of a path; empty where the registry does not have it."""
        given = str(request.path_params["tag"])
        with suppress(LanguageError):
            return given if given in self.reader.languages() else ""
        return ""


def mount(app: Starlette, dashboard: Dashboard) -> None:
    """Put the pages into an application, under PATH."""

    async def home(_request: Request) -> Response:
        return _redirect(f"{PATH}/")

    app.router.routes.insert(0, Route(PATH, home, methods=["GET"]))
    app.router.routes.insert(1, Mount(PATH, dashboard.app))


async def _form(request: Request) -> dict[str, list[str]] | None:
    """Return what a form of this site holds; None where another site has sent it, or it is too large."""
    origin = request.headers.get("origin", "")
    if urlsplit(origin).netloc != request.headers.get("host", "") or not origin:
        return None
    content = bytearray()
    async for chunk in request.stream():
        content += chunk
        if len(content) > LARGEST_FORM:
            return None
    try:
        return parse_qs(content.decode("utf-8"), keep_blank_values=True, max_num_fields=5000)
    except ValueError:
        return None


def _one(form: dict[str, list[str]], name: str) -> str:
    return form.get(name, [""])[0]


def _page(content: str, status: int = 200) -> Response:
    return HTMLResponse(content, status, headers=HEADERS)


def _redirect(url: str) -> Response:
    return RedirectResponse(url, 303, headers=HEADERS)


def _set_cookie(response: Response, request: Request, name: str, value: str) -> None:
    secure = "https" in (request.url.scheme, request.headers.get("x-forwarded-proto", ""))
    response.set_cookie(name, value, path=PATH, httponly=True, samesite="strict", secure=secure)


async def _static(request: Request) -> Response:
    found = pages.static(request.path_params["name"])
    if found is None:
        return _not_found(request)
    content, kind = found
    return Response(content, media_type=kind, headers={**HEADERS, "cache-control": "no-cache"})


def _not_found(_request: Request, _error: Exception | None = None) -> Response:
    return _page(pages.message("Not found", "There is no such page. The language or the version may be gone."), 404)


def _failed(_request: Request, error: Exception) -> Response:
    # The error may quote a prompt.
    logger.warning("A page of the dashboard can't be shown (%s)", type(error).__name__)
    return _page(pages.message("Something is wrong", "This page can't be shown now. The log has more."), 500)
