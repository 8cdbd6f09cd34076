"""Several trainings on the same rows, averaged into one adapter.

A small adapter that is trained once owes much to its seed: the order of its rows and the weights that it starts from.
The average of what several of them add to the base weights (a model soup: Wortsman et al. 2022, arXiv 2203.05482)
varies less, and is better than they are on average (LOG.md). They stand side by side in it: its rank is their sum.
"""

from __future__ import annotations

import dataclasses
import logging
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from compass.config import TrainingConfig
from compass.data.example import Example
from compass.errors import ModelError, RunError
from compass.runs import layout
from compass.runs.files import fingerprint, read_json, write_json
from compass.training.adapters import adapter_rank, check_adapter, check_target_modules
from compass.training.merging import check_mergeable, merge_adapters
from compass.training.models import BaseModel, check_four_bits
from compass.training.trainer import TrainingResult, target_modules, train

logger = logging.getLogger(__name__)


def train_averaged(
    rows: Sequence[Example],
    *,
    base: BaseModel,
    config: TrainingConfig,
    output_dir: Path,
    seed: int,
    payload: Mapping[str, Any],
) -> TrainingResult:
    """Train `averaged_trainings` adapters, each with a seed of its own, and average them into `output_dir/adapter`.

    payload: what tells these trainings from others, JSON-ready: a killed call goes on with the adapter that it was at.
    With one training that is `train` itself. Returns steps and seconds of all of them, and the log of the first, whose
    seed is `seed`. Raises what `train` and `merge_adapters` raise.
    """
    n, once = config.averaged_trainings, dataclasses.replace(config, averaged_trainings=1)
    if n == 1:
        return train(rows, base=base, config=once, output_dir=output_dir, seed=seed)
    results = []
    for part in range(n):
        folder, own = output_dir / layout.TRAINING_PARTS / str(part + 1), fingerprint({**payload, "part": part})
        if _finished_with(folder) == own:
            logger.info("Training %d of %d: already finished with these inputs, skipped", part + 1, n)
        else:
            logger.info("Training %d of %d", part + 1, n)
            done = train(rows, base=base, config=once, output_dir=folder, seed=_seed(seed, part))
            write_json(
                folder / layout.RESULT_FILE, {**dataclasses.asdict(done), "adapter": layout.ADAPTER, "inputs": own}
            )
        results.append(_read(folder))
    adapter = merge_adapters(
        [result.adapter for result in results],
        base=base,
        folder=output_dir / layout.ADAPTER,
        merge_type="cat",
        load_in_4bit=once.load_in_4bit,
    )
    return dataclasses.replace(
        results[0],
        adapter=adapter,
        steps=sum(result.steps for result in results),
        epochs=sum(result.epochs for result in results) / len(results),
        train_seconds=sum(result.train_seconds for result in results),
    )


def drop_parts(output_dir: Path) -> None:
    """Remove the adapters that were averaged: call it once the training is recorded."""
    shutil.rmtree(output_dir / layout.TRAINING_PARTS, ignore_errors=True)


def check_trainable(config: TrainingConfig, base: BaseModel) -> None:
    """Refuse target modules that the model lacks, and a start adapter that can't be gone on from.

    That is one that does not fit the model, or whose trainings can't be averaged or served. Raises ModelError, and
    MissingExtraError for 4-bit weights without bitsandbytes.
    """
    if config.load_in_4bit:
        check_four_bits()
    if not config.adapter:
        check_target_modules(target_modules(config), base)
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


def _seed(seed: int, part: int) -> int:
    """Return the seed of a training: the first has `seed` itself, as if it were the only one."""
    return seed if part == 0 else int(np.random.SeedSequence([seed, part]).generate_state(1)[0])


def _finished_with(folder: Path) -> str:
    """Return the fingerprint of what a finished training was made from, nothing if there is none."""
    path = folder / layout.RESULT_FILE
    if not path.is_file():
        return ""
    try:
        return str(read_json(path, dict)["inputs"])
    except (RunError, KeyError):
        logger.warning("%s can't be read: the training counts as not finished", path)
        return ""


def _read(folder: Path) -> TrainingResult:
    stored = read_json(folder / layout.RESULT_FILE)
    del stored["inputs"]
    return TrainingResult(**{**stored, "adapter": folder / layout.ADAPTER, "log": tuple(stored["log"])})
