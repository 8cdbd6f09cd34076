"""How long the default strategy takes on a large pool, and how much memory: synthetic vectors, no text, no model.

    OMP_NUM_THREADS=2 python benchmarks/selection.py --pool 1000000              # vectors in memory, clusters known
    OMP_NUM_THREADS=2 python benchmarks/selection.py --pool 1000000 --stored     # vectors on disk, to selected.jsonl

Vectors: 200 topics and 30 languages, the dimensions of multilingual-e5-small; usage asks for 20 of the topics. With
`--stored` language is taken out, rows are assigned to `--clusters` centroids, and picks and audit are written; the file
of the vectors is in the page cache, and scikit-learn is loaded, as it is by `compass select`, which fits the space with
it. Seconds are those of the clock; those of the processor stand behind them.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from compass.data.example import Example
from compass.encoders.stored import StoredVectors
from compass.runs import layout
from compass.runs.files import write_json
from compass.runs.folder import Run
from compass.runs.machine import peak_memory, reset_peak_memory
from compass.selection import Candidates, build_candidates, get_strategy
from compass.semantic.arrays import FloatArray, IntArray
from compass.semantic.space import SemanticSpace
from compass.steps.audit import write_selection
from compass.steps.state import RunData

TOPICS, LANGUAGES, DIMENSIONS, NEEDED = 200, 30, 384, 20


def rows(rng: np.random.Generator, topics: FloatArray, which: IntArray, spread: float = 0.08) -> FloatArray:
    """Draw unit rows around topics, a chunk at a time."""
    out = np.empty((len(which), DIMENSIONS), dtype=np.float32)
    for start in range(0, len(which), 50_000):
        part = topics[which[start : start + 50_000]]
        x = part + spread * rng.standard_normal(part.shape, dtype=np.float32)
        out[start : start + len(x)] = x / np.linalg.norm(x, axis=1, keepdims=True)
    return out


class Watch:
    """Says what each step costs."""

    def __init__(self) -> None:
        self.start = (time.monotonic(), time.process_time())
        reset_peak_memory()

    def tell(self, step: str) -> None:
        """Print what the time since the last call went to."""
        now = (time.monotonic(), time.process_time())
        clock, processor = (new - old for new, old in zip(now, self.start, strict=True))
        print(
            f"{step}: {clock:.1f} s ({processor:.1f} s of a processor), peak {peak_memory() / 2**30:.2f} GiB",
            flush=True,
        )
        self.start = now


class Texts(Sequence[Example]):
    """Rows that are made when they are asked for: texts are no part of this measurement."""

    def __init__(self, n: int, languages: Sequence[str]) -> None:
        self.n, self.languages = n, languages

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, i: Any) -> Any:
        if i >= self.n:
            raise IndexError(i)
        return Example(f"row-{i}", f"prompt {i}", f"response {i}", self.languages[i], source="synthetic")


def stored(options: argparse.Namespace, topics: FloatArray, rng: np.random.Generator, folder: Path) -> None:
    """Measure the way from vectors on disk to the files of a selection."""
    path, tags = folder / "pool.f32", [f"l{i}" for i in range(LANGUAGES)]
    with path.open("wb") as file:
        for start in range(0, options.pool, 50_000):
            which = rng.integers(0, TOPICS, min(50_000, options.pool - start))
            rows(rng, topics, which).tofile(file)
    usage = rows(rng, topics, rng.integers(0, NEEDED, options.usage))
    train = rows(rng, topics, rng.integers(NEEDED // 2, TOPICS, options.current))
    languages = [tags[i] for i in rng.integers(0, LANGUAGES, options.pool).tolist()]
    pool = StoredVectors(path, DIMENSIONS)
    offsets = {tag: 0.02 * rng.standard_normal(DIMENSIONS, dtype=np.float32) / DIMENSIONS**0.5 for tag in tags}
    centroids = rows(rng, topics, np.arange(options.clusters) % TOPICS)
    space = SemanticSpace("mean", "kmeans", 0, centroids, offsets, np.zeros(DIMENSIONS, dtype=np.float32))
    data = RunData(*(Texts(len(part), languages) for part in (usage, train, pool)), {})  # type: ignore[arg-type]
    run = Run(folder / "run")
    write_json(run.path(layout.CLUSTER_NAMES), [])
    import sklearn.cluster
    import sklearn.manifold  # noqa: F401

    whole = Watch()
    watch = Watch()
    candidates = build_candidates(
        space,
        usage=usage,
        train=train,
        pool=pool,
        usage_languages=["l0"] * len(usage),
        train_languages=["l0"] * len(train),
        pool_languages=languages,
        target_language="l0",
        seed=0,
    )
    watch.tell("place")
    for name in options.strategies:
        selection = get_strategy(name).select(candidates, options.budget, seed=0)
        watch.tell(name)
        write_selection(run, selection, candidates, data, seed=0)
        watch.tell("write")
    whole.tell("all")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pool", type=int, default=1_000_000)
    parser.add_argument("--usage", type=int, default=300)
    parser.add_argument("--current", type=int, default=2000)
    parser.add_argument("--classes", type=int, default=1, help="classes in a topic")
    parser.add_argument("--budget", type=int, default=10_000)
    parser.add_argument("--strategies", nargs="+", default=["compass", "nearest"])
    parser.add_argument("--stored", action="store_true", help="begin with vectors on disk")
    parser.add_argument("--clusters", type=int, default=1000, help="with --stored")
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    topics = rng.standard_normal((TOPICS, DIMENSIONS), dtype=np.float32)
    topics /= np.linalg.norm(topics, axis=1, keepdims=True)
    if options.stored:
        with tempfile.TemporaryDirectory() as folder:
            stored(options, topics, rng, Path(folder))
        return
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
