"""Users of the demo of serving: sessions about one thing, over the hours of a day, in Welsh and Greek."""

from __future__ import annotations

import asyncio
import math
import random
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from functools import cache

import httpx
from demo_drift import NEW_INTENTS, steady_usage

from compass.data.assist import assist_sentences, load_assist
from compass.data.example import Example

WELSH, GREEK = "cy", "el"
NOON, DAY = 12, 24
BUSIEST, SWING = 16, 0.8
"""The hour with the most prompts, and how far the hours are from their mean."""
TURNS = 4
"""Mean turns of a session."""
AT_ONCE = 16
"""Sessions that ask at a time."""
TOLD = 0.8
"""Share of answers that users say something of, once they do."""


@dataclass
class Heard:
    """What the users of a stretch of the day got."""

    answers: Counter[str] = field(default_factory=Counter)
    """By version."""
    right: Counter[str] = field(default_factory=Counter)
    failed: int = 0
    told: int = 0

    def add(self, more: Heard) -> None:
        """Take in what others got."""
        self.answers += more.answers
        self.right.update(more.right)
        self.failed += more.failed
        self.told += more.told


def hours(n: int) -> list[int]:
    """Split n prompts over the hours of a day, most of them around BUSIEST."""
    weights = [1 + SWING * math.cos(2 * math.pi * (hour - BUSIEST) / DAY) for hour in range(DAY)]
    ends = [round(n * sum(weights[: hour + 1]) / sum(weights)) for hour in range(DAY)]
    return [end - begin for begin, end in zip([0, *ends[:-1]], ends, strict=True)]


def sessions(rows: Sequence[Example], rng: random.Random) -> list[list[Example]]:
    """Cut rows into sessions of TURNS turns on average, each about one intent, and shuffle these."""
    by_intent: dict[str, list[Example]] = {}
    for row in rows:
        by_intent.setdefault(row.label or "", []).append(row)
    cut = []
    for of_intent in by_intent.values():
        while of_intent:
            n = 1
            while rng.random() > 1 / TURNS:
                n += 1
            cut.append(of_intent[:n])
            del of_intent[:n]
    return rng.sample(cut, len(cut))


@cache
def needed_by(language: str) -> tuple[str, ...]:
    """Return the intents that the usage of `assist` asks for, and that its adapter is made for."""
    return load_assist(language).needed


def drifted_usage(needed: Sequence[str], n: int, rng: random.Random) -> list[Example]:
    """Draw Welsh prompts of which half ask for the four new functions."""
    new = [row for row in assist_sentences(WELSH, per_intent=400, seed=0) if row.label in NEW_INTENTS]
    # People repeat themselves, and the grammar has few sentences of some of these functions.
    return [*rng.choices(new, k=n // 2), *steady_usage(needed, n - n // 2, rng)]


def traffic(n: int, rng: random.Random, *, drifted: bool) -> list[list[Example]]:
    """Return sessions of n prompts, four in five of them Welsh."""
    welsh, greek = needed_by(WELSH), needed_by(GREEK)
    n_greek = n // 5
    rows = drifted_usage(welsh, n - n_greek, rng) if drifted else steady_usage(welsh, n - n_greek, rng)
    return sessions([*rows, *steady_usage(greek, n_greek, rng, GREEK)], rng)


async def stretch(
    address: str,
    of: Sequence[Sequence[Example]],
    rng: random.Random,
    *,
    tell: float,
    longest: int = 64,
    room: asyncio.Semaphore | None = None,
) -> Heard:
    """Let sessions ask at the same time, each a turn after the other. tell: share of answers with feedback.

    longest: tokens of an answer. room: for AT_ONCE sessions, where they share it with those of other stretches.
    """
    heard, room = Heard(), room or asyncio.Semaphore(AT_ONCE)

    async def one(client: httpx.AsyncClient, rows: Sequence[Example]) -> None:
        conversation = f"{rng.getrandbits(64):016x}"
        async with room:
            for row in rows:
                await _ask(client, row, conversation, heard, longest, tell=rng.random() < tell)

    async with httpx.AsyncClient(base_url=address, timeout=600) as client:
        await asyncio.gather(*(one(client, rows) for rows in of))
    return heard


async def stretches(
    address: str, of: Sequence[Sequence[Sequence[Example]]], rng: random.Random, *, tell: float, longest: int = 64
) -> AsyncIterator[Heard]:
    """Yield what the users of each stretch got, in their order. The next one begins while the last sessions go on.

    A model answers sixteen in the time of two, so that waiting for each stretch's longest session takes twice as long.
    """
    room = asyncio.Semaphore(AT_ONCE)
    running = [asyncio.create_task(stretch(address, one, rng, tell=tell, longest=longest, room=room)) for one in of]
    for task in running:
        yield await task


async def _ask(
    client: httpx.AsyncClient, row: Example, conversation: str, heard: Heard, longest: int, *, tell: bool
) -> None:
    body = {
        "model": "auto",
        "messages": [{"role": "user", "content": row.prompt}],
        "max_tokens": longest,
        "stop": ["\n"],
    }
    answer = await client.post("/v1/chat/completions", json=body, headers={"X-Compass-Conversation": conversation})
    if answer.status_code != 200:
        heard.failed += 1
        return
    found, version = answer.json(), answer.headers["x-compass-model"]
    right = found["choices"][0]["message"]["content"].strip() == row.response.strip()
    heard.answers[version] += 1
    heard.right[version] += right
    if tell:
        said = {"thumb": "up"} if right else {"thumb": "down", "correction": row.response}
        heard.told += (await client.post("/v1/feedback", json={"id": found["id"], **said})).status_code == 200
