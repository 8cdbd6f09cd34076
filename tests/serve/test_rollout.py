"""Candidates in traffic: who gets them, and when they are withdrawn."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx

from compass.registry import Registry
from compass.serve.app import make_app
from compass.serve.rollout import CANDIDATE, ERRORS, FEEDBACK, LATENCY, PRODUCTION, Rollout, Trial
from compass.serve.start import withdrawing
from compass.serve.store import Answer
from model_servers import FakeVllm, make_gateway, settle


def run(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(work, 60))


@asynccontextmanager
async def watched(
    registry: Registry, servers: list[FakeVllm], *, share: float = 0.0, shadow: float = 0.0
) -> AsyncIterator[tuple[httpx.AsyncClient, Rollout]]:
    gateway = make_gateway(registry, servers, share=share, candidates=True)
    rollout = Rollout(gateway.fleet, withdrawing(str(registry.root)), shadow=shadow)
    await settle(gateway)
    transport = httpx.ASGITransport(make_app(gateway, rollout=rollout))
    async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
        yield client, rollout


async def ask(client: httpx.AsyncClient, conversation: int, model: str = "cy") -> httpx.Response:
    body = {"model": model, "messages": [{"role": "user", "content": "helo"}]}
    return await client.post("/v1/chat/completions", json=body, headers={"X-Compass-Conversation": str(conversation)})


async def soon(registry: Registry) -> None:
    """Wait until the registry has no candidate."""
    for _ in range(500):
        if not registry.aliases("cy").candidate:
            return
        await asyncio.sleep(0.01)
    raise AssertionError("the candidate was not withdrawn")


def test_a_failing_candidate_is_withdrawn(registry: Registry, servers: list[FakeVllm], runs: list[Path]) -> None:
    """Users would get its errors until somebody looks."""

    async def work() -> None:
        registry.register(runs[1])
        servers[0].fails = {"cy@2"}
        async with watched(registry, servers[:1], share=0.3) as (client, _):
            answers = [await ask(client, n) for n in range(8)]
            got = [answer.headers["x-compass-model"] for answer in answers]
            assert set(got) == {"cy@1", "cy@2"}
            for n in range(60):
                await ask(client, n)
            await soon(registry)
            assert {(await ask(client, n)).json()["model"] for n in range(12)} == {"cy@1"}
        assert registry.aliases("cy").current.startswith("v0001")
        assert "errors" in registry.history("cy")[-1].reason
        assert registry.events("cy")[-1].kind == "refusal"

    run(work())


def test_a_shadow_is_compared_and_not_shown(registry: Registry, servers: list[FakeVllm], runs: list[Path]) -> None:
    """Users would see the candidate's answer, or nobody would know how it differs."""

    async def work() -> None:
        registry.register(runs[1])
        servers[0].answers = {"cy@1": "same", "cy@2": "same"}
        async with watched(registry, servers[:1], shadow=1.0) as (client, rollout):
            assert {(await ask(client, n)).json()["model"] for n in range(4)} == {"cy@1"}
            await asyncio.gather(*rollout._tasks)
            servers[0].answers["cy@2"] = "other"
            await ask(client, 9)
            await asyncio.gather(*rollout._tasks)
            assert dict(rollout.shadows) == {"same": 4, "different": 1}
            assert 'compass_shadow_total{outcome="different"} 1.0' in (await client.get("/metrics")).text

    run(work())


def test_a_shadow_that_no_backend_takes_says_nothing(
    registry: Registry, servers: list[FakeVllm], runs: list[Path]
) -> None:
    """A backend that restarts would get a good candidate withdrawn: production's requests go to another one."""

    async def work() -> None:
        registry.register(runs[1])
        async with watched(registry, servers[:1], shadow=1.0) as (client, rollout):
            loaded = servers[0].adapters
            for n in range(30):
                rollout._fleet.replicas[0].loaded["cy@2"] = loaded.pop("cy@2", "folder")
                assert (await ask(client, n)).status_code == 200
                await asyncio.gather(*rollout._tasks)
            assert dict(rollout.shadows) == {"left out": 30}
            assert not rollout._trials["cy", 2].tests[ERRORS].pairs
        assert registry.aliases("cy").candidate

    run(work())


def test_thumbs_withdraw_a_candidate(registry: Registry, servers: list[FakeVllm], runs: list[Path]) -> None:
    """What users say would change nothing; and thumbs on other versions must not count."""

    async def work() -> None:
        registry.register(runs[1])
        async with watched(registry, servers[:1], share=0.5) as (_, rollout):
            for n in range(40):
                for version, thumb in ((1, 1), (2, 0), (7, 0)):
                    rollout.heard(Answer(f"{n}", f"{n}-{version}", "", "cy", version, False, 0.0, {}, thumb))
            await soon(registry)
        assert "feedback" in registry.history("cy")[-1].reason

    run(work())


def test_requests_for_a_version_by_name_count_for_neither(
    registry: Registry, servers: list[FakeVllm], runs: list[Path]
) -> None:
    """Somebody's tests of a version by its name would withdraw a candidate, or stand for what production does."""

    async def work() -> None:
        registry.register(runs[1])
        servers[0].fails = {"cy@2"}
        async with watched(registry, servers[:1], shadow=1.0) as (client, rollout):
            for n in range(40):
                for name in ("cy@1", "cy@2"):
                    await ask(client, n, name)
                rollout.heard(Answer(f"{n}", f"{n}", "", "cy", 2, False, 0.0, {}, 0, exact=True))
            assert not rollout._trials
            assert not rollout._tasks
        assert registry.aliases("cy").candidate

    run(work())


def test_late_answers_count_against_a_candidate() -> None:
    """A candidate that doubles the waiting time would go into production."""
    trial, ended = Trial(), ""
    for _ in range(40):
        trial.add(PRODUCTION, failed=False, first_byte=0.1)
    for _ in range(100):
        ended = ended or trial.add(PRODUCTION, failed=False, first_byte=0.1)
        ended = ended or trial.add(CANDIDATE, failed=False, first_byte=0.15)
    assert not ended
    for _ in range(200):
        ended = ended or trial.add(PRODUCTION, failed=False, first_byte=0.1)
        ended = ended or trial.add(CANDIDATE, failed=False, first_byte=0.3)
    assert ended == LATENCY
    assert set(trial.tests) == {ERRORS, LATENCY, FEEDBACK}
