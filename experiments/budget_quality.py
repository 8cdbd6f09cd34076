"""How good the budget of `--budget auto` is: trained beside five fixed ones on the draws of a comparison.

    python experiments/budget_quality.py experiments/evidence/assist.yaml runs/budget-quality/assist
    python experiments/budget_quality.py experiments/evidence/tldr.yaml runs/budget-quality/tldr --seeds 0
    python experiments/budget_quality.py experiments/evidence/assist.yaml runs/budget-quality/assist --summary

Each cell is a draw and a budget, picked by the default strategy and trained as `compass adapt` does it: over epochs,
so that a larger budget takes more steps. One JSON line each; what is there is not done again.
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from how_many import FIXED, asked_for, place_draw
from scipy.stats import t as student

from compass.evaluation import evaluate
from compass.selection import Candidates
from compass.steps.resources import Resources
from compass.steps.select import find_budget
from compass.steps.state import RunData
from compass.steps.train import trained, training_payload
from compass.training import LanguageModel
from compass.training.balance import class_repeats, repeated

RESULTS = "cells.jsonl"
METRICS = ("exact", "loss", "chrf")


def run_cell(resources: Resources, data: RunData, candidates: Candidates, budget: int, folder: Path) -> dict[str, Any]:
    """Pick, train and evaluate at one budget."""
    config, language = resources.config, resources.config.data.language
    selection = resources.strategy.select(candidates, budget, config.run.seed)
    picked = [data.pool[i] for i in selection.indices]
    rows = [*picked, *repeated(data.train, class_repeats(data.train, config.training.class_balance))]
    payload = training_payload(config, rows, resources.base)
    done = trained(config, rows, resources.base, folder, payload)
    model = LanguageModel(resources.base, done.adapter, dtype=config.training.dtype)
    scored = evaluate(model, data.tests[language], name=language, language=language, config=config.evaluation, seed=0)
    scores = scored.scores
    return {
        "tokens": int(selection.spent),
        "picked": len(picked),
        "rows": len(rows),
        "steps": done.steps,
        "train_seconds": round(done.train_seconds, 1),
        "exact": scores.exact.astype(int).tolist(),
        "chrf": [round(float(x), 3) for x in scores.chrf],
        "loss": [round(float(x), 5) for x in scored.nats / scored.n_bytes],
    }


def cells_of(config: Any, language: str, seed: int, done: set[tuple[Any, ...]], home: Path) -> Iterator[dict[str, Any]]:
    """Yield the cells of one draw that are not there yet."""
    budgets = [*map(str, FIXED), "auto"]
    if all((language, seed, budget) in done for budget in budgets):
        return
    from compass.recipes.grid import draw_config

    resources, data, candidates = place_draw(draw_config(config, language, seed), home)
    for budget in budgets:
        if (language, seed, budget) not in done:
            tokens = find_budget(resources, candidates).budget if budget == "auto" else int(budget)
            yield {"language": language, "seed": seed, "budget": budget,
                   **run_cell(resources, data, candidates, tokens, home / budget)}  # fmt: skip


def summary(cells: Sequence[dict[str, Any]]) -> None:
    """Print means by budget, and `auto` against each fixed budget over the draws that have both."""
    by_budget: dict[str, dict[tuple[str, int], dict[str, Any]]] = defaultdict(dict)
    for cell in cells:
        by_budget[cell["budget"]][cell["language"], cell["seed"]] = cell
    auto = by_budget["auto"]
    for budget in [*map(str, FIXED), "auto"]:
        draws = [key for key in by_budget[budget] if key in auto]
        means = {m: np.array([np.mean(by_budget[budget][key][m]) for key in draws]) for m in METRICS}
        tokens, seconds = (np.mean([by_budget[budget][key][m] for key in draws]) for m in ("tokens", "train_seconds"))
        line = [f"{budget} ({len(draws)} draws, {tokens:,.0f} tokens, {seconds:.0f} s)"]
        for metric, values in means.items():
            line.append(f"{metric} {values.mean():.3f}")
            if budget != "auto" and len(draws) > 1:
                less = np.array([np.mean(auto[key][metric]) for key in draws]) - values
                reach = student.ppf(0.975, len(less) - 1) * less.std(ddof=1) / len(less) ** 0.5
                line.append(f"(auto {less.mean():+.3f} [{less.mean() - reach:+.3f}, {less.mean() + reach:+.3f}])")
        print(" ".join(line))


def main(given: Sequence[str] | None = None) -> None:
    given = list(sys.argv[1:] if given is None else given)
    only_summary = "--summary" in given
    config, output, draws = asked_for([word for word in given if word != "--summary"], __doc__, RESULTS)
    path = output / RESULTS
    cells = [json.loads(line) for line in path.read_text("utf-8").splitlines()] if path.is_file() else []
    if only_summary:
        summary(cells)
        return
    done = {(cell["language"], cell["seed"], cell["budget"]) for cell in cells}
    for language, seed in draws:
        for cell in cells_of(config, language, seed, done, output / f"{language}-{seed}"):
            with path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(cell) + "\n")
            shown = ", ".join(f"{metric} {np.mean(cell[metric]):.3f}" for metric in METRICS)
            print(f"{language} {seed} {cell['budget']}: {cell['tokens']:,} tokens, {cell['steps']} steps, {shown}",
                  flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
