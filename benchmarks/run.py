"""Repeat the project's benchmarks: machine, versions, medians with ranges in one JSON, and the page that docs show.

    OMP_NUM_THREADS=1 python benchmarks/run.py --output runs/benchmarks             # hours of a processor
    OMP_NUM_THREADS=1 python benchmarks/run.py --output runs/benchmarks --quick     # smaller inputs, each once
    python benchmarks/run.py --output runs/benchmarks --only encoders costs
    python benchmarks/run.py --output runs/benchmarks --page docs/performance.md    # draw what is there, run nothing

Each benchmark is a script of its own and a process of its own. What has been measured is kept and not done again; to
measure anew, choose another folder. `costs` and `peers` keep a line a point, and so go on where they were stopped.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))


@dataclass(frozen=True)
class Question:
    """One script, how it is called, and which figures are taken from what it prints."""

    script: str
    full: tuple[str, ...]
    quick: tuple[str, ...]
    read: Callable[[str], dict[str, float]]
    figures: Mapping[str, str]
    """Figure -> how the page calls it."""


def from_json(printed: str) -> dict[str, float]:
    """Take the numbers of a JSON object."""
    return {name: float(value) for name, value in json.loads(printed).items() if isinstance(value, int | float)}


def from_steps(printed: str) -> dict[str, float]:
    """Take processor seconds and peaks of lines `step: 1.0 s (2.0 s of a processor), peak 3.0 GiB`."""
    found = re.findall(r"^([\w ]+): [\d.]+ s \(([\d.]+) s of a processor\), peak ([\d.]+) GiB", printed, re.M)
    seconds = {f"{step} seconds": float(value) for step, value, _ in found}
    return seconds | {f"{step} GiB": float(value) for step, _, value in found}


def from_redaction(printed: str) -> dict[str, float]:
    """Take recall and precision of the last line."""
    recall, precision = re.findall(r"recall ([\d.]+), precision ([\d.]+)", printed)[-1]
    return {"recall": float(recall), "precision": float(precision)}


QUESTIONS = {
    "encoders": Question(
        "encoders.py", ("--rows", "256"), ("--rows", "64", "--cached-rows", "20000"), from_json,
        {
            "rows_per_cpu_second_6_words": "rows a second, six words",
            "rows_per_cpu_second_20_words": "rows a second, 20 words",
            "embedded_gflops_6_words": "GFLOP/s of the encoder, six words",
            "embedded_gflops_20_words": "GFLOP/s of the encoder, 20 words",
            "product_gflops_float32": "GFLOP/s of a product, float32",
            "product_gflops_int8": "GFLOP/s of a product, int8",
            "product_gflops_bfloat16": "GFLOP/s of a product, bfloat16",
            "load_cpu_seconds": "seconds to load",
            "cache_rows_per_second_written": "rows a second written to the cache",
            "cache_rows_per_second_read_again": "rows a second read from it",
        },
    ),
    "selection": Question(
        "selection.py", ("--pool", "1000000", "--stored", "--strategies", "compass"),
        ("--pool", "100000", "--stored", "--strategies", "compass"), from_steps,
        {
            "place seconds": "seconds to take language out and assign clusters", "place GiB": "GiB at its peak",
            "compass seconds": "seconds of `compass`", "compass GiB": "GiB at its peak",
            "write seconds": "seconds to write picks, audit and map",
        },
    ),
    "monitor": Question(
        "monitor.py", ("--vectors", "1000000"), ("--vectors", "100000"), from_json,
        {"vectors_per_cpu_second": "prompts a second, embedded already"},
    ),
    "redaction": Question(
        "redaction.py", (), (), from_redaction, {"recall": "recall", "precision": "precision"},
    ),
}  # fmt: skip
"""Benchmarks that print a few figures."""
POINTS = ("costs", "peers")
"""Benchmarks with a results file of their own."""


def run(script: str, *arguments: str) -> str:
    """Run a script of this folder; return what it prints. Raises CalledProcessError if it fails."""
    command = [sys.executable, str(HERE / script), *arguments]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def measure(question: Question, *, quick: bool, repeats: int) -> dict[str, dict[str, float]]:
    """Run a benchmark several times; return median, range and number of runs of each figure."""
    runs = [question.read(run(question.script, *(question.quick if quick else question.full))) for _ in range(repeats)]
    values = {name: [found[name] for found in runs if name in found] for name in question.figures}
    return {
        name: {"median": median(own), "low": min(own), "high": max(own), "runs": len(own)}
        for name, own in values.items() if own
    }  # fmt: skip


def lines(path: Path) -> list[dict[str, Any]]:
    """Read a results file of one JSON object a line; empty where there is none."""
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()] if path.is_file() else []


def main() -> None:
    """Measure what is missing; write the JSON, and the page where one is asked for."""
    names = [*QUESTIONS, *POINTS]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--only", nargs="+", default=names, choices=names)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="smaller inputs, each once")
    parser.add_argument("--page", type=Path, help="draw the page from what is there, and its figure beside it")
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    path = options.output / "benchmarks.json"
    found: dict[str, Any] = json.loads(path.read_text("utf-8")) if path.is_file() else {"figures": {}}
    if not options.page:
        import costs

        repeats = 1 if options.quick else options.repeats
        found |= {"machine": costs.machine(), "quick": options.quick}
        for name in options.only:
            print(name, file=sys.stderr)
            if name in QUESTIONS and name not in found["figures"]:
                found["figures"][name] = measure(QUESTIONS[name], quick=options.quick, repeats=repeats)
            elif name in POINTS:
                more = ["--quick"] if options.quick else ["--repeats", str(repeats)]
                run(f"{name}.py", "--output", str(options.output / name), *more)
            path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    # Peers of training need environments of their own: `trainers.py` says how they are run.
    found |= {name: lines(options.output / name / "results.jsonl") for name in (*POINTS, "trainers")}
    path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    if options.page:
        import page

        titles = {name: dict(question.figures) for name, question in QUESTIONS.items()}
        options.page.write_text(page.page(found, titles), encoding="utf-8")
        options.page.with_suffix(".svg").write_text(page.figure(found["costs"]), encoding="utf-8")


if __name__ == "__main__":
    main()
