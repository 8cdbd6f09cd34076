"""A server that answers JSON with JSON, as OpenAI's do: an address without secrets, a key, and another try."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import httpx
from tenacity import RetryCallState, Retrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from compass.errors import CompassError

logger = logging.getLogger(__name__)

ATTEMPTS = 8
LAST_PORT = 65535
LONGEST_WAIT = 120.0
"""Seconds between two attempts, at most, whatever the server asks for."""


class _TryAgainError(Exception):
    """The server may answer later. `after`: seconds that it asked for, if it did."""

    def __init__(self, reason: str, after: float | None = None) -> None:
        super().__init__(reason)
        self.after = after


class Endpoint:
    """One address of a server.

    The key is read from the environment at each request and appears in no log, error, or file. Answers 408, 409, 425,
    429, 5xx, timeouts and broken connections are tried again with growing random pauses, or after the time that
    Retry-After names.
    """

    def __init__(
        self,
        url: str,
        *,
        path: str,
        role: str,
        key: str,
        error: type[CompassError],
        advice: str,
        timeout: float = 60.0,
        attempts: int = ATTEMPTS,
        sleep: Callable[[float], None] | None = None,
    ) -> None:
        """Remember the address; nothing is sent yet.

        url: may end in `/v1` or in `path`, such as `/embeddings`. role: what the server is called in messages. key: the
        environment variable with the key. error: what is raised. advice: what to do when it never answers. timeout: in
        seconds. Raises `error` if the address is none or holds a password.
        """
        try:
            address = httpx.URL(url)
        except httpx.InvalidURL as problem:
            raise error(
                f"The {role}'s address {url!r} is not a URL: {problem}. Write http://HOST:PORT/v1."
            ) from problem
        if address.userinfo or address.query:
            raise error(
                f"The address of the {role} at {address.host!r} holds a user name, password or query, which would end "
                f"up in files and logs. Leave them out and put the key into the environment variable {key}."
            )
        if not may_be_port(address.port):
            raise error(f"The {role}'s address {url!r} has the port {address.port}; ports are from 1 to {LAST_PORT}.")
        own = address.path.rstrip("/")
        if not own.endswith(path):
            own += path if own else f"/v1{path}"
        self.url = str(address.copy_with(path=own))
        self._key, self._error, self._advice = key, error, advice
        self._client = httpx.Client(timeout=timeout)
        self._attempts = attempts
        self._retry_arguments: dict[str, Any] = {"sleep": sleep} if sleep else {}

    def post(self, body: Mapping[str, Any]) -> httpx.Response:
        """Return the server's answer, whatever its status. Raises `error` if there is none, or access is refused."""
        retrying = Retrying(
            stop=stop_after_attempt(self._attempts),
            wait=_wait,
            retry=retry_if_exception_type(_TryAgainError),
            before_sleep=self._tell,
            reraise=True,
            **self._retry_arguments,
        )
        try:
            response: httpx.Response = retrying(self._post_once, body)
        except _TryAgainError as problem:
            raise self._error(
                f"{self.url} gave no answer in {self._attempts} attempts; the last: {problem}. {self._advice}"
            ) from problem
        if response.status_code in {401, 403}:
            state = "is set but was refused" if os.environ.get(self._key) else "is not set"
            raise self._error(
                f"{self.url} refuses access (HTTP {response.status_code}): the environment variable "
                f"{self._key} {state}. Put a valid key there."
            )
        return response

    def without_key(self, text: str) -> str:
        """Return what a server sent, to be quoted: with stars where it repeats the key."""
        key = os.environ.get(self._key, "").strip()
        return text.replace(key, "***") if key else text

    def close(self) -> None:
        """Close the connections to the server."""
        self._client.close()

    def _post_once(self, body: Mapping[str, Any]) -> httpx.Response:
        key = os.environ.get(self._key, "")
        try:
            headers = {"Authorization": f"Bearer {key.strip()}"} if key else {}
            response = self._client.post(self.url, json=body, headers=headers)
        except httpx.TransportError as error:
            raise _TryAgainError(f"{type(error).__name__}: {self.without_key(str(error))}") from error
        except UnicodeEncodeError:
            # `from None`: the original message quotes the key
            raise self._error(f"The environment variable {self._key} is not a key: it is not ASCII.") from None
        if response.status_code in {408, 409, 425, 429} or response.status_code >= httpx.codes.INTERNAL_SERVER_ERROR:
            reason = f"HTTP {response.status_code} {self.without_key(response.text[:200])!r}"
            raise _TryAgainError(reason, retry_after(response.headers.get("Retry-After", ""), datetime.now(UTC)))
        return response

    def _tell(self, state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        pause = state.next_action.sleep if state.next_action else 0.0
        logger.warning("%s: %s; attempt %d follows in %.1f s", self.url, error, state.attempt_number + 1, pause)


def may_be_port(number: int | None) -> bool:
    """Say whether a server can listen at a port; None is that of the scheme."""
    return number is None or 1 <= number <= LAST_PORT


def retry_after(header: str, now: datetime) -> float | None:
    """Return the seconds that a Retry-After header asks for (a number or an HTTP date), None if it says nothing."""
    try:
        return max(0.0, float(header))
    except ValueError:
        pass
    try:
        return max(0.0, (parsedate_to_datetime(header) - now).total_seconds())
    except (ValueError, TypeError):
        return None


def _wait(state: RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    if isinstance(error, _TryAgainError) and error.after is not None:
        return min(error.after, LONGEST_WAIT)
    return min(wait_random_exponential(multiplier=0.5, max=60)(state), LONGEST_WAIT)
