"""Tests of averages of an adapter's weights over the steps."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from compass.config import TrainingConfig
from compass.data.example import Example
from compass.training.models import BaseModel
from compass.training.trainer import train
from compass.training.weight_average import Rate, tail

CONFIG = TrainingConfig(
    max_steps=1, per_device_train_batch_size=8, learning_rate=1e-2, lora_r=4, save_steps=50, logging_steps=1,
    lr_scheduler_type="constant", warmup_steps=0, dtype="float32",
)  # fmt: skip
Weights = dict[str, torch.Tensor]
TrainFor = Callable[..., Weights]


@pytest.fixture
def start(tiny: BaseModel, examples: list[Example], tmp_path: Path) -> Path:
    """An adapter to go on from."""
    return train(examples, base=tiny, config=CONFIG, output_dir=tmp_path / "start", seed=0).adapter


@pytest.fixture
def after(tiny: BaseModel, examples: list[Example], start: Path, tmp_path: Path) -> TrainFor:
    """Weights after some steps from `start`, at a constant rate, so that a shorter run is the start of a longer one."""

    def run(steps: int, *, tail_average: float = 0.0) -> Weights:
        config = dataclasses.replace(CONFIG, adapter=str(start), max_steps=steps, tail_average=tail_average)
        result = train(
            examples, base=tiny, config=config, output_dir=tmp_path / f"{steps}-{tail_average}", seed=0,
        )  # fmt: skip
        return load_file(result.adapter / "adapter_model.safetensors")

    return run


def by_rate(rate: Rate, values: list[float], before: float) -> float:
    """The average that a rate gives of `values`, one for each step."""
    average = before
    for step, value in enumerate(values, 1):
        average += rate(step, len(values)) * (value - average)
    return average


@pytest.mark.parametrize("share", [0.01, 0.1, 0.25, 0.5, 0.7, 1.0])
@pytest.mark.parametrize("steps", [1, 2, 7, 20])
def test_a_tail_is_the_mean_of_the_last_steps(share: float, steps: int) -> None:
    values = np.random.default_rng(steps).normal(size=steps).tolist()
    last = max(1, steps - int(steps * (1 - share)))
    assert by_rate(tail(share), values, before=100.0) == pytest.approx(np.mean(values[-last:]))


@pytest.mark.parametrize("tenths", range(1, 11))
def test_tenths_of_ten_steps_are_whole_steps(tenths: int) -> None:
    """Of the last 0.9, ten steps would be averaged in place of nine: 1 - 0.9 is a little less than 0.1."""
    assert sum(tail(tenths / 10)(step, 10) > 0 for step in range(1, 11)) == tenths


def test_the_mean_of_the_last_steps_is_saved_in_place_of_the_last_weights(after: TrainFor) -> None:
    """Of four steps the last half are θ3 and θ4."""
    mean, third, fourth = after(4, tail_average=0.5), after(3), after(4)
    assert any(not torch.allclose(mean[name], fourth[name], atol=1e-5) for name in fourth)
    for name, value in mean.items():
        torch.testing.assert_close(value, (third[name] + fourth[name]) / 2)
