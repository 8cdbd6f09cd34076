"""What `--budget auto` finds on the draws of a comparison, without training.

    python experiments/how_many.py experiments/evidence/assist.yaml runs/how-many/assist
    python experiments/how_many.py experiments/evidence/tldr.yaml runs/how-many/tldr --languages ta --seeds 0

One JSON line a draw: the budget, its rows, and what usage is served by training data alone, with the budget found and
with five fixed ones. What is there is not done again.
"""

from __future__ import annotations

import argparse
import json
import logging
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from compass.config import AUTO, AdaptConfig, CompareConfig, load_options
from compass.found_budget import FoundBudget
from compass.recipes.grid import draw_config
from compass.runs.folder import Run
from compass.selection import Candidates
from compass.steps.lengths import keep_measured
from compass.steps.read import read_data
from compass.steps.resources import Resources
from compass.steps.select import find_budget, place_candidates
from compass.steps.space import place
from compass.steps.state import RunData

FIXED = (500, 1000, 2000, 4000, 8000)


def find(config: CompareConfig, language: str, seed: int, folder: Path) -> FoundBudget:
    """Return what `compass select --budget auto` would find for one draw."""
    draw = draw_config(config, language, seed)
    draw = replace(draw, selection=replace(draw.selection, budget=AUTO, strategy="compass"))
    resources, _, candidates = place_draw(draw, folder)
    return find_budget(resources, candidates)


def place_draw(draw: AdaptConfig, folder: Path) -> tuple[Resources, RunData, Candidates]:
    """Read the data of one draw and place it in its space, in a run folder."""
    resources = Resources(replace(draw, run=replace(draw.run, output_dir=str(folder))))
    run = Run(folder)
    with run.locked():
        data = keep_measured(run, read_data(run, resources.config.data, seed=draw.run.seed))
        return resources, data, place_candidates(resources, place(run, resources, data))


def line_of(language: str, seed: int, found: FoundBudget) -> dict[str, Any]:
    """Return the line of a draw."""
    served = {str(budget): round(float(np.interp(budget, found.spent, found.covered)), 4) for budget in FIXED}
    kept = {name: value for name, value in asdict(found).items() if name not in ("spent", "covered")}
    return {"language": language, "seed": seed, **kept, "alone": round(found.covered[0], 4),
            "with_it": round(found.covered[found.place], 4), "served": served}  # fmt: skip


def asked_for(
    given: Sequence[str] | None, about: str | None, results: str
) -> tuple[CompareConfig, Path, list[tuple[str, int]]]:
    """Read the command line: a comparison's options, the folder to write to, and language and seed of each draw.

    results: the file in that folder.
    """
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path, help="options of a comparison")
    parser.add_argument("output", type=Path, help=f"folder of the draws and of {results}")
    parser.add_argument("--languages", nargs="+")
    parser.add_argument("--seeds", nargs="+", type=int)
    arguments = parser.parse_args(given)
    logging.basicConfig(level=logging.WARNING)
    config = load_options(CompareConfig, arguments.config)
    arguments.output.mkdir(parents=True, exist_ok=True)
    seeds, languages = arguments.seeds or config.grid.seeds, arguments.languages or config.grid.languages
    return config, arguments.output, [(language, seed) for seed in seeds for language in languages]


def main(given: Sequence[str] | None = None) -> None:
    config, output, draws = asked_for(given, __doc__, "budgets.jsonl")
    path = output / "budgets.jsonl"
    lines = [json.loads(line) for line in path.read_text("utf-8").splitlines()] if path.is_file() else []
    done = {(line["language"], line["seed"]): line for line in lines}
    for language, seed in draws:
        line = done.get((language, seed))
        if line is None:
            line = line_of(language, seed, find(config, language, seed, output / f"{language}-{seed}"))
            with path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
        print(f"{language} {seed}: {line['budget']:,} {line['unit']}, {line['rows']} rows; served "
              f"{line['alone']:.3f} alone, {line['with_it']:.3f} with it; "
              + ", ".join(f"{int(b):,}: {s:.3f}" for b, s in line["served"].items()), flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
