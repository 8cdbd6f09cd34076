"""Pages stay up to date: an event is sent when anything behind them has changed."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable

from starlette.concurrency import run_in_threadpool

from compass.dashboard.places import Places
from compass.errors import CompassError
from compass.serve.fleet import Fleet

LOOK_SECONDS = 1.0
"""Between two looks at what is behind the pages."""
OTHER_SECONDS = 10.0
"""A database that is no file says nothing of its changes: its pages are read again after so long."""
LONGEST_SECONDS = 600.0
"""A stream ends then, and the browser opens another."""
SILENCE_SECONDS = 15.0
"""A comment is sent after so long, so that proxies keep the connection."""


class Live:
    """Sends events to pages. tidy: called at each look."""

    def __init__(self, places: Places, fleet: Fleet | None, tidy: Callable[[], None]) -> None:
        self._places, self._fleet, self._tidy = places, fleet, tidy
        self._stamp, self._looked = "", float("-inf")
        self.ending = False
        """Set when the server ends: open streams would hold it up."""

    def stop(self) -> None:
        """End all streams."""
        self.ending = True

    def stamp(self) -> str:
        """Return what changes with anything that a page shows; looked up at most once in LOOK_SECONDS."""
        now = time.monotonic()
        if now - self._looked >= 0.9 * LOOK_SECONDS:
            self._looked = now
            self._tidy()
            seen: list[object] = []
            try:
                seen.append(self._places.stamps())
            except (CompassError, OSError) as error:
                seen.append(str(error))
            if self._places.database:
                seen.append(now // OTHER_SECONDS)
            if self._fleet:
                seen += [(replica.name, replica.healthy) for replica in self._fleet.replicas]
                seen.append(sorted(self._fleet.live.items()))
            self._stamp = hashlib.sha256(repr(seen).encode()).hexdigest()[:16]
        return self._stamp

    async def stream(self, gone: Callable[[], Awaitable[bool]], open_still: Callable[[], bool]) -> AsyncIterator[bytes]:
        """Yield an event at the start and after each change, until the reader goes or its session ends."""
        began = said = time.monotonic()
        known = ""
        yield b"retry: 2000\n\n"
        while not self.ending and time.monotonic() - began < LONGEST_SECONDS:
            if await gone():
                return
            if not open_still():
                yield b"event: ended\ndata: login\n\n"
                return
            stamp = await run_in_threadpool(self.stamp)
            if stamp != known:
                known, said = stamp, time.monotonic()
                yield f"event: changed\ndata: {stamp}\n\n".encode()
            elif time.monotonic() - said > SILENCE_SECONDS:
                said = time.monotonic()
                yield b": still here\n\n"
            await asyncio.sleep(LOOK_SECONDS)
