"""How long the rest of a comparison takes."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest

from compass.config import AdaptConfig, TrainingConfig
from compass.recipes.cells import Cell, seconds_needed


def cell(folder: Path, steps: int, seconds: float = 0.0, model: str = "org/model") -> Cell:
    """A cell that took so many seconds, or that waits."""
    config = replace(AdaptConfig(), training=TrainingConfig(max_steps=steps, model_name_or_path=model))
    folder = folder / f"{steps}-{seconds}"
    if seconds:
        (folder / "logs").mkdir(parents=True)
        stages = [{"stage": "training", "seconds": seconds, "skipped": False},
                  {"stage": "data", "seconds": 99, "skipped": True}]  # fmt: skip
        (folder / "logs" / "stages.jsonl").write_text("".join(json.dumps(stage) + "\n" for stage in stages))
        (folder / "cell.json").write_text("{}")
    return Cell("random", 10, "cy", 0, folder, config)


def test_the_rest_takes_time_by_its_steps_as_the_finished_cells_did(tmp_path: Path) -> None:
    """Budgets differ: by the mean of finished small cells, a night of large ones would look like an hour."""
    cells = [cell(tmp_path, 10, 20.0), cell(tmp_path, 30, 70.0), cell(tmp_path, 100), cell(tmp_path, 60)]
    assert seconds_needed(cells, 2) == pytest.approx(160 * 90 / 40 / 2)
    assert seconds_needed(cells[:2], 1) == 0


def test_before_the_first_cell_only_the_embedded_models_are_known(tmp_path: Path) -> None:
    """A made-up figure for a model that nobody timed is worse than none."""
    assert math.isnan(seconds_needed([cell(tmp_path, 10)], 1))
    embedded = [cell(tmp_path, steps, model="embedded:gemma3-270m") for steps in (10, 30)]
    assert 10 < seconds_needed(embedded, 1) < 1000
    assert math.isnan(seconds_needed([cell(tmp_path, 0)], 1))
