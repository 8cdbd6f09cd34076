"""What each stage costs as its input grows: processor time, memory, and the slope of either.

    OMP_NUM_THREADS=1 python benchmarks/costs.py --output runs/costs            # about an hour of a processor
    OMP_NUM_THREADS=1 python benchmarks/costs.py --output runs/costs --only pool --repeats 1
    OMP_NUM_THREADS=1 python benchmarks/costs.py --output runs/costs --quick    # pools up to 100,000 rows, 10,000 else
    python benchmarks/costs.py --output runs/costs --table                      # what is there, as a table

One factor changes at a time and the others stay at their middle value: rows of the pool, clusters K, dimensions d,
languages, rows of usage, budget. A stage is measured where the factor can matter to it (`STAGES`). Vectors are
synthetic (see `selection.py`) and lie on disk; the texts of `clean` are synthetic sentences of 3 to 12 words. Each
point is a process of its own, so that its peak memory is its own. A slope is that of log time on log size over the
upper half of the sizes: 1 is linear, and 0 says that the size doesn't matter. Results are one JSON line a point; what
is there is not done again.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

FACTORS: dict[str, tuple[int, ...]] = {
    "pool": (10_000, 30_000, 100_000, 300_000, 1_000_000),
    "clusters": (100, 300, 1000, 3000),
    "dimensions": (96, 192, 384, 768),
    "languages": (3, 10, 30, 100),
    "usage": (100, 300, 1000, 3000),
    "budget": (300, 1000, 3000, 10_000),
}
MIDDLE = {"pool": 100_000, "clusters": 300, "dimensions": 384, "languages": 30, "usage": 300, "budget": 1000}
QUICK = {**MIDDLE, "pool": 10_000, "clusters": 100, "budget": 300}
QUICK_LARGEST = 100_000
STAGES: dict[str, tuple[str, ...]] = {
    "clean": ("pool",),
    "fit": ("pool", "clusters", "dimensions", "languages"),
    "write": ("pool", "clusters", "budget"),
}
"""Stage -> factors that it is measured for; the others, for all."""
TRAIN, NEEDED = 2000, 20
MOST_CLEANED, MOST_FITTED = 100_000, 100_000
STRATEGIES = ("compass", "nearest", "tsds", "crisp")


@contextmanager
def measured(into: dict[str, dict[str, float]], stage: str) -> Iterator[None]:
    """Write down what the block costs."""
    from compass.runs.machine import peak_memory, reset_peak_memory

    reset_peak_memory()
    start = time.process_time()
    yield
    into[stage] = {"seconds": time.process_time() - start, "gib": peak_memory() / 2**30}


def sentences(n: int, languages: int, rng: np.random.Generator) -> list[Any]:
    """Return n rows of made-up words, one in twenty a near copy of another."""
    from compass.data.example import Example

    words = np.array(["".join(rng.choice(list("aeioulmnrst"), size=size)) for size in rng.integers(2, 9, 20_000)])
    rows: list[Any] = []
    for i in range(n):
        said = " ".join(words[rng.integers(0, len(words), rng.integers(3, 13))])
        if i and rng.random() < 0.05:
            said = rows[int(rng.integers(0, i))].prompt + " " + str(words[rng.integers(0, len(words))])
        rows.append(Example(f"row-{i}", said, f"response {i % 50}", f"l{i % languages}", source="synthetic"))
    return rows


def point(factor: str, size: dict[str, int], seed: int) -> dict[str, dict[str, float]]:
    """Measure all stages at one point."""
    from compass.data.cleaning import clean
    from compass.encoders.stored import StoredVectors
    from compass.runs import layout
    from compass.runs.files import write_json
    from compass.runs.folder import Run
    from compass.selection import build_candidates, get_strategy
    from compass.semantic.space import SemanticSpace
    from compass.steps.audit import write_selection
    from compass.steps.state import RunData

    sys.path.insert(0, str(Path(__file__).parent))
    import selection as synthetic

    synthetic.DIMENSIONS = size["dimensions"]
    rng = np.random.default_rng(seed)
    costs: dict[str, dict[str, float]] = {}
    topics = rng.standard_normal((synthetic.TOPICS, size["dimensions"]), dtype=np.float32)
    topics /= np.linalg.norm(topics, axis=1, keepdims=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = folder / "pool.f32"
        with path.open("wb") as file:
            for start in range(0, size["pool"], 50_000):
                which = rng.integers(0, synthetic.TOPICS, min(50_000, size["pool"] - start))
                synthetic.rows(rng, topics, which).tofile(file)
        usage = synthetic.rows(rng, topics, rng.integers(0, NEEDED, size["usage"]))
        train = synthetic.rows(rng, topics, rng.integers(NEEDED // 2, synthetic.TOPICS, TRAIN))
        tags = [f"l{i}" for i in rng.integers(0, size["languages"], size["pool"]).tolist()]
        pool = StoredVectors(path, size["dimensions"])
        if size["pool"] <= MOST_CLEANED and factor in STAGES["clean"]:
            texts = sentences(size["pool"], size["languages"], rng)
            with measured(costs, "clean"):
                clean(texts, check_language=False, name="pool")
            del texts
        if size["pool"] <= MOST_FITTED and factor in STAGES["fit"]:
            rows = np.concatenate([usage, train, np.asarray(pool[: size["pool"]])])
            of = [*["l0"] * (len(usage) + len(train)), *tags]
            with measured(costs, "fit"):
                SemanticSpace.fit(rows, of, n_clusters=min(size["clusters"], len(rows) // 10), seed=seed)
            del rows
        offsets = {
            f"l{i}": 0.02 * rng.standard_normal(size["dimensions"], dtype=np.float32) / size["dimensions"] ** 0.5
            for i in range(size["languages"])
        }
        centroids = synthetic.rows(rng, topics, np.arange(size["clusters"]) % synthetic.TOPICS)
        space = SemanticSpace("mean", "kmeans", 0, centroids, offsets, np.zeros(size["dimensions"], dtype=np.float32))
        with measured(costs, "place"):
            candidates = build_candidates(
                space, usage=usage, train=train, pool=pool, usage_languages=["l0"] * len(usage),
                train_languages=["l0"] * len(train), pool_languages=tags, target_language="l0", seed=seed,
            )  # fmt: skip
        run = Run(folder / "run")
        write_json(run.path(layout.CLUSTER_NAMES), [])
        data = RunData(*(synthetic.Texts(len(part), tags) for part in (usage, train, pool)), {})  # type: ignore[arg-type]
        for strategy in STRATEGIES:
            with measured(costs, strategy):
                picks = get_strategy(strategy).select(candidates, size["budget"], seed=seed)
            if strategy == "compass" and factor in STAGES["write"]:
                with measured(costs, "write"):
                    write_selection(run, picks, candidates, data, seed=seed)
    return costs


def machine() -> dict[str, str]:
    """Return what the figures depend on."""
    from importlib.metadata import version

    named = [line.split(":", 1)[1].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")]
    packages = {name: version(name) for name in ("numpy", "scikit-learn", "torch", "pyarrow")}
    threads = os.environ.get("OMP_NUM_THREADS", "")
    load = f"{os.getloadavg()[0]:.0f} processes running" if hasattr(os, "getloadavg") else ""
    return {
        "processor": named[0] if named else platform.processor(), "cores": str(os.cpu_count()), "threads": threads,
        "load": load,
        "python": platform.python_version(), **packages,
    }  # fmt: skip


def _lines(path: str) -> list[str]:
    return Path(path).read_text("utf-8").splitlines() if Path(path).is_file() else []


def slope(sizes: list[int], values: list[float]) -> float:
    """Return the slope of log value on log size over the upper half of the sizes, at least three of them."""
    keep = max(3, (len(sizes) + 1) // 2)
    x, y = np.log(sizes[-keep:]), np.log(np.maximum(values[-keep:], 1e-3))
    return float(np.polyfit(x, y, 1)[0])


def table(results: list[dict[str, Any]]) -> str:
    """Return medians with their range, and slopes: one table for each factor."""
    out = []
    for factor, sizes in FACTORS.items():
        cells: dict[str, dict[int, list[dict[str, float]]]] = defaultdict(lambda: defaultdict(list))
        for result in results:
            if result["factor"] == factor:
                for stage, cost in result["costs"].items():
                    cells[stage][result["size"][factor]].append(cost)
        there = [size for size in sizes if any(size in by_size for by_size in cells.values())]
        if len(there) < 2:
            continue
        out += [f"### {factor}", "", "| stage | " + " | ".join(f"{size:,}" for size in there) + " | slope | GiB |"]
        out.append("| --- |" + " --- |" * (len(there) + 2))
        for stage, by_size in cells.items():
            known = [size for size in there if by_size.get(size)]
            medians = [float(np.median([c["seconds"] for c in by_size[size]])) for size in known]
            shown = []
            for size in there:
                seconds = sorted(c["seconds"] for c in by_size.get(size, []))
                spread = f" ({seconds[0]:.2f}–{seconds[-1]:.2f})" if len(seconds) > 1 else ""
                shown.append(f"{np.median(seconds):.2f}{spread}" if seconds else "–")
            rate = f"{slope(known, medians):.2f}" if len(known) > 1 else "–"
            gib = max(c["gib"] for costs in by_size.values() for c in costs)
            out.append(f"| {stage} | " + " | ".join(shown) + f" | {rate} | {gib:.2f} |")
        out.append("")
    return "\n".join(out)


def main() -> None:
    """Measure what is missing, or print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--only", nargs="+", default=list(FACTORS), choices=list(FACTORS))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--largest", type=int, default=10**9, help="leave out larger pools")
    parser.add_argument("--quick", action="store_true", help="smaller pools, each point once")
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--point", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.point:
        asked = json.loads(options.point)
        print(json.dumps(point(asked["factor"], asked["size"], asked["seed"])))
        return
    if options.quick:
        options.repeats, options.largest = 1, min(options.largest, QUICK_LARGEST)
    middle = QUICK if options.quick else MIDDLE
    path = options.output / "results.jsonl"
    options.output.mkdir(parents=True, exist_ok=True)
    results = [json.loads(line) for line in _lines(str(path))]
    if not options.table:
        here = machine()
        for seed in range(options.repeats):
            for factor in options.only:
                for value in FACTORS[factor]:
                    size = {**middle, factor: value}
                    key = {"factor": factor, "size": size, "seed": seed}
                    if size["pool"] > options.largest or any(key.items() <= result.items() for result in results):
                        continue
                    command = [sys.executable, __file__, "--output", str(options.output), "--point", json.dumps(key)]
                    done = subprocess.run(command, check=True, capture_output=True, text=True)
                    results.append({**key, "costs": json.loads(done.stdout), "machine": here})
                    with path.open("a", encoding="utf-8") as file:
                        file.write(json.dumps(results[-1]) + "\n")
                    print(factor, value, seed, file=sys.stderr)
    print(table(results))


if __name__ == "__main__":
    main()
