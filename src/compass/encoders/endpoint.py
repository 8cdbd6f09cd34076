"""An OpenAI-compatible `/v1/embeddings` endpoint."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import httpx
import numpy as np
from tenacity import RetryCallState, Retrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from compass.encoders.protocol import FloatArray, clean_text, unit_rows
from compass.errors import EncoderError

logger = logging.getLogger(__name__)

API_KEY = "COMPASS_API_KEY"
"""Environment variable with the key."""
ATTEMPTS = 8
LONGEST_WAIT = 120.0
"""Seconds between two attempts, at most, whatever the server asks for."""


class _TryAgainError(Exception):
    """The server may answer later. `after`: seconds that it asked for, if it did."""

    def __init__(self, reason: str, after: float | None = None) -> None:
        super().__init__(reason)
        self.after = after


class EndpointEncoder:
    """A server that speaks the OpenAI embeddings protocol (OpenAI, vLLM, TEI, llama.cpp, Ollama).

    The key is read from the environment at each request and appears in no log, error, or file. Answers 408, 409, 425,
    429, 5xx, timeouts and broken connections are tried again with growing random pauses, or after the time that
    Retry-After names; a request that is too large (413, or 400 with several texts) is halved.
    """

    def __init__(
        self,
        url: str,
        *,
        model: str,
        revision: str = "",
        batch_size: int = 64,
        timeout: float = 60.0,
        attempts: int = ATTEMPTS,
        sleep: Callable[[float], None] | None = None,
    ) -> None:
        """Remember the address; nothing is sent yet. `url` may end in `/v1` or `/v1/embeddings`; `timeout` in seconds.

        Raises EncoderError if the address is none or holds a password, or no model is named.
        """
        try:
            address = httpx.URL(url)
        except httpx.InvalidURL as error:
            raise EncoderError(
                f"The encoder's address {url!r} is not a URL: {error}. Write http://HOST:PORT/v1."
            ) from error
        if address.userinfo or address.query:
            raise EncoderError(
                f"The address of the encoder at {address.host!r} holds a user name, password or query, which would end "
                f"up in files and logs. Leave them out and put the key into the environment variable {API_KEY}."
            )
        if not model:
            raise EncoderError(f"The endpoint {url!r} needs the name of its model. Set encoder_model.")
        path = address.path.rstrip("/")
        if not path.endswith("/embeddings"):
            path += "/embeddings" if path else "/v1/embeddings"
        self.url = str(address.copy_with(path=path))
        self.model = model
        self.name = f"{self.url}#{model}"
        self.revision = revision
        self.batch_size = batch_size
        self._client = httpx.Client(timeout=timeout)
        self._attempts = attempts
        self._retry_arguments: dict[str, Any] = {"sleep": sleep} if sleep else {}
        self._dimension = 0

    def encode(self, texts: Sequence[str]) -> FloatArray:
        """Return (n, d) float32 unit rows in the order of `texts`. Raises EncoderError if the server will not do it."""
        # the protocol forbids empty strings, and most servers refuse them
        prepared = [clean_text(text) or " " for text in texts]
        rows: list[list[float]] = []
        for start in range(0, len(prepared), self.batch_size):
            rows.extend(self._batch(prepared[start : start + self.batch_size]))
        if not rows:
            return np.empty((0, self._dimension), dtype=np.float32)
        return unit_rows(np.array(rows, dtype=np.float64), len(prepared), self.name)

    def close(self) -> None:
        """Close the connections to the server."""
        self._client.close()

    def _batch(self, texts: list[str]) -> list[list[float]]:
        response = self._post(texts)
        if response.status_code in {400, 413} and len(texts) > 1:
            half = len(texts) // 2
            logger.info("%s refused %d texts in one request; trying %d", self.url, len(texts), half)
            return self._batch(texts[:half]) + self._batch(texts[half:])
        if response.status_code in {401, 403}:
            state = "is set but was refused" if os.environ.get(API_KEY) else "is not set"
            raise EncoderError(
                f"{self.url} refuses access (HTTP {response.status_code}): the environment variable "
                f"{API_KEY} {state}. Put a valid key there."
            )
        if response.status_code != httpx.codes.OK:
            raise EncoderError(
                f"{self.url} answered HTTP {response.status_code} to {len(texts)} texts, the longest of "
                f"{max(map(len, texts))} characters: {self._without_key(response.text[:300])!r}. "
                "Check the address, encoder_model, and the server's limits."
            )
        return self._rows(response, len(texts))

    def _post(self, texts: list[str]) -> httpx.Response:
        retrying = Retrying(
            stop=stop_after_attempt(self._attempts),
            wait=_wait,
            retry=retry_if_exception_type(_TryAgainError),
            before_sleep=self._tell,
            reraise=True,
            **self._retry_arguments,
        )
        try:
            return retrying(self._post_once, texts)
        except _TryAgainError as error:
            raise EncoderError(
                f"{self.url} gave no vectors in {self._attempts} attempts; the last: {error}. "
                "Check that the server runs, or lower encoder_batch_size; vectors that are already embedded are kept."
            ) from error

    def _post_once(self, texts: list[str]) -> httpx.Response:
        key = os.environ.get(API_KEY, "")
        try:
            headers = {"Authorization": f"Bearer {key.strip()}"} if key else {}
            body = {"model": self.model, "input": texts, "encoding_format": "float"}
            response = self._client.post(self.url, json=body, headers=headers)
        except httpx.TransportError as error:
            raise _TryAgainError(f"{type(error).__name__}: {self._without_key(str(error))}") from error
        except UnicodeEncodeError:
            # `from None`: the original message quotes the key
            raise EncoderError(f"The environment variable {API_KEY} is not a key: it is not ASCII.") from None
        if response.status_code in {408, 409, 425, 429} or response.status_code >= httpx.codes.INTERNAL_SERVER_ERROR:
            reason = f"HTTP {response.status_code} {self._without_key(response.text[:200])!r}"
            raise _TryAgainError(reason, retry_after(response.headers.get("Retry-After", ""), datetime.now(UTC)))
        return response

    def _rows(self, response: httpx.Response, n: int) -> list[list[float]]:
        try:
            data = response.json()["data"]
            rows = {int(item["index"]): [float(value) for value in item["embedding"]] for item in data}
        except (ValueError, KeyError, TypeError) as error:
            raise EncoderError(
                f"{self.url} did not answer in the form of /v1/embeddings ({type(error).__name__}: {error}); it sent "
                f"{self._without_key(response.text[:200])!r}. Check that the address is that of an embeddings endpoint."
            ) from error
        if sorted(rows) != list(range(n)) or len(data) != n:
            raise EncoderError(
                f"{self.url} must return one vector for each of {n} texts; it returned {len(data)} with the indices "
                f"{sorted(rows)[:5]}... Lower encoder_batch_size or check the server."
            )
        lengths = {len(row) for row in rows.values()} | ({self._dimension} if self._dimension else set())
        if len(lengths) != 1:
            raise EncoderError(
                f"{self.url} must return vectors of one length; it returned lengths {sorted(lengths)}. "
                "Check that encoder_model names one model only."
            )
        self._dimension = lengths.pop()
        return [rows[i] for i in range(n)]

    def _without_key(self, text: str) -> str:
        key = os.environ.get(API_KEY, "").strip()
        return text.replace(key, "***") if key else text

    def _tell(self, state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        pause = state.next_action.sleep if state.next_action else 0.0
        logger.warning("%s: %s; attempt %d follows in %.1f s", self.url, error, state.attempt_number + 1, pause)


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
