"""What a row of one's own is worth, in picked rows: trainings over a grid of both, scored on the same test rows.

    python experiments/worth.py runs/worth --languages cy ne el --seeds 0 1 2 3 4 5 6 7 8
    python experiments/worth.py runs/worth --summary                # also of several folders

Six functions are needed. The training data has 60 rows of six others, and `own` rows of each needed one in the target
language; `picks` rows of each needed function are drawn from the pool by truth, over its languages alike. No selector
takes part. `--steps 60` trains as long whatever the rows, `--epochs 2` as often over each row. One JSON line a
training; what is there is not done again.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from compass.config import AdaptConfig
from compass.data.assist import load_assist
from compass.data.example import Example
from compass.evaluation import evaluate
from compass.steps.resources import Resources
from compass.training import LanguageModel, train
from compass.training.balance import class_repeats, repeated

OWN, PICKS = (0, 2, 6, 12), (0, 8, 24)
TEST_ROWS = 12
"""Test rows of each needed function."""


class Draw:
    """One draw of `assist` for a language: own rows, known rows, candidates of the pool, test rows."""

    def __init__(self, language: str, seed: int) -> None:
        data = load_assist(language, seed=seed, retention_languages=())
        self.language, self.seed, self.needed = language, seed, data.needed
        by_label: dict[str, list[Example]] = defaultdict(list)
        for row in data.tests[language]:
            by_label[row.label].append(row)
        two: dict[str, list[Example]] = defaultdict(list)
        for row in data.train:
            if row.label in self.needed:
                two[row.label].append(row)
        self.known = [row for row in data.train if row.label not in self.needed]
        # Usage rows come after the two that the setting has: they are of the same kind and in no test.
        for row in data.usage:
            two[row.label].append(row)
        spare = {label: rows[TEST_ROWS:] for label, rows in by_label.items()}
        self.own = {label: [*two[label], *spare[label]] for label in self.needed}
        self.test = [row for label in self.needed for row in by_label[label][:TEST_ROWS]]
        rng = random.Random(f"worth/{language}/{seed}")
        self.pool: dict[str, list[Example]] = {}
        for label in self.needed:
            rows: dict[str, list[Example]] = defaultdict(list)
            for row in data.pool:
                if row.label == label:
                    rows[row.language].append(row)
            queues = [rng.sample(found, len(found)) for _, found in sorted(rows.items())]
            rng.shuffle(queues)
            turns = max(len(queue) for queue in queues)
            self.pool[label] = [queue[i] for i in range(turns) for queue in queues if i < len(queue)]

    def rows(self, own: int, picks: int) -> tuple[list[Example], list[Example]]:
        """Return training data and picks of a cell; those of a smaller cell are among those of a larger one."""
        mine = [row for label in self.needed for row in self.own[label][:own]]
        return [*self.known, *mine], [row for label in self.needed for row in self.pool[label][:picks]]


def cell(draw: Draw, own: int, picks: int, config: AdaptConfig, base: Any, folder: Path) -> dict[str, Any]:
    """Train one cell and score it."""
    mine, picked = draw.rows(own, picks)
    training = config.training
    # As `compass adapt` does: the training data is balanced, and a pick is seen once.
    rows = [*picked, *repeated(mine, class_repeats(mine, training.class_balance))]
    start = time.monotonic()
    adapter = train(rows, base=base, config=training, output_dir=folder, seed=draw.seed).adapter
    trained = time.monotonic() - start
    model = LanguageModel(base, adapter, dtype=training.dtype)
    scored = evaluate(model, draw.test, name="test", language=draw.language, config=config.evaluation, seed=0)
    loss = scored.nats.sum() / scored.n_bytes.sum()
    return {
        "language": draw.language, "seed": draw.seed, "own": own, "picks": picks, "rows": len(rows),
        "exact": float(scored.scores.exact.mean()), "intent": float(scored.scores.intent_correct.mean()),
        "loss": float(loss), "train_s": round(trained, 1), "s": round(time.monotonic() - start, 1),
    }  # fmt: skip


def summary(results: Sequence[dict[str, Any]]) -> str:
    """Return the grid as a table: means over seeds, with standard errors."""
    lines = ["| language | steps | own | picks | trainings | exact match | intent | loss |", "| --- " * 8 + "|"]
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = defaultdict(list)
    for result in results:
        groups[result["language"], result["schedule"], result["own"], result["picks"]].append(result)
    for key, group in sorted(groups.items()):
        values = []
        for metric in ("exact", "intent", "loss"):
            scores = np.array([result[metric] for result in group])
            error = scores.std(ddof=1) / np.sqrt(len(scores)) if len(scores) > 1 else float("nan")
            values.append(f"{scores.mean():.3f} ± {error:.3f}")
        lines.append(f"| {' | '.join(map(str, key))} | {len(group)} | {' | '.join(values)} |")
    return "\n".join(lines)


def worth(results: Sequence[dict[str, Any]], own: int, more: int, picks: int, metric: str) -> str:
    """Say how many own rows bring as much as `picks` do beside `own` rows, by what `more` own rows bring.

    Exact match, or the logarithm of the loss, is taken to change evenly with own rows. Mean over draws, 95 % interval.
    """
    by_draw: dict[tuple[str, int], dict[tuple[int, int], float]] = defaultdict(dict)
    for result in results:
        value = np.log(result["loss"]) if metric == "loss" else result[metric]
        by_draw[result["language"], result["seed"]][result["own"], result["picks"]] = value
    cells = ((own, 0), (more, 0), (own, picks))
    whole = [draw for draw in by_draw.values() if all(cell in draw for cell in cells)]
    if len(whole) < 2:
        return "–"
    start, end, picked = (np.array([draw[cell] for draw in whole]) for cell in cells)
    # Fieller's interval: the ratio of two means whose errors go together.
    brought, row = start - picked, (start - end) / (more - own)
    ratio, n = brought.mean() / row.mean(), len(whole)
    t = float(stats.t.ppf(0.975, n - 1))
    covariance = np.cov(brought, row) / n
    a = row.mean() ** 2 - t**2 * covariance[1, 1]
    b = brought.mean() * row.mean() - t**2 * covariance[0, 1]
    c = brought.mean() ** 2 - t**2 * covariance[0, 0]
    if a <= 0:
        return f"{ratio:.1f} (no bounds)"
    width = np.sqrt(max(b**2 - a * c, 0.0))
    return f"{ratio:.1f} [{(b - width) / a:.1f}, {(b + width) / a:.1f}]"


def worths(results: Sequence[dict[str, Any]]) -> str:
    """Return a table of what picks are worth in own rows, by language and over all."""
    lines = ["| steps | language | own | picks | worth in own rows by loss | by exact match |", "| --- " * 6 + "|"]
    for schedule in sorted({result["schedule"] for result in results}):
        mine = [result for result in results if result["schedule"] == schedule]
        for language in [*sorted({result["language"] for result in mine}), "all"]:
            part = [result for result in mine if language in ("all", result["language"])]
            own = sorted({result["own"] for result in part if result["own"]})
            for picks in sorted({result["picks"] for result in part if result["picks"]}):
                for few, more in pairwise(own):
                    said = [worth(part, few, more, picks, metric) for metric in ("loss", "exact")]
                    lines.append(f"| {schedule} | {language} | {few} | {picks} | {' | '.join(said)} |")
    return "\n".join(lines)


def main() -> None:
    """Fill the grid, or print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path, nargs="+", help="a folder to fill; with --summary any number of them")
    parser.add_argument("--languages", nargs="+", default=["cy", "ne", "el"])
    parser.add_argument("--seeds", nargs="+", type=int, default=list(range(9)))
    parser.add_argument("--own", nargs="+", type=int, default=list(OWN))
    parser.add_argument("--picks", nargs="+", type=int, default=list(PICKS))
    parser.add_argument("--steps", type=int, default=60, help="optimiser steps, whatever the rows; 0: by --epochs")
    parser.add_argument("--epochs", type=float, default=2.0)
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--summary", action="store_true")
    arguments = parser.parse_args()
    paths = [folder / "results.jsonl" for folder in arguments.output]
    results = [json.loads(line) for path in paths if path.is_file() for line in path.read_text("utf-8").splitlines()]
    if arguments.summary:
        print(summary(results), worths(results), sep="\n\n")
        return
    if len(paths) > 1:
        parser.error("one folder at a time is filled; --summary reads several")
    output, path = arguments.output[0], paths[0]
    output.mkdir(parents=True, exist_ok=True)
    schedule = f"{arguments.steps} steps" if arguments.steps else f"{arguments.epochs:g} epochs"
    done = {(r["language"], r["seed"], r["own"], r["picks"], r["schedule"]) for r in results}
    plain = AdaptConfig()
    config = replace(
        plain,
        training=replace(
            plain.training, dtype=arguments.dtype, max_steps=arguments.steps or -1, num_train_epochs=arguments.epochs
        ),
    )
    base = Resources(config).base
    for seed in arguments.seeds:
        for language in arguments.languages:
            draw = None
            for own in arguments.own:
                for picks in arguments.picks:
                    if own + picks == 0 or (language, seed, own, picks, schedule) in done:
                        continue
                    draw = draw or Draw(language, seed)
                    result = cell(draw, own, picks, config, base, output / f"{language}-{seed}") | {
                        "schedule": schedule
                    }
                    with path.open("a", encoding="utf-8") as file:
                        file.write(json.dumps(result) + "\n")
                    print(result, flush=True)


if __name__ == "__main__":
    main()
