"""Who is let in, and how many at a time: keys, their limits, and back-pressure."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from starlette.requests import Request

from compass.serve.answers import RefusedError
from compass.serve.keys import Key, Keys

BURST_SECONDS = 10.0
"""A key may use up the requests of so many seconds at once [ours]."""
BUSY_SECONDS = 1.0
"""When to try again where too much is running."""
NOBODY = Key("", "")
"""Stands for everybody where no keys are asked for."""


class Bucket:
    """Lets `per_minute` requests through, evenly, with a burst of BURST_SECONDS."""

    def __init__(self, per_minute: float, clock: Callable[[], float]) -> None:
        self._rate, self._clock = per_minute / 60.0, clock
        self._most = max(1.0, self._rate * BURST_SECONDS)
        self._left, self._at = self._most, clock()

    def take(self) -> float:
        """Take one and return 0, or return the seconds until there is one."""
        now = self._clock()
        self._left = min(self._most, self._left + (now - self._at) * self._rate)
        self._at = now
        if self._left < 1.0:
            return (1.0 - self._left) / self._rate
        self._left -= 1.0
        return 0.0


class Door:
    """Checks keys and counts who is inside.

    most: requests at a time; the next are sent away with 503. largest: bytes of a body; patience: seconds that one may
    take to arrive.
    """

    def __init__(
        self,
        keys: Keys | None = None,
        *,
        most: int = 256,
        largest: int = 16 << 20,
        patience: float = 600.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.keys, self.most, self.largest, self._patience = keys or Keys(), most, largest, patience
        self.running: Counter[str] = Counter()
        """Requests by name of the key."""
        self._buckets: dict[str, Bucket] = {}
        self._clock = clock

    def key_of(self, headers: Mapping[str, str]) -> Key:
        """Return who asks. Raises RefusedError with status 401."""
        if not self.keys:
            return NOBODY
        key = self.keys.find(headers)
        if key is None:
            raise RefusedError(401, "invalid_api_key", "Send a key that this gateway knows: Authorization: Bearer KEY.")
        return key

    @contextmanager
    def inside(self, key: Key) -> Iterator[None]:
        """Count a request while it runs. Raises RefusedError with 429 over a key's limit, 503 where all is full."""
        if key.concurrent and self.running[key.name] >= key.concurrent:
            raise RefusedError(
                429, "too_many_at_once", f"The key {key.name!r} has {key.concurrent} requests running, its limit.",
                after=BUSY_SECONDS,
            )  # fmt: skip
        if self.running.total() >= self.most:
            raise RefusedError(503, "overloaded", "Too many requests are running. Try again.", after=BUSY_SECONDS)
        if key.requests_per_minute:
            bucket = self._buckets.setdefault(key.name, Bucket(key.requests_per_minute, self._clock))
            if wait := bucket.take():
                raise RefusedError(
                    429, "rate_limit", f"The key {key.name!r} may send {key.requests_per_minute:g} requests a minute.",
                    after=wait,
                )  # fmt: skip
        self.running[key.name] += 1
        try:
            yield
        finally:
            self.running[key.name] -= 1

    async def body_of(self, request: Request) -> bytes:
        """Read a body. Raises RefusedError with 413 if it is larger than it may be, without reading all of it, and with
        408 if it does not arrive: whoever is inside holds a place."""
        length = request.headers.get("content-length", "")
        too_large = RefusedError(
            413, "body_too_large", f"A request may have {self.largest / 2**20:g} MiB. Send a smaller one."
        )
        if length.isdecimal() and int(length) > self.largest:
            raise too_large
        content = bytearray()
        try:
            async with asyncio.timeout(self._patience):
                async for chunk in request.stream():
                    content += chunk
                    if len(content) > self.largest:
                        raise too_large
        except TimeoutError:
            raise RefusedError(
                408, "body_timeout", f"The request's body did not arrive within {self._patience:g} s. Send it again."
            ) from None
        return bytes(content)
