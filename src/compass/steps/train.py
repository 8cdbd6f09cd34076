"""The adapter: trained on the picked rows and the training rows."""

from __future__ import annotations

import dataclasses
import logging
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compass.config import AdaptConfig, TrainingConfig, recorded
from compass.data.example import Example
from compass.data.licences import announce
from compass.evaluation.metrics import TEXT, response_shape
from compass.records import LEARNED
from compass.runs import layout
from compass.runs.files import fingerprint, write_json, write_jsonl
from compass.runs.folder import Run
from compass.runs.machine import peak_memory
from compass.steps.resources import Resources, start_adapter
from compass.steps.state import Selected

if TYPE_CHECKING:
    from compass.training import BaseModel, TrainingResult

logger = logging.getLogger(__name__)


def train(run: Run, resources: Resources, selected: Selected) -> Path:
    """Train an adapter on what was picked and on the training rows; return its folder.

    The picked rows teach the task in other languages, the training rows tie it to the target language: each class that
    they have is seen equally often.
    """
    from compass.training.balance import class_repeats, repeated
    from compass.training.soup import drop_parts

    config, base = resources.config, resources.base
    own = selected.data.train
    rows = [*selected.examples, *repeated(own, class_repeats(own, config.training.class_balance))]
    adapter = run.folder / layout.ADAPTER
    inputs = training_payload(config, rows, base) | start_adapter(config)
    if run.finished("training", inputs):
        run.skip("training")
    else:
        if base.name.startswith("embedded:"):
            announce(base.name.removeprefix("embedded:"))
        with run.stage("training", inputs, [adapter, run.folder / layout.TRAINING]):
            result = trained(config, rows, base, run.folder, inputs)
            write_training(run, result, len(rows), averaged=config.training.averaged_trainings)
    drop_parts(run.folder)
    return adapter


def trained(
    config: AdaptConfig, rows: Sequence[Example], base: BaseModel, folder: Path, payload: dict[str, Any]
) -> TrainingResult:
    """Train on rows, as often as the options say, in a run folder. payload: what tells this training from another."""
    from compass.training.soup import train_averaged

    options, seed = settled(config.training, rows), config.run.seed
    return train_averaged(rows, base=base, config=options, output_dir=folder, seed=seed, payload=payload)


def settled(config: TrainingConfig, rows: Sequence[Example]) -> TrainingConfig:
    """Return the options of a training on these rows: one on free text takes no third epoch, whatever a row costs."""
    if config.may_go_on and response_shape([row.response for row in rows]) == TEXT:
        return dataclasses.replace(config, num_train_epochs=config.epochs)
    return config


def training_payload(config: AdaptConfig, rows: Sequence[Example], base: BaseModel) -> dict[str, Any]:
    """Return what tells the training on these rows from another, JSON-ready."""
    return {
        "training": training_identity(config.training),
        "seed": config.run.seed,
        "model": [base.name, base.revision],
        "rows": fingerprint({"rows": [row.to_dict() for row in rows]}),
    }


def training_identity(config: TrainingConfig) -> dict[str, Any]:
    """Return the options that tell a training from another; a later one is left out where it changes nothing."""
    named = {name: value for name, value in recorded(config).items() if WITHOUT.get(name) != value}
    return named if config.may_go_on else named | {"num_train_epochs": config.epochs}


WITHOUT = {"averaged_trainings": 1, "tail_average": 0.0}
"""Options that came after runs were made without them, with the value that does what these runs did."""


def response_loss(result: TrainingResult) -> float:
    """Return the training loss of a response in the last epoch, in nats; NaN where none was logged.

    It is the loss of a token, as the trainer logs it, times the tokens of a response.
    """
    entries = [entry for entry in result.log if "loss" in entry and "epoch" in entry]
    last = [entry for entry in entries if entry["epoch"] > entries[-1]["epoch"] - 1]
    if not last or not result.response_tokens:
        return math.nan
    per_token = [float(entry.get("task_loss", entry["loss"])) for entry in last]
    return result.response_tokens * sum(per_token) / len(per_token)


def write_training(run: Run, result: TrainingResult, n_rows: int, *, averaged: int = 1) -> dict[str, Any]:
    """Write the log of a training and what it cost; return the latter. averaged: trainings that are one adapter now."""
    write_jsonl(run.path(layout.TRAINING_LOG), result.log)
    loss = response_loss(result)
    if loss > LEARNED:
        logger.info(
            "The training rows are not learned yet: in the last epoch the loss of a response was %.1f nats (learned: "
            "below %g). Training for longer may help: raise --num-train-epochs, and compare the held-out scores.",
            loss, LEARNED,
        )  # fmt: skip
    summary = {
        "train_seconds": round(result.train_seconds, 2),
        "rows": n_rows - result.rows_too_long,
        **({"rows_too_long": result.rows_too_long} if result.rows_too_long else {}),
        "tokens": result.tokens,
        "steps": result.steps,
        **({"epochs": round(result.epochs, 2)} if result.epochs else {}),
        **({"response_loss": round(loss, 3)} if math.isfinite(loss) else {}),
        **({"averaged_trainings": averaged} if averaged > 1 else {}),
        "trainable_parameters": result.trainable_parameters,
        "resumed_from_step": result.resumed_from_step,
        "peak_memory_bytes": peak_memory(),
    }
    write_json(run.path(layout.TRAINING_RESULT), summary)
    return summary
