"""Several trainings on the same rows, averaged into one adapter.

A small adapter that is trained once owes much to its seed: the order of its rows and the weights that it starts from.
The average of what several of them add to the base weights (a model soup: Wortsman et al. 2022, arXiv 2203.05482)
varies less, and is better than they are on average (LOG.md). They stand side by side in it: its rank is their sum.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from compass.config import AdaptConfig
from compass.data.example import Example
from compass.recipes.stages import Run, write_json

if TYPE_CHECKING:
    from compass.training import BaseModel, TrainingResult

PARTS = "trainings"
"""Folder of the adapters until they are averaged."""


def train_averaged(
    run: Run, config: AdaptConfig, rows: Sequence[Example], base: BaseModel, inputs: Mapping[str, Any]
) -> TrainingResult:
    """Train `averaged_trainings` adapters, each with a seed of its own, and average them into the run's `adapter`.

    inputs: what tells this training from others; a killed run goes on with the adapter that it was at. With one
    training that is `train` itself. Returns steps and seconds of all of them, and the log of the first, whose seed is
    the run's. Raises what `train` and `merge_adapters` raise.
    """
    from compass.training import merge_adapters, train

    n, once = config.training.averaged_trainings, dataclasses.replace(config.training, averaged_trainings=1)
    if n == 1:
        return train(rows, base=base, config=once, output_dir=run.folder, seed=config.run.seed)
    results = []
    for part in range(n):
        name, folder = f"training-{part + 1}", run.folder / PARTS / str(part + 1)
        own = {**inputs, "part": part}
        if run.finished(name, own):
            run.skip(name)
        else:
            with run.stage(name, own, [folder]):
                done = train(rows, base=base, config=once, output_dir=folder, seed=_seed(config.run.seed, part))
                write_json(folder / "result.json", {**dataclasses.asdict(done), "adapter": str(done.adapter)})
        results.append(_read(folder))
    adapter = merge_adapters(
        [result.adapter for result in results], base=base, folder=run.folder / "adapter", merge_type="cat"
    )
    shutil.rmtree(run.folder / PARTS)
    return dataclasses.replace(
        results[0],
        adapter=adapter,
        steps=sum(result.steps for result in results),
        train_seconds=sum(result.train_seconds for result in results),
        trainable_parameters=sum(result.trainable_parameters for result in results),
    )


def _seed(seed: int, part: int) -> int:
    """Return the seed of a training: the first has the run's own, as if it were the only one."""
    return seed if part == 0 else int(np.random.SeedSequence([seed, part]).generate_state(1)[0])


def _read(folder: Path) -> TrainingResult:
    from compass.training import TrainingResult

    stored = json.loads((folder / "result.json").read_text("utf-8"))
    return TrainingResult(**{**stored, "adapter": folder / "adapter", "log": tuple(stored["log"])})
