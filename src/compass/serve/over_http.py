"""What all backends that are reached over HTTP share: one client, and answers that are passed on as they come."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Any, cast

import aiohttp
import httpx
from httpx_aiohttp import AiohttpTransport

from compass.endpoint import LAST_PORT, may_be_port
from compass.errors import ServeError
from compass.serve.protocol import (
    CHAT,
    COMPLETIONS,
    Call,
    Headers,
    Listing,
    LostError,
    Reply,
    UnknownAdapterError,
    UnreachableError,
    once,
)

KEY = "COMPASS_BACKEND_KEY"
"""Environment variable with the key that the backends ask for."""
CONNECT_SECONDS, KEPT_SECONDS = 5.0, 4.0
"""Longest wait for a connection; how long one without requests is kept: uvicorn, under vLLM, closes its after 5 s."""
HOP_BY_HOP = frozenset({
    "connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection", "te", "trailer",
    "transfer-encoding", "upgrade",
})  # fmt: skip
"""Headers of one connection (RFC 9110, 7.6.1): not passed on, and neither are those that `connection` names."""
OURS = frozenset({"host", "content-length", "accept-encoding", "authorization", "cookie", "expect"})
"""Headers of a client that are not for the backend: the key is the gateway's, and the body may change its length."""
OURS_BACK = frozenset({"set-cookie", "server", "date"})
LONGEST_QUOTE = 300


def end_to_end(headers: Iterable[tuple[bytes, bytes]], without: frozenset[str]) -> Headers:
    """Return the headers that are passed on, with names in lower case."""
    pairs = [(name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in headers]
    named = {part.strip().lower() for name, value in pairs if name == "connection" for part in value.split(",")}
    left_out = HOP_BY_HOP | without | named
    return tuple((name, value) for name, value in pairs if name not in left_out)


class HttpBackend:
    """A model server with OpenAI's API. Subclasses say how adapters are loaded; the key is read from KEY."""

    unknown: Mapping[int, bytes] = {httpx.codes.NOT_FOUND: b""}
    """Status of an answer that means that an adapter is not loaded -> words in it that say so."""

    def __init__(self, url: str, *, timeout: float, transport: httpx.AsyncBaseTransport | None = None) -> None:
        """Remember the address; nothing is sent yet. timeout: seconds between two pieces of an answer.

        Raises ServeError if the address is none, or holds a password.
        """
        try:
            address = httpx.URL(url)
        except httpx.InvalidURL as error:
            raise ServeError(f"The backend's address {url!r} is not a URL: {error}. Write http://HOST:PORT.") from error
        if address.userinfo or address.query:
            raise ServeError(
                f"The address of the backend at {address.host!r} holds a user name, password or query, which would end "
                f"up in logs. Leave them out and put the key into the environment variable {KEY}."
            )
        if address.scheme not in ("http", "https") or not address.host:
            raise ServeError(f"The backend's address {url!r} is not a URL. Write http://HOST:PORT.")
        if not may_be_port(address.port):
            raise ServeError(
                f"The backend's address {url!r} has the port {address.port}; ports are from 1 to {LAST_PORT}."
            )
        self.url = str(address).rstrip("/").removesuffix("/v1")
        self.base = ""
        """Name of the base model, once it was listed."""
        limits = httpx.Timeout(timeout, connect=CONNECT_SECONDS, pool=None)
        self._limits = {"timeout": limits.as_dict()}
        # Over aiohttp httpx takes a quarter of the processor time: LOG.md of 2026-11-29.
        self._transport = transport or AiohttpTransport(client=_session)
        self._client = httpx.AsyncClient(base_url=self.url, timeout=limits, transport=self._transport, trust_env=False)
        self._urls = {path: httpx.URL(self.url + path) for path in (CHAT, COMPLETIONS)}

    @property
    def name(self) -> str:
        """The address."""
        return self.url

    async def health(self) -> bool:
        """Say whether it answers."""
        try:
            response = await self._client.get("/health", headers=_authorization())
        except httpx.HTTPError:
            return False
        return response.is_success

    async def list(self) -> Listing:
        """Return the base model and what is beside it, as vLLM and SGLang list them."""
        models = (await self._json("GET", "/v1/models")).get("data") or []
        entries = [entry for entry in models if isinstance(entry, Mapping) and isinstance(entry.get("id"), str)]
        self.base = next((entry["id"] for entry in entries if not entry.get("parent")), "")
        adapters = {entry["id"]: str(entry.get("root") or "") for entry in entries if entry.get("parent")}
        return Listing(self.base, adapters)

    async def forward(self, call: Call) -> Reply:
        """Pass a request on; returns when the answer's headers are there."""
        headers = [*call.headers, *_authorization().items(), ("accept-encoding", "identity")]
        raw = [(name.encode("latin-1"), _utf8(value)) for name, value in headers]
        # The client's own machinery, for redirects and cookies, would take longer than the request.
        request = httpx.Request(
            "POST", self._urls[call.path], headers=raw, content=self.body_for(call), extensions=self._limits
        )
        try:
            response = await self._transport.handle_async_request(request)
        except httpx.HTTPError as error:
            raise self._why(error) from error
        passed_on = end_to_end(response.headers.raw, OURS_BACK)
        if call.adapter and response.status_code in self.unknown:
            said = b"".join([chunk async for chunk in self._chunks(response)])
            await response.aclose()
            if self.unknown[response.status_code] in said:
                raise UnknownAdapterError(f"{self.name} does not have {call.adapter}.")
            return Reply(response.status_code, passed_on, once(said))
        return Reply(response.status_code, passed_on, self._chunks(response), response.aclose)

    def body_for(self, call: Call) -> bytes:
        """Return the body as this backend takes it."""
        return call.body.with_fields(model=call.adapter or self.base)

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def _chunks(self, response: httpx.Response) -> AsyncIterator[bytes]:
        try:
            async for chunk in cast(httpx.AsyncByteStream, response.stream):
                yield chunk
        except httpx.HTTPError as error:
            raise self._why(error) from error

    def _why(self, error: httpx.HTTPError) -> Exception:
        """Return what is to be made of a request that failed: nothing of it was taken, it took too long, or it is lost.

        What `httpx-aiohttp` calls a time-out of the connection may be a connection that broke off.
        """
        cause = error.__cause__
        if isinstance(cause, aiohttp.ClientConnectorError) or (
            isinstance(error, httpx.ConnectError | httpx.ConnectTimeout) and not isinstance(cause, aiohttp.ClientError)
        ):
            return UnreachableError(f"{self.name} does not answer.")
        if isinstance(cause, TimeoutError) or isinstance(error, httpx.ReadTimeout | httpx.WriteTimeout):
            return TimeoutError(f"{self.name} stopped answering.")
        return LostError(f"{self.name} broke off.")

    async def _post(self, path: str, body: Mapping[str, Any], *, fine: str = "") -> None:
        """Ask for a change. fine: words of a refusal that mean that nothing is to be done."""
        response = await self._send("POST", path, body)
        if not response.is_success and not (fine and fine in response.text.lower()):
            raise ServeError(f"{self.name}{path} answered {response.status_code}: {response.text[:LONGEST_QUOTE]!r}.")

    async def _json(self, method: str, path: str) -> Mapping[str, Any]:
        response = await self._send(method, path, None)
        try:
            content = response.raise_for_status().json()
        except (httpx.HTTPStatusError, ValueError) as error:
            raise ServeError(f"{self.name}{path} answered {response.status_code}, and no JSON.") from error
        return content if isinstance(content, Mapping) else {"data": content}

    async def _send(self, method: str, path: str, body: Mapping[str, Any] | None) -> httpx.Response:
        try:
            return await self._client.request(method, path, json=body, headers=_authorization())
        except httpx.HTTPError as error:
            raise ServeError(f"{self.name} does not answer ({type(error).__name__}).") from error


def _utf8(value: str) -> bytes:
    """Return a header's value as aiohttp can send it: as it came, and one in Latin-1 as the same text in UTF-8."""
    came = value.encode("latin-1")
    try:
        came.decode("utf-8")
    except UnicodeDecodeError:
        return value.encode("utf-8")
    return came


def _session() -> aiohttp.ClientSession:
    connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=KEPT_SECONDS)
    return aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar())


def _authorization() -> dict[str, str]:
    key = os.environ.get(KEY, "").strip()
    return {"authorization": f"Bearer {key}"} if key else {}
