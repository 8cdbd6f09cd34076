"""Does the drift monitor keep its promise in traffic that comes in sessions and swings with the hours? Prints JSON.

    OMP_NUM_THREADS=1 python benchmarks/drift_in_traffic.py --monitors 8 --prompts 20000

The whole monitor runs, all tests together, over simulated vectors, one line for each kind of traffic: alarms without
drift beside those that are promised at most, and prompts from a drift to the first alarm. A drift moves 10 or 40 % of
the prompts (of the sessions, where there are any) to the three rarest topics. Reference and stream are of one kind of
traffic, 2,000 prompts a day, and the stream goes on where the reference ends. Each monitor has topics, a reference and
a stream of its own.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from compass.config import MonitorConfig
from compass.drift import Monitor, Reference
from compass.semantic import SemanticSpace

TOPICS, D, NOISE = 28, 32, 0.08
A_DAY = 2000
SECONDS = 86_400.0
SESSION = 4
"""Prompts in a session, on average."""
SWING = 0.5
"""Share by which topics become more and less frequent."""
BURST_EVERY, BURST = 4000, 200
"""A user who repeats one prompt so often, as every second prompt, and when the next one comes."""
STEADY, MOST, BATCH = 1000, 4000, 500


@dataclass(frozen=True)
class Traffic:
    """How prompts come, and what is known of it."""

    name: str
    sessions: bool = False
    """Sessions that stay with their topic."""
    at_once: int = 1
    """Sessions that are open at a time."""
    cycles: tuple[int, ...] = ()
    """Prompts in each cycle."""
    burst: bool = False
    reference: int = 2000
    ids: bool = False
    times: bool = False
    plain_reference: bool = False
    """Whether the reference is a sample of single prompts, whose order says nothing."""


KINDS = (
    Traffic("independent"),
    Traffic("sessions, ids", sessions=True, ids=True),
    Traffic("sessions, ids, reference of single prompts", sessions=True, ids=True, plain_reference=True),
    Traffic("sessions, no ids", sessions=True),
    Traffic("sessions, no ids, reference of single prompts", sessions=True, plain_reference=True),
    Traffic("20 sessions at once, ids", sessions=True, at_once=20, ids=True),
    Traffic("5 sessions at once, no ids", sessions=True, at_once=5),
    Traffic("20 sessions at once, no ids", sessions=True, at_once=20),
    Traffic(
        "20 sessions at once, no ids, reference of single prompts", sessions=True, at_once=20, plain_reference=True
    ),
    Traffic("day, no times", cycles=(A_DAY,)),
    Traffic("day, times, 4 days of reference", cycles=(A_DAY,), reference=4 * A_DAY, times=True),
    Traffic("week, no times, 2 weeks of reference", cycles=(7 * A_DAY,), reference=14 * A_DAY),
    Traffic("week, times, 2 weeks of reference", cycles=(7 * A_DAY,), reference=14 * A_DAY, times=True),
    Traffic("day and week, times, 2 weeks of reference", cycles=(A_DAY, 7 * A_DAY), reference=14 * A_DAY, times=True),
    Traffic(
        "day, week and sessions, ids and times, 2 weeks of reference",
        sessions=True, ids=True, cycles=(A_DAY, 7 * A_DAY), reference=14 * A_DAY, times=True,
    ),
    Traffic("burst of one user, ids", burst=True, ids=True),
    Traffic("burst of one user, no ids", burst=True),
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Prompts:
    """Prompts of one stretch of traffic."""

    vectors: npt.NDArray[np.float32]
    texts: list[str]
    sessions: list[str]
    times: npt.NDArray[np.float64]


class World:
    """Topics of usage, how they swing, and a space that was fitted on a pool of its own."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.topics = np.linalg.qr(self.rng.normal(size=(D, D)))[0][:TOPICS]
        self.mix = self.rng.dirichlet(np.full(TOPICS, 0.8))
        self.phases = self.rng.uniform(0.0, 2.0 * np.pi, size=(8, TOPICS))
        pool = self._vectors(self.rng.integers(0, TOPICS, 3000))
        self.space = SemanticSpace.fit(pool, ["cy"] * len(pool), language_removal="none", n_clusters=TOPICS, seed=seed)

    def _vectors(self, topics: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        x = self.topics[topics] + NOISE * self.rng.normal(size=(len(topics), D))
        return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)

    def prompts(self, kind: Traffic, n: int, start: int, drift: float = 0.0) -> Prompts:
        """Return n prompts of a kind of traffic, of which `start` came before."""
        rng, places = self.rng, start + np.arange(n)
        topics = rng.choice(TOPICS, n, p=self.mix)
        swings = [
            1.0 + SWING * np.sin(2.0 * np.pi * places[:, None] / cycle + phases)
            for cycle, phases in zip(kind.cycles, self.phases, strict=False)
        ]
        if swings:
            weights = np.cumsum(self.mix * np.prod(swings, axis=0), axis=1)
            topics = (rng.random(n)[:, None] * weights[:, -1:] > weights).sum(axis=1)
        rare = np.argsort(self.mix)[:3]
        topics = np.where(rng.random(n) < drift, rare[rng.integers(0, 3, n)], topics)
        begins = np.arange(n)
        if kind.sessions:
            users = rng.integers(0, kind.at_once, n)
            for user in range(kind.at_once):
                rows = np.flatnonzero(users == user)
                new = rng.random(len(rows)) < 1.0 / SESSION
                new[:1] = True
                begins[rows] = rows[np.maximum.accumulate(np.where(new, np.arange(len(rows)), 0))]
            topics = topics[begins]
        texts = [f"prompt {place}" for place in places]
        sessions = [f"session {start + begin}" for begin in begins]
        if kind.burst and not drift:
            bot = (places % BURST_EVERY < 2 * BURST) & (places % 2 == 0)
            topics[bot] = np.argsort(self.mix)[TOPICS // 2]
            for place in np.flatnonzero(bot).tolist():
                texts[place], sessions[place] = "are you there", f"bot {places[place] // BURST_EVERY}"
        return Prompts(self._vectors(topics), texts, sessions, places * (SECONDS / A_DAY))


def watched(kind: Traffic, seed: int) -> tuple[World, Monitor]:
    """Return a world and a monitor with a reference of this kind of traffic. A burst is not in the reference."""
    world = World(seed)
    plain = Traffic(kind.name, cycles=kind.cycles, times=kind.times)
    like = plain if kind.plain_reference or kind.burst else kind
    rows = world.prompts(like, kind.reference, 0)
    reference = Reference.fit(
        world.space, rows.vectors, ["cy"] * kind.reference, seed=seed, texts=rows.texts,
        sessions=rows.sessions if kind.ids and like is kind else None, times=rows.times if kind.times else None,
    )  # fmt: skip
    return world, Monitor(reference, MonitorConfig(), database="sqlite://", seed=seed)


def observe(monitor: Monitor, kind: Traffic, rows: Prompts) -> list[tuple[int, str]]:
    """Let the monitor count a stretch; return the prompts of the stream at each alarm, and its test."""
    found = []
    for start in range(0, len(rows.texts), BATCH):
        part = slice(start, start + BATCH)
        seen = monitor.observe(
            rows.vectors[part], ["cy"] * len(rows.texts[part]), texts=rows.texts[part],
            sessions=rows.sessions[part] if kind.ids else None, times=rows.times[part] if kind.times else None,
        )  # fmt: skip
        found += [(event.check.prompts, event.check.test) for event in seen.events if event.kind == "drift"]
    return found


def false_alarms(kind: Traffic, monitors: int, prompts: int, first: int = 0) -> dict[str, object]:
    """Count alarms where there is nothing to find."""
    per_monitor, tests = [], []
    for seed in range(first, first + monitors):
        world, monitor = watched(kind, seed)
        with monitor:
            found = observe(monitor, kind, world.prompts(kind, prompts, kind.reference))
            traffic = monitor.status()["streams"]["cy"].get("traffic", {})
        per_monitor.append(len(found))
        tests += [test for _, test in found]
    by_test = {test: tests.count(test) for test in sorted(set(tests))}
    return {"alarms": sum(per_monitor), "per_monitor": per_monitor, "by_test": by_test, "traffic": traffic}


def delays(kind: Traffic, drift: float, monitors: int, first: int = 0) -> list[float]:
    """Return the prompts from a drift to the first alarm of each monitor, inf where none came."""
    found = []
    for seed in range(1000 + first, 1000 + first + monitors):
        world, monitor = watched(kind, seed)
        with monitor:
            observe(monitor, kind, world.prompts(kind, STEADY, kind.reference))
            before, delay = monitor.status()["streams"]["cy"]["prompts"], math.inf
            for start in range(0, MOST, BATCH):
                rows = world.prompts(kind, BATCH, kind.reference + STEADY + start, drift)
                if alarms := observe(monitor, kind, rows):
                    delay = alarms[0][0] - before
                    break
        found.append(delay)
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--monitors", type=int, default=8, help="Monitors of each kind of traffic.")
    parser.add_argument("--prompts", type=int, default=20_000, help="Steady prompts of each.")
    parser.add_argument(
        "--seed", type=int, default=0, help="The first monitor's; develop on some and report on others."
    )
    parser.add_argument("--only", default="", help="Kinds of traffic whose name has this in it.")
    arguments = parser.parse_args()
    promised = arguments.monitors * arguments.prompts / MonitorConfig().prompts_per_false_alarm
    for kind in KINDS:
        if arguments.only not in kind.name:
            continue
        found = {"traffic": kind.name, "promised_at_most": promised}
        began = time.process_time()
        figures = false_alarms(kind, arguments.monitors, arguments.prompts, arguments.seed)
        shown = figures.pop("traffic")
        for drift in (0.1, 0.4):
            late = delays(kind, drift, arguments.monitors, arguments.seed)
            finite = [delay for delay in late if delay < math.inf]
            figures[f"delay_{drift:.0%}"] = float(np.median(late)) if len(finite) > len(late) / 2 else None
            figures[f"found_{drift:.0%}"] = len(finite)
        figures["processor_seconds"] = round(time.process_time() - began, 1)
        print(json.dumps(found | figures | {"estimated": shown}), flush=True)


if __name__ == "__main__":
    main()
