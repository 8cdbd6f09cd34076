"""Users judge an update before it is promoted: the gate together with what they say to the gateway."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest

from compass.errors import ConfigError
from compass.serve.store import Answer, Said, Store
from topics import MOVED, prompts
from watch_world import BETTER, drift, hooked, kinds, run, write

UNCLEAR = BETTER | {"cy": (60, 61)}
"""The gate can't tell whether new usage improves."""
HOURS = 24.0


@pytest.fixture
def tried(world: SimpleNamespace) -> SimpleNamespace:
    """A loop whose updates users judge for a day."""
    folder = world.root / "serve"
    folder.mkdir()
    world.options = dataclasses.replace(
        world.options,
        watch=dataclasses.replace(world.options.watch, canary_hours=HOURS, update_feedback=str(folder)),
    )
    world.answers = Store(f"sqlite:///{folder / 'serve.db'}")
    drift(world)
    return world


def say(world: SimpleNamespace, version: int, *, up: int, down: int = 0, conversations: int = 0) -> None:
    """Let users say what they think of a version's answers, each in a conversation of their own."""
    # Mixed, as in traffic: words on the two versions are compared in their order.
    content = np.random.default_rng(version).permutation(up + down) < up
    for n in range(up + down):
        id = f"{version}-{n}-{world.clock()}"
        who = f"{version}-{n % conversations if conversations else n}"
        world.answers.add([Answer(id, who, "", "cy", version, version == 2, world.clock(), {})])
        world.answers.say(Said(id, "", int(content[n]), None), world.clock())


def later(world: SimpleNamespace, hours: float = HOURS) -> list[str]:
    world.clock.now += 3600 * hours
    return kinds(run(world))


def test_an_update_that_the_gate_passes_waits_for_its_users(tried: SimpleNamespace):
    """Breaks if the loop promotes before a canary has seen traffic, starts another update meanwhile, or never ends."""
    assert kinds(run(tried)) == ["update", "canary", "blocked", "status"]
    now = tried.registry.aliases("cy")
    assert (now.current[:5], now.candidate[:5]) == ("v0001", "v0002")
    say(tried, 1, up=10, down=10)
    say(tried, 2, up=10, down=10)
    write(tried.logs / "day3.jsonl", prompts(100, MOVED, 4))
    assert later(tried, 1) == ["blocked", "status"]
    assert later(tried) == ["promotion", "status"]
    assert tried.registry.aliases("cy").current.startswith("v0002")
    decision = tried.registry.history("cy")[-1].decision
    assert decision["tests"][-1]["name"] == "feedback"
    assert "50% of 20 conversations" in decision["reason"]
    assert hooked(tried)[-3:] == ["update", "canary", "promotion"]


def test_users_who_are_less_content_send_it_back_at_once(tried: SimpleNamespace):
    """Breaks if a version that passed the gate goes into production against what users say of it."""
    run(tried)
    say(tried, 1, up=60)
    say(tried, 2, up=0, down=60)
    assert later(tried, 1)[0] == "refusal"
    now = tried.registry.aliases("cy")
    assert (now.current[:5], now.candidate) == ("v0001", "")


@pytest.mark.parametrize(("up", "ends"), [(60, "promotion"), (30, "refusal")])
def test_users_can_show_what_new_usage_could_not(tried: SimpleNamespace, up: int, ends: str):
    """Breaks if kept prompts without answers could never lead to a promotion, or lead to one without evidence."""
    tried.right = UNCLEAR
    assert "canary" in kinds(run(tried))
    say(tried, 1, up=30, down=30)
    say(tried, 2, up=up, down=60 - up)
    assert later(tried)[0] == ends


def test_old_usage_that_is_lost_is_no_matter_of_taste(tried: SimpleNamespace):
    """Breaks if a version that the gate refuses is tried on users."""
    tried.right = BETTER | {"cy-0": (100, 40)}
    assert "refusal" in kinds(run(tried))
    assert not tried.registry.aliases("cy").candidate


def test_one_conversation_counts_once(tried: SimpleNamespace):
    """Breaks if one angry user decides what all others get."""
    run(tried)
    say(tried, 1, up=60)
    say(tried, 2, up=0, down=60, conversations=1)
    assert later(tried, 1) == ["status"]


def damage(world: SimpleNamespace) -> None:
    path = world.registry.folder("cy") / "history.jsonl"
    path.write_bytes(b"\0\n" + path.read_bytes().split(b"\n", 1)[1])


@pytest.mark.parametrize("who", ["gateway", "person"])
def test_it_ends_when_somebody_else_decides(tried: SimpleNamespace, who: str):
    """Breaks if the loop waits for ever for a candidate that the gateway took back, or that a person promoted."""
    run(tried)
    if who == "gateway":
        tried.registry.withdraw("cy", reason="errors: 3 of 9")
        # No alias depends on it.
        damage(tried)
    else:
        tried.registry.promote("cy", reason="by hand")
    events = run(tried)
    assert events[0].kind == ("refusal" if who == "gateway" else "promotion")
    assert ("errors: 3 of 9" if who == "gateway" else "a person promoted it") in events[0].summary


def test_a_damaged_history_costs_no_update(tried: SimpleNamespace):
    """Breaks if what the gate and users passed is refused because a line of long ago is damaged."""
    run(tried)
    damage(tried)
    assert "promotion" in later(tried)


def test_it_needs_a_gateway(world: SimpleNamespace):
    """Breaks if the loop waits for feedback that it could never see."""
    world.options = dataclasses.replace(
        world.options, watch=dataclasses.replace(world.options.watch, canary_hours=HOURS)
    )
    with pytest.raises(ConfigError, match="update_feedback"):
        run(world)
