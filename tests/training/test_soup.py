"""Several trainings, averaged into one adapter."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from compass.config import TrainingConfig
from compass.data.example import Example
from compass.errors import ModelError
from compass.runs.layout import TRAINING_PARTS as PARTS
from compass.steps.train import training_identity
from compass.training import BaseModel, soup, train
from compass.training.soup import _seed, check_trainable, drop_parts, train_averaged
from tiny_model import make_tiny_model

ROWS = [Example(str(i), f"cynnau golau {i}", f"TurnOn {i % 3}", "cy") for i in range(12)]
OPTIONS = TrainingConfig(lora_r=2, lora_alpha=4, num_train_epochs=1, per_device_train_batch_size=4, learning_rate=0.01)


@pytest.fixture
def base(tmp_path: Path) -> BaseModel:
    folder = make_tiny_model(tmp_path / "model")
    return BaseModel(str(folder), str(folder), "local", "")


def averaged(folder: Path, base: BaseModel, n: int) -> Any:
    config = replace(OPTIONS, averaged_trainings=n)
    return train_averaged(ROWS, base=base, config=config, output_dir=folder, seed=3, payload={"rows": len(ROWS)})


def changes(adapter: Path, scale: float) -> dict[str, np.ndarray]:
    """What an adapter adds to each weight of the base model."""
    weights = load_file(adapter / "adapter_model.safetensors")
    return {
        name: scale * weights[name.replace("lora_A", "lora_B")] @ weights[name] for name in weights if "lora_A" in name
    }


def test_the_average_is_that_of_what_the_adapters_add(tmp_path: Path, base: BaseModel) -> None:
    """Averaging A and B apart would give another product; and equal seeds would average a training with itself."""
    result = averaged(tmp_path / "run", base, 3)
    alone = [
        train(ROWS, base=base, config=OPTIONS, output_dir=tmp_path / str(part), seed=_seed(3, part))
        for part in range(3)
    ]
    singles = [changes(one.adapter, OPTIONS.lora_alpha / OPTIONS.lora_r) for one in alone]
    together = changes(result.adapter, 1.0)
    assert set(together) == set(singles[0])
    for name, change in together.items():
        np.testing.assert_allclose(change, np.mean([one[name] for one in singles], axis=0), atol=1e-7)
        assert not np.allclose(singles[0][name], singles[1][name], atol=1e-5)
    assert (result.steps, result.tokens) == (9, alone[0].tokens)
    assert (tmp_path / "run" / PARTS / "3").is_dir(), "kept until the training is recorded"
    drop_parts(tmp_path / "run")
    assert not (tmp_path / "run" / PARTS).exists()
    assert not (tmp_path / "run" / "logs" / "stages").exists(), "a record of a part would be missed by the registry"


def test_one_training_is_the_plain_one(tmp_path: Path, base: BaseModel) -> None:
    """The default would be another adapter than before, or have another rank."""
    result = averaged(tmp_path / "run", base, 1)
    plain = train(ROWS, base=base, config=OPTIONS, output_dir=tmp_path / "plain", seed=3)
    ours, theirs = ((one.adapter / "adapter_model.safetensors").read_bytes() for one in (result, plain))
    assert ours == theirs


def test_finished_trainings_are_kept_when_one_is_killed(
    tmp_path: Path, base: BaseModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A night of trainings would begin anew."""
    seeds: list[int] = []

    def killed(*arguments: Any, seed: int, **options: Any) -> Any:
        seeds.append(seed)
        if len(seeds) == 2:
            raise KeyboardInterrupt
        return train(*arguments, seed=seed, **options)

    monkeypatch.setattr(soup, "train", killed)
    with pytest.raises(KeyboardInterrupt):
        averaged(tmp_path / "run", base, 2)
    result = averaged(tmp_path / "run", base, 2)
    assert seeds == [3, _seed(3, 1), _seed(3, 1)]
    monkeypatch.undo()
    whole = averaged(tmp_path / "whole", base, 2)
    ours, theirs = ((one.adapter / "adapter_model.safetensors").read_bytes() for one in (result, whole))
    assert ours == theirs


def test_a_start_adapter_whose_average_can_not_be_served_is_refused(tmp_path: Path, base: BaseModel) -> None:
    """After all of the trainings it would be told that the adapter is too large, or of a kind that has no average."""
    start = train(ROWS, base=base, config=OPTIONS, output_dir=tmp_path / "lora", seed=0).adapter
    options = replace(OPTIONS, adapter=str(start), averaged_trainings=3)
    check_trainable(options, base)
    with pytest.raises(ModelError, match="would have rank 6, and max_serving_rank is 5"):
        check_trainable(replace(options, max_serving_rank=5), base)
    dora = train(ROWS, base=base, config=replace(OPTIONS, use_dora=True), output_dir=tmp_path / "dora", seed=0).adapter
    with pytest.raises(ModelError, match="DoRA"):
        check_trainable(replace(options, adapter=str(dora)), base)
    check_trainable(replace(options, adapter=str(dora), averaged_trainings=1), base)


def test_one_training_is_told_as_it_was_before_there_were_several() -> None:
    """Every finished run and cell would train again."""
    assert "averaged_trainings" not in training_identity(OPTIONS)
    assert training_identity(replace(OPTIONS, averaged_trainings=2))["averaged_trainings"] == 2
