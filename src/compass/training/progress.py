"""The progress of a training: a bar, or log lines, of its steps; and its loss, for the log."""

from __future__ import annotations

import logging
from contextlib import ExitStack
from typing import Any

from transformers import TrainerCallback

from compass.progress import Advance, progress

logger = logging.getLogger(__name__)


class TrainingProgress(TrainerCallback):  # type: ignore[misc]
    """Show the steps of a training run, and log its loss."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._advance: Advance | None = None
        self._total = 0

    def __enter__(self) -> TrainingProgress:
        return self

    def __exit__(self, *exception: object) -> None:
        self._stack.close()

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if not state.is_world_process_zero:
            return
        if state.global_step:
            logger.info("Training goes on from step %d of %d", state.global_step, state.max_steps)
        self._show(state)

    def _show(self, state: Any) -> None:
        self._stack.close()
        done, self._total = int(state.global_step), int(state.max_steps)
        self._advance = self._stack.enter_context(progress("Training", self._total, "steps", done=done))

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self._advance is not None:
            self._advance(1)

    def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self._advance is not None and state.max_steps != self._total:
            self._show(state)

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **kwargs: Any) -> None:
        if logs and "loss" in logs:
            logger.debug("step %d: loss %s", state.global_step, logs["loss"])
