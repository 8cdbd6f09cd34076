"""Vectors per second of the drift monitor without the encoder, and its memory. Prints JSON.

    OMP_NUM_THREADS=2 python benchmarks/monitor.py --vectors 10000000

Memory is the resident set after each tenth of the stream: flat if the last is not above the second.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time

import numpy as np
import psutil

from compass.config import MonitorConfig
from compass.drift import Monitor, Reference
from compass.semantic import SemanticSpace


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--vectors", type=int, default=10_000_000, help="Vectors to observe.")
    parser.add_argument("--batch", type=int, default=20_000, help="Vectors in one batch, one transaction each.")
    parser.add_argument("--clusters", type=int, default=100)
    parser.add_argument("--dimensions", type=int, default=384)
    parser.add_argument("--languages", type=int, default=2)
    arguments = parser.parse_args()
    rng = np.random.default_rng(0)
    tags = [f"x{chr(97 + i)}" for i in range(arguments.languages)]
    topics = rng.normal(size=(arguments.clusters, arguments.dimensions))

    def draw(n: int) -> np.ndarray:
        x = topics[rng.integers(0, len(topics), n)] + rng.normal(size=(n, arguments.dimensions))
        return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)

    def languages(n: int) -> list[str]:
        return [tags[i] for i in rng.integers(0, len(tags), n)]

    n = max(2000, 10 * arguments.clusters)
    space = SemanticSpace.fit(draw(n), languages(n), language_removal="mean", n_clusters=arguments.clusters, seed=0)
    reference = Reference.fit(space, draw(4000), languages(4000))
    # Drawn before the clock starts, and enough of them that no batch repeats at once.
    batches = [(draw(arguments.batch), languages(arguments.batch)) for _ in range(8)]
    process = psutil.Process()
    rounds = arguments.vectors // arguments.batch
    memory, checks, alarms = [], 0, 0
    with tempfile.TemporaryDirectory() as folder:
        with Monitor(reference, MonitorConfig(), database=f"sqlite:///{folder}/state.db") as monitor:
            for vectors, tags_of in batches:
                monitor.observe(vectors, tags_of)
            started, cpu = time.perf_counter(), time.process_time()
            for i in range(rounds):
                seen = monitor.observe(*batches[i % len(batches)], batch_id=str(i))
                checks += len(seen.checks)
                alarms += sum(event.kind == "drift" for event in seen.events)
                if (i + 1) % max(1, rounds // 10) == 0:
                    memory.append(round(process.memory_info().rss / 2**20, 1))
            seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
        size = os.path.getsize(f"{folder}/state.db")
    done = rounds * arguments.batch
    figures = {
        "vectors": done, "omp_num_threads": os.environ.get("OMP_NUM_THREADS", ""),
        "vectors_per_second": round(done / seconds),
        # the same on a machine that others use at the same time
        "vectors_per_cpu_second": round(done / cpu),
        "checks": checks, "alarms": alarms, "resident_megabytes": memory, "database_megabytes": round(size / 2**20, 2),
    }  # fmt: skip
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
