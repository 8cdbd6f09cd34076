"""What all backends that are reached over HTTP share: one client, and answers that are passed on as they come."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Any

import httpx

from compass.errors import ServeError
from compass.serve.protocol import Call, Headers, Listing, LostError, Reply, UnknownAdapterError, UnreachableError

KEY = "COMPASS_BACKEND_KEY"
"""Environment variable with the key that the backends ask for."""
CONNECT_SECONDS = 5.0
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
        self.url = str(address).rstrip("/").removesuffix("/v1")
        self.base = ""
        """Name of the base model, once it was listed."""
        self._client = httpx.AsyncClient(
            base_url=self.url,
            timeout=httpx.Timeout(timeout, connect=CONNECT_SECONDS, pool=None),
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=None, keepalive_expiry=30.0),
            transport=transport,
            trust_env=False,
        )

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
        content = self.body_for(call)
        headers = [*call.headers, *_authorization().items(), ("accept-encoding", "identity")]
        request = self._client.build_request("POST", call.path, content=content, headers=headers)
        try:
            response = await self._client.send(request, stream=True)
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.UnsupportedProtocol) as error:
            raise UnreachableError(f"{self.name} does not answer ({type(error).__name__}).") from error
        except httpx.TimeoutException as error:
            raise TimeoutError(f"{self.name} gave no answer in time.") from error
        except httpx.HTTPError as error:
            raise LostError(f"{self.name} broke off ({type(error).__name__}).") from error
        if response.status_code == httpx.codes.NOT_FOUND and call.adapter:
            await response.aclose()
            raise UnknownAdapterError(f"{self.name} does not have {call.adapter}.")
        return Reply(
            response.status_code,
            end_to_end(response.headers.raw, OURS_BACK),
            self._chunks(response),
            response.aclose,
        )

    def body_for(self, call: Call) -> bytes:
        """Return the body as this backend takes it."""
        return call.body.with_fields(model=call.adapter or self.base)

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def _chunks(self, response: httpx.Response) -> AsyncIterator[bytes]:
        try:
            async for chunk in response.aiter_raw():
                yield chunk
        except httpx.TimeoutException as error:
            raise TimeoutError(f"{self.name} stopped answering.") from error
        except httpx.HTTPError as error:
            raise LostError(f"{self.name} broke off in its answer ({type(error).__name__}).") from error

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


def _authorization() -> dict[str, str]:
    key = os.environ.get(KEY, "").strip()
    return {"authorization": f"Bearer {key}"} if key else {}
