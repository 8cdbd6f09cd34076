"""A slow copy of an adapter: an exponential moving average of its weights, which forgets less than the last step.

After SuRe (2025), which serves such a copy beside a fast learner. Ours: the copy starts at the start adapter, and the
copy is what is saved.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from compass.training.fisher import adapter_weights

SLOW_FILE = "slow.safetensors"


class SlowCopy(TrainerCallback):  # type: ignore[misc]
    """Keep `slow ← decay · slow + (1 − decay) · θ` after each step; kept in the checkpoints, so that it resumes."""

    def __init__(self, decay: float, resume_from: Path | None = None) -> None:
        """decay: in (0, 1); the copy's memory is about 1 / (1 − decay) steps."""
        self._decay = decay
        self._resume_from = resume_from
        self._slow: dict[str, Any] = {}

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Start at the weights at hand, or at the checkpoint's copy."""
        from safetensors.torch import load_file

        weights = adapter_weights(kwargs["model"])
        stored = load_file(self._resume_from / SLOW_FILE) if self._resume_from else {}
        self._slow = {
            name: stored[name].to(weight.device) if stored else weight.detach().float().clone()
            for name, weight in weights.items()
        }

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Move the copy towards the weights."""
        for name, weight in adapter_weights(kwargs["model"]).items():
            self._slow[name].lerp_(weight.detach().float(), 1.0 - self._decay)

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Write the copy into the checkpoint; the marker of a complete checkpoint comes after it."""
        from safetensors.torch import save_file

        folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        if state.is_world_process_zero and folder.is_dir():
            save_file({name: value.cpu().contiguous() for name, value in self._slow.items()}, folder / SLOW_FILE)

    def copy_into(self, model: Any) -> None:
        """Overwrite the model's adapter weights with the copy."""
        import torch

        with torch.no_grad():
            for name, weight in adapter_weights(model).items():
                weight.copy_(self._slow[name])
