"""What SemDeDup (arXiv 2303.09540) over the whole pool would change beside the check of picks against earlier picks.

    python experiments/semantic_duplicates.py experiments/evidence/assist.yaml runs/semantic-duplicates/assist
    python experiments/semantic_duplicates.py experiments/evidence/tldr.yaml runs/semantic-duplicates/tldr

Within each cluster and language, rows go from the one furthest from the centroid to the nearest; one that is as similar
as the threshold to a row that stays is dropped. Then each strategy picks from the whole pool and from what is left, at
the comparison's largest budget. Needed are the labels of the target's test. Nothing is trained.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from how_many import asked_for, place_draw

from compass.config import CompareConfig
from compass.recipes.grid import draw_config
from compass.selection import Candidates, get_strategy
from compass.selection.caps import Caps

THRESHOLDS = (0.90, 0.95, 0.98)
STRATEGIES = ("compass", "tsds", "nearest", "crisp", "random")


def kept_rows(candidates: Candidates, threshold: float) -> npt.NDArray[np.int64]:
    """Return the rows of the pool that SemDeDup leaves, ascending."""
    kept = np.ones(len(candidates.pool), dtype=bool)
    languages = np.array(candidates.pool_languages)
    for cluster in np.unique(candidates.pool_clusters):
        of_cluster = np.flatnonzero(candidates.pool_clusters == cluster)
        vectors = candidates.pool[of_cluster]
        centroid = vectors.mean(axis=0)
        for language in np.unique(languages[of_cluster]):
            own = np.flatnonzero(languages[of_cluster] == language)
            own = own[np.argsort(vectors[own] @ centroid, kind="stable")]
            alike = np.triu(vectors[own] @ vectors[own].T >= threshold, 1)
            stays = np.ones(len(own), dtype=bool)
            for i in range(len(own)):
                if stays[i]:
                    stays &= ~alike[i]
            kept[of_cluster[own[~stays]]] = False
    return np.flatnonzero(kept)


def part_of(candidates: Candidates, rows: npt.NDArray[np.int64]) -> Candidates:
    """Return candidates with these rows of the pool alone."""
    classes = candidates.pool_classes
    return replace(
        candidates,
        pool=candidates.pool[rows],
        pool_clusters=candidates.pool_clusters[rows],
        pool_languages=[candidates.pool_languages[i] for i in rows],
        pool_costs=candidates.pool_costs[rows],
        pool_classes=None if classes is None else classes[rows],
    )


def lines_of(config: CompareConfig, language: str, seed: int, folder: Path) -> list[dict[str, Any]]:
    """Return a line for each threshold and strategy of one draw."""
    draw = draw_config(config, language, seed)
    _, data, candidates = place_draw(draw, folder)
    needed = {row.label for row in data.tests[language]}
    is_needed = np.array([row.label in needed for row in data.pool])
    budget = max(config.grid.budgets)
    caps = Caps(draw.selection.language_cap, draw.selection.duplicate_similarity)
    whole = {name: get_strategy(name, caps).select(candidates, budget, seed).indices for name in STRATEGIES}
    lines = []
    for threshold in THRESHOLDS:
        start = time.process_time()
        rows = kept_rows(candidates, threshold)
        seconds = time.process_time() - start
        left = part_of(candidates, rows)
        for name in STRATEGIES:
            picks = rows[get_strategy(name, caps).select(left, budget, seed).indices]
            lines.append(
                {
                    "language": language, "seed": seed, "threshold": threshold, "strategy": name,
                    "dropped": round(1 - len(rows) / len(is_needed), 4),
                    "dropped_needed": round(1 - float(is_needed[rows].sum() / is_needed.sum()), 4),
                    "needed": round(float(is_needed[picks].mean()), 4),
                    "needed_of_whole": round(float(is_needed[whole[name]].mean()), 4),
                    "same": round(len(set(picks.tolist()) & set(whole[name].tolist())) / len(picks), 4),
                    "seconds": round(seconds, 3),
                }
            )  # fmt: skip
    return lines


def main(given: Sequence[str] | None = None) -> None:
    config, output, draws = asked_for(given, __doc__, "results.jsonl")
    found: list[dict[str, Any]] = []
    with (output / "results.jsonl").open("w", encoding="utf-8") as file:
        for language, seed in draws:
            lines = lines_of(config, language, seed, output / f"{language}-{seed}")
            file.writelines(json.dumps(line) + "\n" for line in lines)
            found += lines
    names = ("dropped", "dropped_needed", "needed", "needed_of_whole", "same", "seconds")
    for threshold in THRESHOLDS:
        for name in STRATEGIES:
            own = [line for line in found if line["threshold"] == threshold and line["strategy"] == name]
            means = ", ".join(f"{one} {np.mean([line[one] for line in own]):.3f}" for one in names)
            print(f"{threshold} {name}: {means}")


if __name__ == "__main__":
    main()
