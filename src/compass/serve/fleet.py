"""Keeps every backend at what the registry says, and says what each name stands for meanwhile.

One task reads the registry, and one for each backend lists it, loads and unloads: a backend that is slow or gone never
holds up the others, or a rollback. What is decided is in `reconcile.py`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from compass.errors import ServeError
from compass.serve.protocol import Backend
from compass.serve.reconcile import Desired, live_version, steps, wanted
from compass.serve.routing import Table, parse_adapter_name

logger = logging.getLogger(__name__)

POLL_SECONDS = 0.5
"""Between two looks at the registry, and at a backend [ours]: a rollback takes effect within two seconds."""
HEALTH_SECONDS, LOAD_SECONDS = 5.0, 300.0
"""Longest wait for a backend that says how it is, and for one that loads an adapter."""
LONGEST_PAUSE = 60.0
"""Seconds until an adapter that can't be loaded is tried again, at most."""

ReadDesired = Callable[[Mapping[str, int]], dict[str, Desired]]


@dataclass(eq=False)
class Replica:
    """A backend, and what is known of it."""

    backend: Backend
    healthy: bool = False
    base: str = ""
    loaded: dict[str, str] = field(default_factory=dict)
    """Name of each adapter -> its folder, as the backend knows it."""
    running: Counter[str] = field(default_factory=Counter)
    """Requests by adapter, `` for the base model."""
    failures: dict[str, tuple[int, float]] = field(default_factory=dict)
    """Adapter that can't be loaded -> how often it was tried, and when it may be tried again."""
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    answered: float = float("-inf")
    """When it last answered a request."""
    told: bool | None = None
    """Whether it answers, as the log says; None: it says nothing yet."""

    @property
    def name(self) -> str:
        """Address, without secrets."""
        return self.backend.name

    @contextmanager
    def at_work(self, adapter: str) -> Iterator[None]:
        """Count a request while it runs; its adapter is not unloaded meanwhile."""
        self.running[adapter] += 1
        try:
            yield
        finally:
            self.running[adapter] -= 1
            if not self.running[adapter]:
                del self.running[adapter]

    def lost(self) -> None:
        """Take note that it does not answer; it is looked at again at once."""
        self.healthy = False
        self.wake.set()

    def forgot(self, adapter: str) -> None:
        """Take note that it does not have an adapter any more, as after a restart."""
        self.loaded.pop(adapter, None)
        self.wake.set()


class Fleet:
    """All backends. `table` is what the names stand for now.

    read_desired: returns what the registry wants, given what is served; called in a thread. share: of conversations
    that a candidate answers; candidates: whether candidates are loaded at all. problems: what the reader finds wrong in
    the registry, by language.
    """

    def __init__(
        self,
        backends: Sequence[Backend],
        read_desired: ReadDesired,
        *,
        share: float = 0.0,
        candidates: bool = False,
        problems: Mapping[str, str] = MappingProxyType({}),
        poll_seconds: float = POLL_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.replicas = [Replica(backend) for backend in backends]
        self.desired: dict[str, Desired] = {}
        self.live: dict[str, int] = {}
        self.table = Table()
        self.problems = problems
        self._read, self._poll, self._clock = read_desired, poll_seconds, clock
        self._share, self._candidates = share, candidates
        self.withdrawn: set[tuple[str, int]] = set()
        """Candidates that get no more requests, whatever the registry says still."""
        self._tasks: list[asyncio.Task[None]] = []
        self._read_once = False

    async def start(self) -> None:
        """Look at everything once, so that what is there is served from the first request on; then keep looking."""
        await self.look()
        await asyncio.gather(*(self.reconcile(replica) for replica in self.replicas))
        self._tasks = [
            asyncio.create_task(self._keep_looking()),
            *(asyncio.create_task(self._follow(replica)) for replica in self.replicas),
        ]

    async def stop(self) -> None:
        """End the tasks and close the backends."""
        for task in self._tasks:
            task.cancel()
        for task in self._tasks:
            with contextlib.suppress(asyncio.CancelledError):
                await task
        for replica in self.replicas:
            await replica.backend.close()

    async def look(self) -> None:
        """Read the registry, and let every backend know of what has changed."""
        found = await asyncio.to_thread(self._read, dict(self.live))
        self._read_once = True
        if found != self.desired:
            self.desired = found
            for replica in self.replicas:
                replica.wake.set()
        self.recompute()

    def ready(self) -> str:
        """Say why not every version in production can be served; empty if all can."""
        if not self._read_once:
            return "the registry has not been read yet"
        healthy = [replica for replica in self.replicas if replica.healthy]
        if not healthy:
            return "no backend answers"
        missing = [
            f"{language}@{number}"
            for language, number in self.live.items()
            if not any(f"{language}@{number}" in replica.loaded for replica in healthy)
        ]
        return f"not loaded yet: {', '.join(missing)}" if missing else ""

    def choose(self, adapter: str, conversation: str, without: Sequence[Replica] = ()) -> Replica | None:
        """Return the healthy backend with an adapter that has the least to do; one conversation prefers one backend."""
        able = [
            replica
            for replica in self.replicas
            if replica.healthy and replica not in without and (not adapter or adapter in replica.loaded)
        ]
        if not able:
            return None
        first = int(conversation[:8] or "0", 16)
        turn = {id(replica): (number - first) % len(able) for number, replica in enumerate(able)}
        return min(able, key=lambda replica: (replica.running.total(), turn[id(replica)]))

    def recompute(self) -> None:
        """Decide again what each name stands for."""
        healthy = [replica for replica in self.replicas if replica.healthy]
        loaded = [replica.loaded for replica in healthy]
        live = {}
        for language, desired in self.desired.items():
            if number := live_version(self.live.get(language, 0), desired, loaded):
                live[language] = number
                if language in self.live and number != self.live[language]:
                    logger.info("%s means %s@%d from now on", language, language, number)
        self.live = live
        versions: dict[str, set[int]] = {}
        for adapters in loaded:
            for name in adapters:
                found = parse_adapter_name(name)
                if found and found[0] in self.desired:
                    versions.setdefault(found[0], set()).add(found[1])
        self.table = Table(
            live,
            tuple(dict.fromkeys(replica.base for replica in healthy if replica.base)),
            {
                language: one.candidate
                for language, one in self.desired.items()
                if self._share
                and one.candidate in versions.get(language, ())
                and (language, one.candidate) not in self.withdrawn
            },
            {language: frozenset(numbers) for language, numbers in versions.items()},
            self._share,
        )

    async def reconcile(self, replica: Replica) -> None:
        """List one backend, and load and unload what it needs. Never raises for what a backend does."""
        replica.wake.clear()
        if not await self._list(replica):
            return
        want = wanted(self.desired.values(), candidates=self._candidates, live=self.live)
        todo = steps(want, replica.loaded, busy=replica.running, languages=self.desired)
        for name, folder in todo.load.items():
            await self._load(replica, name, folder)
        # What a tag stands for has moved on by now, if it can; what is live still is wanted.
        want = wanted(self.desired.values(), candidates=self._candidates, live=self.live)
        for name in steps(want, replica.loaded, busy=replica.running, languages=self.desired).unload:
            await self._unload(replica, name)

    async def _list(self, replica: Replica) -> bool:
        try:
            async with asyncio.timeout(HEALTH_SECONDS):
                replica.healthy = await replica.backend.health()
                listing = await replica.backend.list() if replica.healthy else None
        except TimeoutError:
            if replica.healthy and self._clock() - replica.answered < HEALTH_SECONDS:
                # It is busy, or the gateway is: requests are answered.
                return True
            replica.healthy, listing = False, None
        except ServeError as error:
            replica.healthy, listing = False, None
            logger.debug("%s: %s", replica.name, error)
        if listing is not None:
            replica.base, replica.loaded = listing.base, dict(listing.adapters)
        else:
            replica.loaded = {}
        if replica.told is not replica.healthy:
            replica.told = replica.healthy
            if replica.healthy:
                logger.info("%s answers", replica.name)
            else:
                logger.warning("%s does not answer, and gets no requests until it does", replica.name)
        self.recompute()
        return replica.healthy

    async def _load(self, replica: Replica, name: str, folder: Path) -> None:
        tried, again = replica.failures.get(name, (0, 0.0))
        if self._clock() < again:
            return
        try:
            async with asyncio.timeout(LOAD_SECONDS):
                await replica.backend.load(name, folder)
        except (ServeError, TimeoutError) as error:
            pause = min(2.0**tried, LONGEST_PAUSE)
            replica.failures[name] = (tried + 1, self._clock() + pause)
            logger.warning("%s can't load %s, and tries again in %.0f s: %s", replica.name, name, pause, error)
            return
        replica.failures.pop(name, None)
        replica.loaded[name] = str(folder)
        logger.info("%s has loaded %s", replica.name, name)
        self.recompute()

    async def _unload(self, replica: Replica, name: str) -> None:
        replica.loaded.pop(name, None)
        self.recompute()
        try:
            async with asyncio.timeout(LOAD_SECONDS):
                await replica.backend.unload(name)
            logger.info("%s has unloaded %s", replica.name, name)
        except (ServeError, TimeoutError) as error:
            logger.warning("%s can't unload %s: %s", replica.name, name, error)

    async def _keep_looking(self) -> None:
        while True:
            await asyncio.sleep(self._poll)
            try:
                await self.look()
            except Exception as error:
                logger.warning("The registry can't be read (%s). What is served stays.", type(error).__name__)
                logger.debug("The error:", exc_info=error)

    async def _follow(self, replica: Replica) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(replica.wake.wait(), self._poll)
            try:
                await self.reconcile(replica)
            except Exception as error:
                replica.healthy = False
                self.recompute()
                logger.warning("%s: unexpected %s", replica.name, type(error).__name__)
                logger.debug("The error:", exc_info=error)
                await asyncio.sleep(self._poll)
