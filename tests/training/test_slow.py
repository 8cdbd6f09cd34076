"""Tests of the slow copy of an adapter."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import torch
from safetensors.torch import load_file

from compass.config import TrainingConfig
from compass.data.example import Example
from compass.training.models import BaseModel
from compass.training.trainer import Retention, train

CONFIG = TrainingConfig(
    max_steps=1, per_device_train_batch_size=8, learning_rate=1e-2, lora_r=4, save_steps=50, logging_steps=1,
    lr_scheduler_type="constant", warmup_steps=0,
)  # fmt: skip


def test_it_is_the_moving_average_of_the_weights_after_each_step(
    tiny: BaseModel, examples: list[Example], tmp_path: Path
) -> None:
    """Runs of one, two and three steps give θ1, θ2, θ3; the copy after three must be their average by hand."""
    first = train(examples, base=tiny, config=CONFIG, output_dir=tmp_path / "first", seed=0).adapter
    start = load_file(first / "adapter_model.safetensors")
    config = dataclasses.replace(CONFIG, adapter=str(first))

    def weights(steps: int, decay: float) -> dict[str, torch.Tensor]:
        result = train(
            examples, base=tiny, config=dataclasses.replace(config, max_steps=steps),
            output_dir=tmp_path / f"{steps}-{decay}", seed=0, retention=Retention(ema_decay=decay),
        )  # fmt: skip
        return load_file(result.adapter / "adapter_model.safetensors")

    slow = weights(3, 0.9)
    expected = start
    for steps in (1, 2, 3):
        theta = weights(steps, 0.0)
        expected = {name: 0.9 * value + 0.1 * theta[name] for name, value in expected.items()}
    assert any(not torch.equal(slow[name], start[name]) for name in start)
    for name, value in expected.items():
        torch.testing.assert_close(slow[name], value)
