"""How long the default strategy takes on a large pool, and how much memory: synthetic vectors, no text, no model.

    OMP_NUM_THREADS=2 python benchmarks/selection.py --pool 1000000

Vectors: 200 topics and 30 languages, the dimensions of multilingual-e5-small; usage asks for 20 of the topics.
"""

from __future__ import annotations

import argparse
import time

import numpy as np

from compass.runs.machine import peak_memory, reset_peak_memory
from compass.selection import Candidates, get_strategy
from compass.semantic.arrays import FloatArray, IntArray

TOPICS, LANGUAGES, DIMENSIONS, NEEDED = 200, 30, 384, 20


def rows(rng: np.random.Generator, topics: FloatArray, which: IntArray, spread: float = 0.08) -> FloatArray:
    """Draw unit rows around topics, a chunk at a time."""
    out = np.empty((len(which), DIMENSIONS), dtype=np.float32)
    for start in range(0, len(which), 50_000):
        part = topics[which[start : start + 50_000]]
        x = part + spread * rng.standard_normal(part.shape, dtype=np.float32)
        out[start : start + len(x)] = x / np.linalg.norm(x, axis=1, keepdims=True)
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pool", type=int, default=1_000_000)
    parser.add_argument("--usage", type=int, default=300)
    parser.add_argument("--current", type=int, default=2000)
    parser.add_argument("--classes", type=int, default=1, help="classes in a topic")
    parser.add_argument("--budget", type=int, default=10_000)
    parser.add_argument("--strategies", nargs="+", default=["compass", "nearest"])
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    topics = rng.standard_normal((TOPICS, DIMENSIONS), dtype=np.float32)
    topics /= np.linalg.norm(topics, axis=1, keepdims=True)
    which = {
        "usage": rng.integers(0, NEEDED, options.usage),
        "current": rng.integers(NEEDED // 2, TOPICS, options.current),
        "pool": rng.integers(0, TOPICS, options.pool),
    }

    def classes(topic: IntArray) -> IntArray:
        return topic * options.classes + rng.integers(0, options.classes, len(topic))

    candidates = Candidates(
        usage=rows(rng, topics, which["usage"]),
        train=rows(rng, topics, which["current"]),
        pool=rows(rng, topics, which["pool"]),
        usage_clusters=which["usage"],
        train_clusters=which["current"],
        pool_clusters=which["pool"],
        n_clusters=TOPICS,
        pool_languages=[f"l{i}" for i in rng.integers(0, LANGUAGES, options.pool)],
        pool_costs=np.ones(options.pool, dtype=np.int64),
        target_language="cy",
        train_classes=classes(which["current"]),
        pool_classes=classes(which["pool"]),
    )
    vectors = candidates.pool.nbytes / 2**30
    print(f"pool: {options.pool} rows, {vectors:.2f} GiB of vectors; usage {options.usage}, budget {options.budget}")
    for name in options.strategies:
        reset_peak_memory()
        start = time.monotonic()
        picked = get_strategy(name).select(candidates, options.budget, seed=0)
        seconds = time.monotonic() - start
        share = float(np.mean(which["pool"][picked.indices] < NEEDED))
        print(f"{name}: {seconds:.1f} s, peak {peak_memory() / 2**30:.2f} GiB, on needed topics {share:.3f}")


if __name__ == "__main__":
    main()
