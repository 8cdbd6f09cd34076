"""A third epoch: when it follows, what the rate does, and a kill on either side of the decision."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import pytest
from transformers import TrainerCallback

from compass.config import AUTO, TrainingConfig, UpdateConfig
from compass.data.example import Example
from compass.training import length
from compass.training.length import new_response_loss
from compass.training.models import BaseModel
from compass.training.trainer import TrainingResult, train
from compass.training.update import update_adapter

CONFIG = TrainingConfig(
    per_device_train_batch_size=4, learning_rate=5e-3, lora_r=4, lora_alpha=8, save_steps=2, logging_steps=1,
    warmup_steps=2, dtype="float32",
)  # fmt: skip
"""Six steps an epoch of the 24 rows."""


class StopAt(TrainerCallback):  # type: ignore[misc]
    """A kill once a step is done and its checkpoint, if there is one, is written."""

    def __init__(self, step: int) -> None:
        self._step = step

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == self._step:
            raise KeyboardInterrupt


def rates(result: TrainingResult) -> list[float]:
    return [entry["learning_rate"] / CONFIG.learning_rate for entry in result.log if "learning_rate" in entry]


@pytest.fixture
def bound(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Let any response count as not learned."""
    monkeypatch.setattr(length, "UNLEARNED", 0.0)
    return monkeypatch


def test_rows_that_are_learned_take_the_training_of_two_epochs_bit_for_bit(
    tiny: BaseModel, examples: list[Example], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Topics would be worn out, and every finished evidence would be of another default."""
    monkeypatch.setattr(length, "UNLEARNED", 1e9)
    weights, steps, seen = [], [], []
    for name, epochs in (("auto", AUTO), ("two", 2.0)):
        config = dataclasses.replace(CONFIG, num_train_epochs=epochs)
        result = train(examples, base=tiny, config=config, output_dir=tmp_path / name, seed=0)
        weights.append((result.adapter / "adapter_model.safetensors").read_bytes())
        steps.append((result.steps, result.epochs, rates(result)))
        seen.append(result.log[-1]["train_samples_per_second"] * result.log[-1]["train_runtime"])
    assert seen == pytest.approx([48, 48], rel=0.01)
    assert weights[0] == weights[1]
    assert steps[0] == steps[1]
    assert steps[0][:2] == (12, 2.0)


def test_rows_that_are_not_learned_take_a_third_epoch_over_which_the_rate_falls_on(
    tiny: BaseModel, examples: list[Example], tmp_path: Path, bound: pytest.MonkeyPatch
) -> None:
    """A rate that jumps up again loses what was reached; one that is zero in the third epoch teaches nothing."""
    result = train(examples, base=tiny, config=CONFIG, output_dir=tmp_path, seed=0)
    assert (result.steps, result.epochs) == (18, 3.0)
    warmup = [0.0, 0.5]
    first = [(12 - step) / 10 for step in range(2, 7)]
    rest = [0.6 * (18 - step) / 12 for step in range(7, 18)]
    assert rates(result) == pytest.approx([*warmup, *first, *rest])


@pytest.mark.parametrize("longer", [False, True])
@pytest.mark.parametrize("killed_at", [5, 6, 7, 11, 13, 17])
def test_a_kill_before_or_after_the_decision_ends_with_the_same_bytes(
    tiny: BaseModel,
    examples: list[Example],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    killed_at: int,
    longer: bool,
) -> None:
    if killed_at > 12 and not longer:
        pytest.skip("it has ended by then")
    monkeypatch.setattr(length, "UNLEARNED", 0.0 if longer else 1e9)
    whole = train(examples, base=tiny, config=CONFIG, output_dir=tmp_path / "whole", seed=0)
    with pytest.raises(KeyboardInterrupt):
        train(examples, base=tiny, config=CONFIG, output_dir=tmp_path / "cut", seed=0, callbacks=[StopAt(killed_at)])
    again = train(examples, base=tiny, config=CONFIG, output_dir=tmp_path / "cut", seed=0)
    assert again.resumed_from_step == killed_at - killed_at % 2
    assert (again.steps, again.epochs) == (whole.steps, whole.epochs) == ((18, 3.0) if longer else (12, 2.0))
    assert rates(again) == rates(whole)
    ours, theirs = ((one.adapter / "adapter_model.safetensors").read_bytes() for one in (again, whole))
    assert ours == theirs


@pytest.mark.parametrize(
    "options",
    [{"num_train_epochs": 2.0}, {"max_steps": 12}, {"tail_average": 0.5}, {"lr_scheduler_type": "cosine"}],
)
def test_a_length_or_a_rate_that_was_asked_for_is_kept(
    tiny: BaseModel, examples: list[Example], tmp_path: Path, bound: pytest.MonkeyPatch, options: dict[str, Any]
) -> None:
    config = dataclasses.replace(CONFIG, **options)
    assert train(examples, base=tiny, config=config, output_dir=tmp_path, seed=0).steps == 12


def test_an_update_takes_two_epochs(
    tiny: BaseModel, examples: list[Example], tmp_path: Path, bound: pytest.MonkeyPatch
) -> None:
    first = train(examples, base=tiny, config=CONFIG, output_dir=tmp_path / "first", seed=0)
    update = dataclasses.replace(CONFIG, adapter=str(first.adapter))
    assert train(examples, base=tiny, config=update, output_dir=tmp_path / "update", seed=0).steps == 12


def test_a_retraining_of_everything_takes_two_epochs_too(
    tiny: BaseModel, examples: list[Example], tmp_path: Path, bound: pytest.MonkeyPatch
) -> None:
    """Its adapter is new, and it is compared with updates at what it costs."""
    first = train(examples, base=tiny, config=CONFIG, output_dir=tmp_path / "first", seed=0)
    options = UpdateConfig(method="retrain")
    done = update_adapter(
        examples[:12], history=examples[12:], adapter=first.adapter, base=tiny, config=CONFIG, options=options,
        output_dir=tmp_path / "update", seed=0,
    )  # fmt: skip
    assert done.steps == 12


@pytest.mark.parametrize("warmup", [6, 9, 12, 15, 30])
def test_a_warm_up_that_outlasts_the_first_epoch_never_passes_the_peak(
    tiny: BaseModel, examples: list[Example], tmp_path: Path, bound: pytest.MonkeyPatch, warmup: int
) -> None:
    """A rate of ten times the one that was asked for would destroy the adapter."""
    config = dataclasses.replace(CONFIG, warmup_steps=warmup)
    found = rates(train(examples, base=tiny, config=config, output_dir=tmp_path, seed=0))
    top = found.index(max(found))
    assert max(found) == pytest.approx(min(1.0, 17 / warmup))
    assert sorted(found[: top + 1]) == found[: top + 1]
    assert sorted(found[top:], reverse=True) == found[top:]


@pytest.mark.parametrize("logging_steps", [1, 5, 50])
def test_how_often_the_loss_is_logged_decides_nothing(
    tiny: BaseModel, examples: list[Example], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, logging_steps: int
) -> None:
    """An option of the log would change the weights."""
    seen: list[float] = []
    plain = new_response_loss
    monkeypatch.setattr(length, "new_response_loss", lambda *given: seen.append(plain(*given)) or seen[-1])
    for steps in (1, logging_steps):
        config = dataclasses.replace(CONFIG, logging_steps=steps)
        train(examples, base=tiny, config=config, output_dir=tmp_path / str(steps), seed=0)
    assert seen[0] == pytest.approx(seen[-1], rel=1e-3)
    assert math.isfinite(seen[0])


def test_one_step_an_epoch_tells_nothing(
    tiny: BaseModel, examples: list[Example], tmp_path: Path, bound: pytest.MonkeyPatch
) -> None:
    """Its loss is that of a model that was taught nothing, and would always ask for more."""
    config = dataclasses.replace(CONFIG, per_device_train_batch_size=len(examples), warmup_steps=0)
    assert train(examples, base=tiny, config=config, output_dir=tmp_path, seed=0).steps == 2


def test_the_loss_of_new_rows_is_that_of_the_second_half_of_the_first_epoch() -> None:
    """The first rows are met by a model that knows nothing yet, and in the second epoch none is new."""
    log = [
        {"step": 1, "loss": 9.0, "epoch": 0.1}, {"step": 5, "loss": 9.0, "epoch": 0.5},
        {"step": 9, "loss": 2.0, "epoch": 0.9}, {"step": 10, "loss": 1.0, "epoch": 1.0},
        {"step": 13, "loss": 0.1, "epoch": 1.3}, {"step": 20, "train_runtime": 3.0, "epoch": 2.0},
    ]  # fmt: skip
    assert new_response_loss(log, 10.0) == pytest.approx(10.0 * (4 * 2.0 + 1.0) / 5)
    assert math.isnan(new_response_loss(log[:2], 10.0))
