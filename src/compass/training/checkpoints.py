"""Checkpoints that a killed training goes on from as if nothing had happened.

transformers saves weights, optimiser, schedule and random state. What it lacks for a training that goes on to the bit
is here: which checkpoint is whole, how long the training took up to it, and the order of the rows in the epoch that it
stands in. The library draws that order from the random state at the beginning of the epoch, and the state that it saves
is a later one, so that a resumed epoch would see some rows again and others never.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import math
import shutil
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from compass.config import TrainingConfig
from compass.runs import layout
from compass.runs.files import sync_file, sync_folder, write_json
from compass.training.formatting import Encoded
from compass.training.models import BaseModel

logger = logging.getLogger(__name__)

COMPLETE = "complete"
"""File of a checkpoint that is whole: the seconds that the training had taken, and the size of each other file."""
ORDER = "order.safetensors"
"""File of a checkpoint in the middle of an epoch: the random state that the order of its rows was drawn from."""


def checkpoint_folder(
    output_dir: Path, encoded: Sequence[Encoded], base: BaseModel, config: TrainingConfig, seed: int, kept: bytes
) -> Path:
    """Return the folder of this run's checkpoints, emptied if it holds those of other inputs.

    kept: what tells the retention's part of the training from another's.
    """
    digest = hashlib.sha256(json.dumps([base.name, base.revision, seed, dataclasses.asdict(config)]).encode())
    start = Path(config.adapter) / layout.WEIGHTS_FILE
    if config.adapter and start.is_file():
        digest.update(start.read_bytes())
    for row in encoded:
        digest.update(repr((row.prompt, row.response)).encode())
    digest.update(kept)
    folder = output_dir / layout.CHECKPOINTS
    stamp = folder / "inputs.sha256"
    if folder.exists() and (not stamp.is_file() or stamp.read_text(encoding="utf-8") != digest.hexdigest()):
        logger.info("The checkpoints in %s belong to other inputs: training starts again", folder)
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    if not stamp.is_file():
        stamp.write_text(digest.hexdigest(), encoding="utf-8")
    return folder


def last_complete(checkpoints: Path) -> Path | None:
    """Return the newest checkpoint that is whole; None if there is none. One that is cut is named in a warning."""
    folders = sorted(checkpoints.glob("checkpoint-*"), key=lambda path: int(path.name.rsplit("-", 1)[1]), reverse=True)
    for folder in folders:
        if not (folder / COMPLETE).is_file():
            continue
        if not (damaged := _damaged(folder)):
            return folder
        logger.warning("%s is damaged (%s): training goes on from the checkpoint before it", folder, damaged)
    return None


def seconds_of(checkpoint: Path) -> float:
    """Return the seconds that the training had taken up to a checkpoint."""
    content = json.loads((checkpoint / COMPLETE).read_text(encoding="utf-8") or "0")
    return float(content["seconds"] if isinstance(content, dict) else content)


def _damaged(folder: Path) -> str:
    """Return the first file that is gone or cut; empty if none is."""
    try:
        content = json.loads((folder / COMPLETE).read_text(encoding="utf-8") or "0")
        # Version 0.1 wrote the seconds alone.
        files = content["files"] if isinstance(content, dict) else {}
        found = {name: file.stat().st_size for name in files if (file := folder / name).is_file()}
        return next((name for name, size in files.items() if found.get(name) != size), "")
    except (ValueError, KeyError, AttributeError):
        return COMPLETE


class MarkComplete(TrainerCallback):  # type: ignore[misc]
    """Mark a checkpoint once all of its files are written."""

    def __init__(self, seconds: float) -> None:
        """seconds: what the training had taken up to the checkpoint that it goes on from."""
        self._start = time.monotonic() - seconds

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Write the marker, after the files that it vouches for have reached the disk."""
        folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        if not (state.is_world_process_zero and folder.is_dir()):
            return
        files = {str(file.relative_to(folder)): file.stat().st_size for file in folder.rglob("*") if file.is_file()}
        for name in files:
            sync_file(folder / name)
        sync_folder(folder)
        write_json(folder / COMPLETE, {"seconds": round(time.monotonic() - self._start, 2), "files": files})


class EpochOrder(TrainerCallback):  # type: ignore[misc]
    """Keep the random state that each epoch's order is drawn from, and give it back to the epoch that is resumed."""

    def __init__(self, resume_from: Path | None) -> None:
        from safetensors.torch import load_file

        file = resume_from / ORDER if resume_from else None
        self._resumed: Any = load_file(file)["state"] if file and file.is_file() else None
        self._state: Any = None

    def wrap(self, sampler: Any) -> Any:
        """Return a sampler that yields what `sampler` yields, in the order of the epoch that is resumed."""
        return _Sampler(sampler, self)

    def draw(self, sampler: Any) -> list[int]:
        """Draw the order of an epoch."""
        import torch

        if self._resumed is not None:
            # The trainer restores its own state once it has skipped the rows that were seen.
            torch.set_rng_state(self._resumed)
            self._resumed = None
        self._state = torch.get_rng_state()
        return list(sampler)

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Write the state into a checkpoint in the middle of an epoch; at its end the trainer's own state serves."""
        from safetensors.torch import save_file

        folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        middle = not math.isclose(state.epoch, round(state.epoch), abs_tol=1e-6)
        if state.is_world_process_zero and folder.is_dir() and middle and self._state is not None:
            save_file({"state": self._state}, folder / ORDER)


class _Sampler:
    """A sampler whose orders are kept."""

    def __init__(self, sampler: Any, order: EpochOrder) -> None:
        self._sampler, self._order = sampler, order

    def __len__(self) -> int:
        return len(self._sampler)

    def __iter__(self) -> Iterator[int]:
        return iter(self._order.draw(self._sampler))


def with_order(trainer_class: type[Any], order: EpochOrder) -> type[Any]:
    """Return a trainer class that keeps the orders of its epochs."""

    class OrderedTrainer(trainer_class):  # type: ignore[misc]
        def _get_train_sampler(self, train_dataset: Any = None) -> Any:
            return order.wrap(super()._get_train_sampler(train_dataset))

    return OrderedTrainer
