"""How often the monitor is wrong without drift, and how late it is with drift. Prints JSON.

    OMP_NUM_THREADS=1 python experiments/drift_calibration.py --monitors 12 --prompts 20000 --drifting 10

The whole monitor runs, all tests together, over simulated vectors: uneven topics (Dirichlet 0.8), each a direction in
32 dimensions with noise, and a space fitted on a pool of its own. Each monitor has a reference and a stream of its own.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter

import numpy as np
import numpy.typing as npt

from compass.config import MonitorConfig
from compass.drift import Monitor, Reference
from compass.semantic import SemanticSpace

TOPICS, HIDDEN, D, NOISE = 28, 4, 32, 0.08
SIZES = {"mix": (0.05, 0.1, 0.2, 0.4), "new": (0.05, 0.1, 0.2), "within": (0.05, 0.1)}
"""Kinds of drift and their sizes; see `World.drifted`."""
Vectors = npt.NDArray[np.float32]


class World:
    """Topics of usage, and some that come up with drift alone."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.topics = np.linalg.qr(self.rng.normal(size=(D, D)))[0]
        self.mix = np.append(self.rng.dirichlet(np.full(TOPICS, 0.8)), np.zeros(HIDDEN))
        pool = self.draw(3000, np.append(np.full(TOPICS, 1 / TOPICS), np.zeros(HIDDEN)))
        self.space = SemanticSpace.fit(pool, ["cy"] * len(pool), language_removal="none", n_clusters=TOPICS, seed=seed)

    def draw(self, n: int, mix: npt.NDArray[np.float64], push: npt.NDArray[np.float64] | float = 0.0) -> Vectors:
        """Return n unit rows of this mix, moved by `push` before they are scaled."""
        x = self.topics[self.rng.choice(D, n, p=mix)] + NOISE * self.rng.normal(size=(n, D)) + push
        return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)

    def drifted(self, kind: str, size: float, n: int) -> Vectors:
        """Return n rows after a drift: `mix` moves a share of the prompts to the three rarest topics, `new` moves it to
        topics that were not there before, `within` moves every prompt by so much in one direction."""
        target = np.zeros(D)
        if kind == "within":
            return self.draw(n, self.mix, size * self.topics.sum(axis=0) / np.sqrt(D))
        target[np.argsort(self.mix[:TOPICS])[:3] if kind == "mix" else np.arange(TOPICS, D)] = 1.0
        return self.draw(n, (1 - size) * self.mix + size * target / target.sum())


def without_drift(rows: int, monitors: int, prompts: int, config: MonitorConfig) -> dict[str, object]:
    """Count alarms where there is nothing to find."""
    alarms: Counter[str] = Counter()
    windows, per_monitor = 0, []
    for seed in range(monitors):
        world = World(seed)
        reference = Reference.fit(world.space, world.draw(rows, world.mix), ["cy"] * rows, seed=seed)
        with Monitor(reference, config, database="sqlite://", seed=seed) as monitor:
            found = 0
            for _ in range(prompts // 500):
                seen = monitor.observe(world.draw(500, world.mix), ["cy"] * 500)
                windows += sum(check.test == "histogram" for check in seen.checks)
                for event in seen.events:
                    alarms[event.check.test] += event.kind == "drift"
                    found += event.kind == "drift"
            per_monitor.append(found)
    total = monitors * prompts
    return {
        "reference": rows, "prompts": total, "windows": windows, "alarms": sum(alarms.values()),
        "promised_at_most": total / config.prompts_per_false_alarm, "by_test": dict(alarms), "per_monitor": per_monitor,
    }  # fmt: skip


def with_drift(rows: int, kind: str, size: float, monitors: int, most: int, config: MonitorConfig) -> dict[str, object]:
    """Measure prompts from the drift to the first alarm."""
    delays, first = [], Counter[str]()
    for seed in range(monitors):
        world = World(1000 + seed)
        reference = Reference.fit(world.space, world.draw(rows, world.mix), ["cy"] * rows, seed=seed)
        with Monitor(reference, config, database="sqlite://", seed=seed) as monitor:
            monitor.observe(world.draw(1000, world.mix), ["cy"] * 1000)
            for _ in range(most // 500):
                seen = monitor.observe(world.drifted(kind, size, 500), ["cy"] * 500)
                raised = [event.check for event in seen.events if event.kind == "drift"]
                if raised:
                    first_check = min(raised, key=lambda check: check.prompts)
                    delays.append(first_check.prompts - 1000)
                    first[first_check.test] += 1
                    break
    return {
        "reference": rows, "drift": kind, "size": size, "found": len(delays), "of": monitors, "within": most,
        "median_delay": float(np.median(delays)) if delays else None,
        "longest_delay": max(delays, default=None), "first_test": dict(first),
    }  # fmt: skip


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--monitors", type=int, default=12, help="Monitors without drift, for each reference size.")
    parser.add_argument("--prompts", type=int, default=20_000, help="Prompts that each of them sees.")
    parser.add_argument("--drifting", type=int, default=10, help="Monitors for each kind and size of drift.")
    parser.add_argument("--most", type=int, default=4_000, help="Prompts after which a drift counts as not found.")
    parser.add_argument("--kinds", nargs="*", default=list(SIZES), choices=list(SIZES), help="Kinds of drift.")
    arguments = parser.parse_args()
    config = MonitorConfig()
    for rows in (300, 2000):
        print(json.dumps(without_drift(rows, arguments.monitors, arguments.prompts, config)), flush=True)
    for kind in arguments.kinds:
        for size in SIZES[kind]:
            for rows in (300, 2000):
                found = with_drift(rows, kind, size, arguments.drifting, arguments.most, config)
                print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
