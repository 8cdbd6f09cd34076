"""Several processes that train together: one adapter, as one process trains it that sums up as many batches."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from compass.config import TrainingConfig
from compass.data.example import Example
from compass.errors import DataError, ModelError
from compass.training import processes
from compass.training.models import BaseModel
from compass.training.processes import check_devices, in_processes
from compass.training.trainer import train

ONE = TrainingConfig(
    max_steps=3, per_device_train_batch_size=4, gradient_accumulation_steps=2, learning_rate=5e-3, lora_r=4,
    lora_alpha=8, logging_steps=1, dtype="float32", lr_scheduler_type="constant", warmup_steps=0,
)  # fmt: skip
TWO = dataclasses.replace(ONE, gradient_accumulation_steps=1, num_processes=2)


def test_two_processes_train_the_adapter_of_one_with_twice_the_accumulation(
    tiny: BaseModel,
    examples: list[Example],
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Breaks if both see the same rows, if gradients are not joined, or if both write the adapter or warn of rows."""
    too_long = dataclasses.replace(examples[0], id="long", prompt="a " * 3 * ONE.max_length)
    examples = [*examples, too_long]
    assert ONE.rows_per_step == TWO.rows_per_step
    one = train(examples, base=tiny, config=ONE, output_dir=tmp_path / "one", seed=0)
    caplog.clear()
    two = train(examples, base=tiny, config=TWO, output_dir=tmp_path / "two", seed=0)
    # Here, and not once more in each process.
    assert [record.getMessage().partition(",")[0] for record in caplog.records] == [
        f"1 of {len(examples)} training rows are longer than max_length"
    ]
    assert "left out" not in capfd.readouterr().err
    assert (two.steps, two.tokens, two.adapter) == (one.steps, one.tokens, tmp_path / "two" / "adapter")
    assert [row["loss"] for row in two.log if "loss" in row] == pytest.approx(
        [row["loss"] for row in one.log if "loss" in row], rel=1e-4
    )
    found, expected = (load_file(done.adapter / "adapter_model.safetensors") for done in (two, one))
    assert found.keys() == expected.keys()
    for name, weight in expected.items():
        assert torch.allclose(found[name], weight, atol=2e-4), name
    assert not (tmp_path / "two" / "checkpoints").exists()


def test_what_is_wrong_is_said_before_a_process_is_started(
    tiny: BaseModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "_one", None)
    with pytest.raises(DataError, match="Training needs rows with a response"):
        train([Example(id="a", prompt="b")], base=tiny, config=TWO, output_dir=tmp_path, seed=0)


def test_a_process_that_fails_is_quoted() -> None:
    with pytest.raises(ModelError, match=r"One of the 2 processes that trained together failed: .*no number"):
        in_processes(2, int, "no number")


def test_more_processes_than_gpus_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    check_devices(2)
    with pytest.raises(ModelError, match="num_processes is 3, and this machine shows 2 GPUs"):
        check_devices(3)
