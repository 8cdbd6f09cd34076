"""Candidates in real traffic: watched against production, and withdrawn when they do worse.

Three sequential tests, each at a third of LEVEL: answers that fail, answers that begin late, and thumbs. A candidate
that is as good as production is withdrawn with a probability of at most LEVEL, however long it is watched. Requests for
a version by its name count for neither: only the draw makes the two comparable. Each gateway watches what it has passed
on itself, and feedback that it has taken; a restart begins anew.
"""

from __future__ import annotations

import asyncio
import logging
import statistics
import threading
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field

from compass.errors import ServeError
from compass.serve.exchange import Exchange
from compass.serve.fleet import Fleet
from compass.serve.protocol import CHAT, Call, UnknownAdapterError, UnreachableError
from compass.serve.routing import adapter_name, drawn
from compass.serve.said import id_and_text
from compass.serve.store import Answer
from compass.stats.sequential import FewerSuccesses

logger = logging.getLogger(__name__)

LEVEL = 0.05
SLOW_FACTOR = 2.0
"""An answer is late if it begins after so many times the median of production's latest ones [ours]."""
LATEST, FEWEST = 200, 20
"""Answers of production that the median is of."""
CANDIDATE, PRODUCTION = 0, 1
ERRORS, LATENCY, FEEDBACK = "errors", "latency", "feedback"
MOST_SHADOWS = 16
"""Copies to candidates at a time; more are left out, and counted."""

Withdraw = Callable[[str, int, str], None]
"""Takes a candidate back in the registry: language, version, reason. Called in a thread."""


@dataclass(eq=False)
class Trial:
    """What is known of one candidate."""

    tests: dict[str, FewerSuccesses] = field(
        default_factory=lambda: {name: FewerSuccesses(LEVEL / 3) for name in (ERRORS, LATENCY, FEEDBACK)}
    )
    latest: deque[float] = field(default_factory=lambda: deque(maxlen=LATEST))
    """Seconds to the first byte of production's latest answers."""
    heard: set[str] = field(default_factory=set)
    """Conversations that have said something."""

    def add(self, arm: int, *, failed: bool, first_byte: float) -> str:
        """Take in an answer; return the test that the candidate has failed, `` for none."""
        if self.tests[ERRORS].add(arm, not failed):
            return ERRORS
        if failed:
            return ""
        if len(self.latest) >= FEWEST:
            limit = SLOW_FACTOR * statistics.median(self.latest)
            if self.tests[LATENCY].add(arm, first_byte <= limit):
                return LATENCY
        if arm == PRODUCTION:
            self.latest.append(first_byte)
        return ""


class Rollout:
    """Watches the candidates of a fleet. shadow: share of conversations whose prompts candidates answer, unseen."""

    def __init__(self, fleet: Fleet, withdraw: Withdraw, *, shadow: float = 0.0) -> None:
        self.shadows: Counter[str] = Counter()
        """Copies by what came of them: `same`, `different`, `failed`, `left out`."""
        self._fleet, self._withdraw, self._shadow = fleet, withdraw, shadow
        self._trials: dict[tuple[str, int], Trial] = {}
        self._lock = threading.Lock()
        self._tasks: set[asyncio.Task[None]] = set()

    def ended(self, exchange: Exchange) -> None:
        """Take in an answer; one of production is answered again by the candidate, if its conversation is drawn."""
        route = exchange.route
        candidate = self._candidate(route.language)
        if not candidate or route.exact or _says_nothing(exchange.status):
            return
        arm = CANDIDATE if route.version == candidate else PRODUCTION
        if arm == PRODUCTION and route.version != self._fleet.live.get(route.language):
            return
        self._add(route.language, candidate, arm, failed=exchange.failed, first_byte=exchange.first_byte)
        if arm == PRODUCTION and exchange.ok and exchange.path == CHAT and exchange.may_be_kept:
            name = adapter_name(route.language, candidate)
            if drawn(exchange.asked.conversation, f"shadow {name}", self._shadow):
                self._answer_again(exchange, candidate)

    def heard(self, answer: Answer) -> None:
        """Take in what a user says; of a conversation the first word counts, for its others are about the same."""
        candidate = self._candidate(answer.language)
        live = self._fleet.live.get(answer.language)
        if not candidate or answer.exact or answer.version not in (candidate, live):
            return
        arm = CANDIDATE if answer.version == candidate else PRODUCTION
        with self._lock:
            trial = self._trial(answer.language, candidate)
            if answer.conversation in trial.heard:
                return
            trial.heard.add(answer.conversation)
            failed = trial.tests[FEEDBACK].add(arm, answer.pleased)
        if failed:
            self._end(answer.language, candidate, FEEDBACK)

    def _candidate(self, language: str) -> int:
        desired = self._fleet.desired.get(language)
        if desired is None or (language, desired.candidate) in self._fleet.withdrawn:
            return 0
        return desired.candidate

    def _trial(self, language: str, candidate: int) -> Trial:
        return self._trials.setdefault((language, candidate), Trial())

    def _add(self, language: str, candidate: int, arm: int, *, failed: bool, first_byte: float) -> None:
        with self._lock:
            test = self._trial(language, candidate).add(arm, failed=failed, first_byte=first_byte)
        if test:
            self._end(language, candidate, test)

    def _end(self, language: str, candidate: int, test: str) -> None:
        """Send the candidate no more requests, at once; the registry follows in a thread."""
        with self._lock:
            if (language, candidate) in self._fleet.withdrawn:
                return
            self._fleet.withdrawn.add((language, candidate))
            self._fleet.recompute()
            found = self._trials[language, candidate].tests[test]
        a, b = found.successes
        reason = (
            f"{test}: {a} of {found.pairs} were as they should be, and {b} of as many of production "
            f"(level {found.level:.3f})"
        )
        logger.warning("%s is withdrawn. %s", adapter_name(language, candidate), reason)
        threading.Thread(target=self._withdraw, args=(language, candidate, reason), daemon=True).start()

    def _answer_again(self, exchange: Exchange, candidate: int) -> None:
        if len(self._tasks) >= MOST_SHADOWS:
            self.shadows["left out"] += 1
            return
        task = asyncio.get_running_loop().create_task(self._copy(exchange, candidate))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _copy(self, exchange: Exchange, candidate: int) -> None:
        """Let the candidate answer what production has answered, and compare; nobody sees it."""
        language, name = exchange.route.language, adapter_name(exchange.route.language, candidate)
        replica = self._fleet.choose(name, exchange.asked.conversation)
        if replica is None:
            self.shadows["left out"] += 1
            return
        clock = asyncio.get_running_loop().time
        began, content = clock(), bytearray()
        status, first_byte = 0, 0.0
        with replica.at_work(name):
            try:
                reply = await replica.backend.forward(Call(exchange.path, exchange.body, name))
                first_byte = clock() - began
                try:
                    async for chunk in reply.chunks:
                        content += chunk
                finally:
                    await reply.close()
                status = reply.status
            except UnknownAdapterError:
                replica.forgot(name)
            except UnreachableError:
                replica.lost()
            except (ServeError, TimeoutError):
                status = 502
        if _says_nothing(status):
            self.shadows["left out"] += 1
            return
        failed = status >= 500
        streamed = exchange.body.streams
        texts = [id_and_text(bytes(answer), streamed=streamed)[1] for answer in (exchange.answer, content)]
        self.shadows["failed" if failed else "same" if texts[0] == texts[1] else "different"] += 1
        self._add(language, candidate, CANDIDATE, failed=failed, first_byte=first_byte)


def _says_nothing(status: int) -> bool:
    """Say whether an answer's status is about the request or the backend and not about the version; 0: no answer."""
    return status < 200 or 400 <= status < 500
