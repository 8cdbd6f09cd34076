"""The mean of an adapter's weights over the last steps of its training, saved in place of the last step's.

It rids the weights of the noise of single batches (Ruppert 1988; Polyak and Juditsky 1992).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from compass.training.retention.fisher import adapter_weights

AVERAGE_FILE = "average.safetensors"

Rate = Callable[[int, int], float]
"""How far the average moves towards the weights after a step, in [0, 1], from the step and the number of steps."""


def tail(share: float) -> Rate:
    """Return the rate of the mean over the last `share` of the steps, one of them at the least."""

    def rate(step: int, steps: int) -> float:
        # Rounded first: 10 * (1 - 0.9) is a little less than 1.
        before = min(int(round(steps * (1.0 - share), 6)), steps - 1)
        return 1.0 / (step - before) if step > before else 0.0

    return rate


class AveragedWeights(TrainerCallback):  # type: ignore[misc]
    """Keep an average of the weights after each step, also in the checkpoints, so that it resumes."""

    def __init__(self, rate: Rate, resume_from: Path | None = None) -> None:
        """resume_from: the checkpoint that the training goes on from."""
        self._rate = rate
        self._resume_from = resume_from
        self._average: dict[str, Any] = {}

    @property
    def weights(self) -> dict[str, Any]:
        """The average so far, in float32, by the names in an adapter's file."""
        return self._average

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Start at the current weights, or at the checkpoint's average."""
        from safetensors.torch import load_file

        weights = adapter_weights(kwargs["model"])
        stored = load_file(self._resume_from / AVERAGE_FILE) if self._resume_from else {}
        self._average = {
            name: stored[name].to(weight.device) if stored else weight.detach().float().clone()
            for name, weight in weights.items()
        }

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Move the average towards the weights."""
        rate = self._rate(state.global_step, state.max_steps)
        if rate:
            for name, weight in adapter_weights(kwargs["model"]).items():
                self._average[name].lerp_(weight.detach().float(), rate)

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Write the average into the checkpoint; the marker of a complete checkpoint comes after it."""
        from safetensors.torch import save_file

        folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        if state.is_world_process_zero and folder.is_dir():
            save_file({name: value.cpu().contiguous() for name, value in self._average.items()}, folder / AVERAGE_FILE)

    def copy_into(self, model: Any) -> None:
        """Overwrite the model's adapter weights with the average."""
        import torch

        with torch.no_grad():
            for name, weight in adapter_weights(model).items():
                weight.copy_(self._average[name])
