"""What a selection is worth after training: strategies on `assist` at the same budget, with the same trainer.

    python experiments/transfer.py --languages cy ne --seeds 0 1 2 --strategies zero-shot target-only random compass
    python experiments/transfer.py --setting disjoint --strategies compass --recipes default one-epoch picked-only

Each cell (language, setting, seed, strategy, recipe) is one JSON line in the output file; a cell that is there is not
run again. `--summary` prints means over seeds and paired intervals instead of running anything.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import logging
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from compass.config import AdaptConfig, TrainingConfig
from compass.data.assist import AssistData, load_assist
from compass.data.classes import number_classes
from compass.data.cleaning import clean
from compass.data.example import Example, Message
from compass.encoders import load_encoder
from compass.evaluation import evaluate
from compass.runs.machine import peak_memory, reset_peak_memory
from compass.selection import Candidates, build_candidates, get_strategy
from compass.semantic.space import SemanticSpace
from compass.steps.resources import cache_folder
from compass.training import LanguageModel, resolve_model, train
from compass.training.balance import class_repeats

N_CLUSTERS = 60
RECIPES: dict[str, dict[str, Any]] = {
    "default": {},
    "no-balance": {"class_balance": 1},
    "one-epoch": {"num_train_epochs": 1.0},
    "low-rate": {"learning_rate": 1e-4},
    "double-budget": {},
    "picked-only": {},
    "half-current": {},
    "task-prompt": {},
    "half-bridge": {},
}
"""Training recipes: the default, and remedies for the disjoint setting (see `training_rows`)."""


def place(config: AdaptConfig, data: AssistData, pool: Sequence[Example], seed: int) -> Candidates:
    """Embed one draw, fit its space, and put together what strategies may see."""
    encoder = load_encoder(config.encoder, cache_folder(config.run.cache_dir))
    parts = [list(data.usage), list(data.train), list(pool)]
    vectors = [encoder.encode([row.prompt for row in rows]) for rows in parts]
    languages = [[row.language for row in rows] for rows in parts]
    space = SemanticSpace.fit(
        np.concatenate(vectors), [tag for tags in languages for tag in tags], n_clusters=N_CLUSTERS, seed=seed
    )
    train_classes, pool_classes = number_classes(data.train, pool)
    return build_candidates(
        space,
        usage=vectors[0],
        train=vectors[1],
        pool=vectors[2],
        usage_languages=languages[0],
        train_languages=languages[1],
        pool_languages=languages[2],
        target_language=data.usage[0].language,
        train_classes=train_classes,
        pool_classes=pool_classes,
    )


def training_rows(
    recipe: str,
    picked: Sequence[Example],
    data: AssistData,
    repeats: Sequence[int],
    pool: Sequence[Example],
    candidates: Candidates,
    seed: int,
) -> list[Example]:
    """Return the rows that a recipe trains on.

    picked-only leaves the data at hand out; half-current keeps every second row of it; half-bridge replaces half of
    the picks by the pool rows nearest to the data at hand, so that its labels are seen in other languages too;
    task-prompt names the possible functions in front of each prompt.
    """  # fmt: skip
    current = [row for row, times in zip(data.train, repeats, strict=True) for _ in range(times)]
    picked = list(picked)
    if recipe == "picked-only":
        return picked
    if recipe == "half-current":
        current = list(data.train)[::2]
    if recipe == "half-bridge":
        keep = picked[: len(picked) // 2]
        taken = {row.id for row in keep}
        nearest = np.argsort(-(candidates.train @ candidates.pool.T), axis=1)
        bridge: list[Example] = []
        for rank in range(nearest.shape[1]):
            for column in nearest[:, rank]:
                row = pool[int(column)]
                if row.id not in taken and len(keep) + len(bridge) < len(picked):
                    taken.add(row.id)
                    bridge.append(row)
        picked = keep + bridge
    rows = picked + current
    return [with_task(row, data) for row in rows] if recipe == "task-prompt" else rows


def with_task(row: Example, data: AssistData) -> Example:
    """Name the functions that the target language's usage and data at hand have, in front of a prompt."""
    functions = ", ".join(sorted({*data.needed, *data.known}))
    return dataclasses.replace(row, context=(Message("system", f"Functions: {functions}"),))


def run_cell(
    config: AdaptConfig,
    data: AssistData,
    pool: Sequence[Example],
    candidates: Candidates,
    strategy: str,
    recipe: str,
    seed: int,
    folder: Path,
) -> dict[str, Any]:
    """Select, train and evaluate one cell; return its result."""  # fmt: skip
    training: TrainingConfig = dataclasses.replace(
        config.training, **{"num_train_epochs": config.training.epochs, **RECIPES[recipe]}
    )
    budget = config.selection.budget * (2 if recipe == "double-budget" else 1)
    base = resolve_model(training.model_name_or_path, cache_dir=cache_folder(config.run.cache_dir))
    target = data.usage[0].language
    result: dict[str, Any] = {
        "language": target,
        "seed": seed,
        "strategy": strategy,
        "recipe": recipe,
        "budget": budget,
    }
    adapter = None
    reset_peak_memory()
    if strategy != "zero-shot":
        picks = get_strategy(strategy).select(candidates, budget, seed)
        picked = [pool[i] for i in picks.indices]
        repeats = class_repeats(data.train, training.class_balance)
        rows = training_rows(recipe, picked, data, repeats, pool, candidates, seed)
        trained = train(rows, base=base, config=training, output_dir=folder, seed=seed)
        adapter = trained.adapter
        result |= {
            "picked": len(picked),
            "needed_share": float(np.mean([row.label in data.needed for row in picked])) if picked else None,
            "pool_needed_share": float(np.mean([row.label in data.needed for row in pool])),
            "rows": len(rows),
            "repeats_needed": int(
                sum(n for n, row in zip(repeats, data.train, strict=True) if row.label in data.needed)
            ),
            "repeats_known": int(sum(n for n, row in zip(repeats, data.train, strict=True) if row.label in data.known)),
            "steps": trained.steps,
            "train_seconds": round(trained.train_seconds, 1),
        }
    start = time.monotonic()
    test = list(data.tests[target])
    if recipe == "task-prompt":
        test = [with_task(row, data) for row in test]
    scores = evaluate(
        LanguageModel(base, adapter), test, name=target, language=target, config=config.evaluation, seed=seed,
        seen_labels=data.known,
    )  # fmt: skip
    result |= {
        "evaluation_seconds": round(time.monotonic() - start, 1),
        "peak_memory_mib": peak_memory() // 2**20,
        "metrics": scores.to_dict()["metrics"],
        "exact": scores.scores.exact.astype(int).tolist(),
        "intent": scores.scores.intent_correct.astype(int).tolist(),
    }
    return result


def summary(results: Sequence[dict[str, Any]]) -> None:
    """Print mean exact match and intent accuracy over seeds, and compass against each strategy, paired by row."""
    cells: dict[tuple[str, str, str, str], list[dict[str, Any]]] = defaultdict(list)
    for cell in results:
        cells[cell["setting"], cell["language"], cell["recipe"], cell["strategy"]].append(cell)
    rng = np.random.default_rng(0)
    for key, group in sorted(cells.items()):
        exact = [float(np.mean(cell["exact"])) for cell in group]
        intent = [float(np.mean(cell["intent"])) for cell in group]
        known = [cell["metrics"].get("seen_label_share", {}).get("value", float("nan")) for cell in group]
        flat = np.concatenate([np.array(cell["exact"]) for cell in group])
        low, high = np.quantile(rng.choice(flat, (2000, len(flat))).mean(axis=1), [0.025, 0.975])
        by_seed = np.round(exact, 3).tolist()
        print(f"{' '.join(key)}: exact {np.mean(exact):.3f} [{low:.3f}, {high:.3f}] (by seed {by_seed}),", end=" ")
        print(f"intent {np.mean(intent):.3f}, known labels {np.mean(known):.3f}, n = {len(flat)}")
    for (setting, language, recipe, strategy), group in sorted(cells.items()):
        ours = {cell["seed"]: cell for cell in cells.get((setting, language, recipe, "compass"), [])}
        pairs = [(np.array(ours[c["seed"]]["exact"]), np.array(c["exact"])) for c in group if c["seed"] in ours]
        if strategy != "compass" and pairs:
            difference = np.concatenate([a - b for a, b in pairs])
            low, high = np.quantile(rng.choice(difference, (2000, len(difference))).mean(axis=1), [0.025, 0.975])
            interval = f"{difference.mean():+.3f} [{low:+.3f}, {high:+.3f}]"
            print(f"{setting} {language} {recipe}: compass - {strategy} = {interval}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--languages", nargs="+", default=["cy"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--strategies", nargs="+", default=["zero-shot", "target-only", "random", "compass"])
    parser.add_argument("--recipes", nargs="+", default=["default"], choices=sorted(RECIPES))
    parser.add_argument("--setting", default="skewed", choices=["skewed", "disjoint"])
    parser.add_argument("--output", type=Path, default=Path("runs/transfer/results.jsonl"))
    parser.add_argument("--summary", action="store_true")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    results = (
        [json.loads(line) for line in arguments.output.read_text("utf-8").splitlines()]
        if arguments.output.is_file()
        else []
    )
    if arguments.summary:
        summary(results)
        return
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    done = {(r["setting"], r["language"], r["seed"], r["strategy"], r["recipe"]) for r in results}
    config = AdaptConfig()
    for seed in arguments.seeds:
        for language in arguments.languages:
            todo = [
                (strategy, recipe)
                for strategy in arguments.strategies
                for recipe in arguments.recipes
                if (arguments.setting, language, seed, strategy, recipe) not in done
            ]
            if not todo:
                continue
            data = load_assist(language, setting=arguments.setting, seed=seed)
            held_out = [row for rows in data.tests.values() for row in rows]
            pool = clean(data.pool, require_response=True, against=held_out).examples
            candidates = place(config, data, pool, seed)
            for strategy, recipe in todo:
                name = f"{language}-{arguments.setting}-{seed}-{strategy}-{recipe}"
                cell = run_cell(config, data, pool, candidates, strategy, recipe, seed, arguments.output.parent / name)
                cell["setting"] = arguments.setting
                with arguments.output.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(cell) + "\n")
                print(name, {k: v for k, v in cell.items() if k not in ("exact", "intent", "metrics")},
                      cell["metrics"]["exact_match"], flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
