"""Several trainings on the same rows, averaged into one adapter.

A small adapter that is trained once owes much to its seed: the order of its rows and the weights that it starts from.
The average of what several of them add to the base weights (a model soup: Wortsman et al. 2022, arXiv 2203.05482)
varies less, and is better than they are on average (LOG.md). They stand side by side in it: its rank is their sum.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from compass.config import AdaptConfig, TrainingConfig
from compass.data.example import Example
from compass.errors import ModelError
from compass.runs.folder import Run, fingerprint, write_json
from compass.steps.resources import start_adapter

if TYPE_CHECKING:
    from compass.training import BaseModel, TrainingResult

logger = logging.getLogger(__name__)

RESULT = "result.json"
LATER_OPTIONS = ("averaged_trainings", "tail_average")
"""Options that came after runs were made without them, which stay what they are."""
PARTS = "trainings"
"""Folder of the adapters that are averaged, until the run has recorded its training."""


def train_averaged(run: Run, config: AdaptConfig, rows: Sequence[Example], base: BaseModel) -> TrainingResult:
    """Train `averaged_trainings` adapters, each with a seed of its own, and average them into the run's `adapter`.

    A killed run goes on with the adapter that it was at. With one training that is `train` itself. Returns steps and
    seconds of all of them, and the log of the first, whose seed is the run's. Raises what `train` and `merge_adapters`
    raise.
    """
    from compass.training import merge_adapters, train

    n, once = config.training.averaged_trainings, dataclasses.replace(config.training, averaged_trainings=1)
    if n == 1:
        return train(rows, base=base, config=once, output_dir=run.folder, seed=config.run.seed)
    results, inputs = [], training_inputs(config, rows, base)
    for part in range(n):
        folder, told = run.folder / PARTS / str(part + 1), fingerprint({**inputs, "part": part})
        if _told(folder) == told:
            logger.info("Training %d of %d: already finished with these inputs, skipped", part + 1, n)
        else:
            logger.info("Training %d of %d", part + 1, n)
            done = train(rows, base=base, config=once, output_dir=folder, seed=_seed(config.run.seed, part))
            write_json(folder / RESULT, {**dataclasses.asdict(done), "adapter": "adapter", "inputs": told})
        results.append(_read(folder))
    adapter = merge_adapters(
        [result.adapter for result in results],
        base=base,
        folder=run.folder / "adapter",
        merge_type="cat",
        load_in_4bit=once.load_in_4bit,
    )
    return dataclasses.replace(
        results[0],
        adapter=adapter,
        steps=sum(result.steps for result in results),
        train_seconds=sum(result.train_seconds for result in results),
    )


def drop_parts(run: Run) -> None:
    """Remove the adapters that were averaged: call it once the training is recorded."""
    shutil.rmtree(run.folder / PARTS, ignore_errors=True)


def check_average(config: TrainingConfig, base: BaseModel) -> None:
    """Refuse a start adapter whose trainings can't be averaged or served. Raises ModelError."""
    from compass.training import adapter_rank, check_adapter, check_mergeable

    if not config.adapter:
        return
    start, n = Path(config.adapter), config.averaged_trainings
    check_adapter(start, base)
    if n == 1:
        return
    check_mergeable(start, base)
    rank = n * adapter_rank(start)
    if rank > config.max_serving_rank:
        raise ModelError(
            f"The average of {n} trainings of {start} would have rank {rank}, and max_serving_rank is "
            f"{config.max_serving_rank}. Lower averaged_trainings, or raise it if your server takes more."
        )


def identity(config: TrainingConfig) -> dict[str, Any]:
    """Return the options that tell a training from another; one that came later is left out at its default."""
    plain = dataclasses.asdict(TrainingConfig())
    return {
        name: value
        for name, value in dataclasses.asdict(config).items()
        if name not in LATER_OPTIONS or value != plain[name]
    }


def training_inputs(config: AdaptConfig, rows: Sequence[Example], base: BaseModel) -> dict[str, Any]:
    """Return what tells the training on these rows from another, JSON-ready."""
    return {
        "training": identity(config.training),
        "seed": config.run.seed,
        "model": [base.name, base.revision],
        "rows": fingerprint({"rows": [row.to_dict() for row in rows]}),
        **start_adapter(config),
    }


def _seed(seed: int, part: int) -> int:
    """Return the seed of a training: the first has the run's own, as if it were the only one."""
    return seed if part == 0 else int(np.random.SeedSequence([seed, part]).generate_state(1)[0])


def _told(folder: Path) -> str:
    """Return what a finished training was told by, nothing if there is none."""
    path = folder / RESULT
    return str(json.loads(path.read_text("utf-8"))["inputs"]) if path.is_file() else ""


def _read(folder: Path) -> TrainingResult:
    from compass.training import TrainingResult

    stored = json.loads((folder / RESULT).read_text("utf-8"))
    del stored["inputs"]
    return TrainingResult(**{**stored, "adapter": folder / "adapter", "log": tuple(stored["log"])})
