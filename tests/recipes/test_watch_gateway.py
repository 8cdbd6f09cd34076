"""The loop beside a gateway that listens: users ask and judge over HTTP, registry, prompts and feedback are on disk."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator
from types import SimpleNamespace

import httpx
import pytest

from compass.config import ServeOptions
from compass.drift.log_lines import FILE_HEADER
from compass.serve.start import make_application
from listening import listening
from model_servers import FakeVllm
from processes import wait_for
from topics import MOVED, STEADY, prompts
from watch_world import BETTER, hooked, kinds, run, write

HOURS = 24.0
UNCLEAR = BETTER | {"cy": (60, 61)}
"""The gate can't tell whether new usage improves: users have to."""
USERS = 40


@pytest.fixture
def live(world: SimpleNamespace) -> Iterator[SimpleNamespace]:
    """A loop that reads what a gateway writes down; half of all conversations get a candidate."""
    folder = world.root / "serve"
    (folder / "prompts").mkdir(parents=True)
    world.logs = folder / "prompts"
    own = world.options
    world.options = dataclasses.replace(
        own, watch=dataclasses.replace(own.watch, canary_hours=HOURS, update_feedback=str(folder))
    )
    # The gateway's clock is the real one.
    world.clock.now = time.time()
    with listening(FakeVllm().app()) as backend:
        default = ServeOptions()
        options = dataclasses.replace(
            default,
            serve=dataclasses.replace(default.serve, backend=(backend,), serve_dir=str(folder), canary=0.5),
            monitor=dataclasses.replace(default.monitor, reservoir="full"),
            registry=dataclasses.replace(default.registry, registry_dir=own.registry.registry_dir),
        )
        with listening(make_application(options)) as address, httpx.Client(base_url=address, timeout=30) as client:
            world.client = client
            wait_for(lambda: client.get("/readyz").status_code == 200)
            # What an earlier process of the gateway has left, with the drift in it.
            earlier = world.logs / "20200101T000000-1.jsonl"
            earlier.write_bytes(FILE_HEADER + b', "format": 1, "id": "1"}\n')
            write(earlier, [*prompts(200, STEADY, 2), *prompts(300, MOVED, 3)])
            yield world


def ask(world: SimpleNamespace, text: str, who: str = "") -> tuple[str, str]:
    """Ask for an answer; return its id and who gave it."""
    body = {"model": "cy", "messages": [{"role": "user", "content": text}]}
    answer = world.client.post("/v1/chat/completions", json=body, headers={"X-Compass-Conversation": who or text})
    assert answer.status_code == 200
    return answer.json()["id"], answer.headers["x-compass-model"]


def judged(world: SimpleNamespace, *, likes: str) -> None:
    """Let users ask a question each and say whether they like the answer, until the candidate has no more requests."""
    wait_for(lambda: "cy@2" in world.client.get("/v1/models").text)
    seen = set()
    for text in prompts(USERS, MOVED, 5):
        id, version = ask(world, text)
        seen.add(version)
        said = world.client.post("/v1/feedback", json={"id": id, "thumb": "up" if version == likes else "down"})
        assert said.status_code == 200
        if not world.registry.aliases("cy").candidate:
            break
    assert seen == {"cy@1", "cy@2"}


def test_users_judge_an_update_and_the_gateway_follows(live: SimpleNamespace):
    """Breaks if what users say to a gateway never reaches the loop, or a promotion never reaches the gateway."""
    live.right = UNCLEAR
    assert kinds(run(live)) == ["update", "canary", "blocked", "status"]
    judged(live, likes="cy@2")
    assert kinds(run(live)) == ["promotion", "status"]
    wait_for(lambda: ask(live, "lights again")[1] == "cy@2")
    assert hooked(live)[-3:] == ["update", "canary", "promotion"]


def test_a_gateway_that_withdraws_it_ends_the_update(live: SimpleNamespace):
    """Breaks if a candidate that users dislike keeps its requests, or the loop waits on for a version that is gone."""
    run(live)
    judged(live, likes="cy@1")
    wait_for(lambda: not live.registry.aliases("cy").candidate)
    events = run(live)
    assert kinds(events) == ["refusal", "blocked", "status"]
    assert "It was withdrawn: feedback: " in events[0].summary
    # What they said is on record beside the gate's tests.
    assert events[0].details["decision"]["tests"][-1]["name"] == "feedback"
    assert {ask(live, f"lights {n}")[1] for n in range(10)} == {"cy@1"}
