"""How long a new adapter is trained: two epochs, and a third where the first showed that the rows are not learned.

In the second half of the first epoch the trainer meets rows that it has not seen, so their loss is a held-out loss for
nothing. Where a whole response still costs more than a few nats then, two epochs end too early: a third brings function
calls five to seven points of exact match. Labels of topics cost far less, and more epochs wear them out
(docs/evidence.md). [ours]
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from compass.config import EPOCHS, TrainingConfig

logger = logging.getLogger(__name__)

LONGER = 3.0
"""Epochs of a training that goes on."""
UNLEARNED = 3.0
"""Nats that a response costs on average, while it is new, where a third epoch follows."""


def new_response_loss(log: Iterable[Mapping[str, Any]], response_tokens: float) -> float:
    """Return the loss of a response in the second half of the first epoch, in nats; NaN where no step says it.

    log: the trainer's log history: each entry has the mean loss of a token since the one before. response_tokens: of a
    response, on average.
    """
    before, total, steps = 0, 0.0, 0
    for entry in log:
        if "loss" not in entry:
            continue
        # The first step's is the loss of a model that was taught nothing yet.
        if entry["step"] > 1 and 0.5 < entry["epoch"] <= 1.0:
            total += float(entry["loss"]) * (entry["step"] - before)
            steps += entry["step"] - before
        before = entry["step"]
    return response_tokens * total / steps if steps else math.nan


class Length(TrainerCallback):  # type: ignore[misc]
    """Decides at the end of the first epoch if a training takes three epochs in place of two.

    The rate falls in the first epoch as if two were planned. If there are three, what is left of it falls to zero over
    the two that are left. Where the options leave nothing to decide, it does nothing.
    """

    def __init__(self, config: TrainingConfig, response_tokens: float, resume_from: Path | None) -> None:
        """response_tokens: of a response, on average. resume_from: the checkpoint that the training goes on from."""
        self._fixed = None if config.may_go_on else config.epochs
        self._tokens = response_tokens
        self._longer: bool | None = None
        if resume_from and config.may_go_on:
            state = json.loads((resume_from / "trainer_state.json").read_text(encoding="utf-8"))
            if state["epoch"] >= 1.0:
                self._longer = self._decide(state["log_history"])

    @property
    def epochs(self) -> float:
        """What to plan the training with: the most that it may take."""
        if self._fixed is not None:
            return self._fixed
        return EPOCHS if self._longer is False else LONGER

    def on_train_begin(self, args: Any, state: Any, control: Any, lr_scheduler: Any = None, **kwargs: Any) -> None:
        """Plan two epochs, or what was decided before the training was killed."""
        if self._fixed is not None:
            return
        self._epoch: int = round(state.max_steps / self.epochs)
        planned: int = round(EPOCHS * self._epoch)
        if self._longer is None:
            state.max_steps = planned
        schedule = getattr(lr_scheduler, "scheduler", lr_scheduler)
        schedule.lr_lambdas = [self._rate(args.get_warmup_steps(planned), planned)] * len(schedule.lr_lambdas)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Have the loss logged up to the middle of the first epoch and up to its end, whatever `logging_steps` says."""
        if self._fixed is None and state.global_step in (self._epoch // 2, self._epoch):
            control.should_log = True

    def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Decide, once."""
        if self._fixed is not None or self._longer is not None:
            return
        self._longer = self._decide(state.log_history)
        if self._longer:
            state.max_steps = round(LONGER * self._epoch)
            logger.info(
                "A response that the training has not seen costs %.1f nats after the first epoch (bound: %g): a third "
                "epoch follows.", new_response_loss(state.log_history, self._tokens), UNLEARNED,
            )  # fmt: skip

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        """Correct the rows a second, which the trainer reckons by the epochs that it was set up with."""
        if self._fixed is None and (name := "train_samples_per_second") in logs:
            state.log_history[-1][name] *= state.max_steps / (args.num_train_epochs * self._epoch)

    def _decide(self, log: Iterable[Mapping[str, Any]]) -> bool:
        return new_response_loss(log, self._tokens) > UNLEARNED

    def _rate(self, warmup: int, planned: int) -> Callable[[int], float]:
        def of_two(step: int) -> float:
            return max(0.0, planned - step) / max(1.0, planned - warmup)

        # A warm-up may outlast the first epoch.
        start, end = max(warmup, self._epoch), LONGER * self._epoch
        reached = 1.0 if start == warmup else of_two(start)

        def rate(step: int) -> float:
            if step < warmup:
                return step / warmup
            if step <= self._epoch or not self._longer:
                return of_two(step)
            return reached * max(0.0, end - step) / max(1.0, end - start)

        return rate
