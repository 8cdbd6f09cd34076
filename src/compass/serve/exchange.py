"""One request and its answer, as those who count, measure and keep it see it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from compass.serve.body import Body
from compass.serve.routing import Asked, Route

LONGEST_KEPT = 1 << 20
"""Bytes of an answer that are looked at when it has ended, for its id and its text."""


@dataclass(eq=False)
class Exchange:
    """What is known of a request, from its route to its end."""

    path: str
    body: Body
    asked: Asked
    route: Route
    key: str = ""
    """Name of the client's key; empty where none is asked for."""
    span: Any = None
    """Of OpenTelemetry, while it is written; see `tracing.py`."""
    started: float = 0.0
    """Seconds of a monotonic clock."""
    backend: str = ""
    status: int = 0
    """Of HTTP; 499 where the client went before the end, 502 and 504 where the backend broke off."""
    first_byte: float = 0.0
    """Seconds until the answer began."""
    seconds: float = 0.0
    """Seconds until it ended."""
    answer: bytearray = field(default_factory=bytearray)
    """The answer's body, up to LONGEST_KEPT."""

    @property
    def may_be_kept(self) -> bool:
        """Whether the client lets it be kept: `store: false` says no, as in OpenAI's API."""
        return self.body.values.get("store") is not False

    @property
    def ok(self) -> bool:
        """Whether the client has got a whole answer."""
        return 200 <= self.status < 300

    @property
    def failed(self) -> bool:
        """Whether the backend failed, and not the client's request."""
        return self.status >= 500

    def saw(self, chunk: bytes) -> None:
        """Take in a piece of the answer."""
        if len(self.answer) < LONGEST_KEPT:
            self.answer += chunk
