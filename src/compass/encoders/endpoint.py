"""An OpenAI-compatible `/v1/embeddings` endpoint."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import httpx
import numpy as np

from compass.encoders.protocol import FloatArray, clean_text, unit_rows
from compass.endpoint import ATTEMPTS, Endpoint
from compass.errors import EncoderError

logger = logging.getLogger(__name__)

API_KEY = "COMPASS_API_KEY"
"""Environment variable with the key."""


class EndpointEncoder:
    """A server that speaks the OpenAI embeddings protocol (OpenAI, vLLM, TEI, llama.cpp, Ollama).

    `Endpoint` says when a request is tried again and what becomes of the key. A request that is too large (413, or 400
    with several texts) is halved.
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
        self._endpoint = Endpoint(
            url, path="/embeddings", role="encoder", key=API_KEY, error=EncoderError, timeout=timeout,
            attempts=attempts, sleep=sleep,
            advice="Check that the server runs, or lower encoder_batch_size; vectors that are there already are kept.",
        )  # fmt: skip
        if not model:
            raise EncoderError(f"The endpoint {url!r} needs the name of its model. Set encoder_model.")
        self.url = self._endpoint.url
        self.model = model
        self.name = f"{self.url}#{model}"
        self.revision = revision
        self.batch_size = batch_size
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
        self._endpoint.close()

    def _batch(self, texts: list[str]) -> list[list[float]]:
        response = self._endpoint.post({"model": self.model, "input": texts, "encoding_format": "float"})
        if response.status_code in {400, 413} and len(texts) > 1:
            half = len(texts) // 2
            logger.info("%s refused %d texts in one request; trying %d", self.url, len(texts), half)
            return self._batch(texts[:half]) + self._batch(texts[half:])
        if response.status_code != httpx.codes.OK:
            raise EncoderError(
                f"{self.url} answered HTTP {response.status_code} to {len(texts)} texts, the longest of "
                f"{max(map(len, texts))} characters: {self._endpoint.without_key(response.text[:300])!r}. "
                "Check the address, encoder_model, and the server's limits."
            )
        return self._rows(response, len(texts))

    def _rows(self, response: httpx.Response, n: int) -> list[list[float]]:
        try:
            data = response.json()["data"]
            rows = {int(item["index"]): [float(value) for value in item["embedding"]] for item in data}
        except (ValueError, KeyError, TypeError) as error:
            raise EncoderError(
                f"{self.url} did not answer in the form of /v1/embeddings ({type(error).__name__}: {error}); it sent "
                f"{self._endpoint.without_key(response.text[:200])!r}. "
                "Check that the address is that of an embeddings endpoint."
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
