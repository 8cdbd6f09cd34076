"""Tests of the one call that serves every update method, and of its resumption."""

from __future__ import annotations

import dataclasses
import json
import signal
from pathlib import Path

import pytest

from compass.config import UPDATE_METHODS, TrainingConfig, UpdateConfig
from compass.data.example import Example
from compass.errors import ConfigError, ModelError
from compass.training.models import BaseModel
from compass.training.retention.fisher import Fisher, adapter_fisher
from compass.training.trainer import train
from compass.training.update import update_adapter
from forked import Forked
from processes import kill_when

CONFIG = TrainingConfig(
    max_steps=3,
    per_device_train_batch_size=4,
    learning_rate=5e-3,
    lora_r=4,
    save_steps=2,
    logging_steps=1,
    dtype="float32",
)
OLD = [Example(id=f"o{i}", prompt=f"alt {i}", response=f"antwort {i}") for i in range(8)]


@pytest.fixture(scope="module")
def start(tiny: BaseModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A serving version: the adapter, and beside it its Fisher information, large enough to be felt."""
    folder = tmp_path_factory.mktemp("start")
    adapter = train(OLD, base=tiny, config=CONFIG, output_dir=folder, seed=0).adapter
    fisher = adapter_fisher(OLD, base=tiny, adapter=adapter, config=CONFIG)
    fisher = dataclasses.replace(fisher, diagonal={k: v * 100 for k, v in fisher.diagonal.items()})
    fisher.save(folder / "fisher.safetensors")
    return adapter


def update(tiny: BaseModel, start: Path, rows: list[Example], folder: Path, method: str, **options: object) -> Path:
    return update_adapter(
        rows, adapter=start, base=tiny, config=CONFIG, options=UpdateConfig(method=method, **options),
        output_dir=folder, seed=0, history=OLD, anchors=OLD[:3],
        fisher=Fisher.load(start.parent / "fisher.safetensors"),
    ).adapter  # fmt: skip


def test_every_method_trains_what_its_name_says(
    tiny: BaseModel, examples: list[Example], start: Path, tmp_path: Path
) -> None:
    """Each ingredient must change the weights, and only where the table says so."""
    before = (start / "adapter_model.safetensors").read_bytes()
    weights = {
        name: (update(tiny, start, examples, tmp_path / name, name) / "adapter_model.safetensors").read_bytes()
        for name in UPDATE_METHODS
    }
    # The two replays differ in which anchors they are handed, not in what they do with them.
    assert weights.pop("replay-random") == weights["replay"]
    assert len(set(weights.values())) == len(weights)
    assert (start / "adapter_model.safetensors").read_bytes() == before
    assert all(sorted(p.name for p in (tmp_path / name).iterdir()) == ["adapter"] for name in UPDATE_METHODS)

    naive = train(
        examples, base=tiny, config=dataclasses.replace(CONFIG, adapter=str(start)), output_dir=tmp_path / "n", seed=0
    )
    assert (naive.adapter / "adapter_model.safetensors").read_bytes() == weights["naive"]
    whole = train([*OLD, *examples], base=tiny, config=CONFIG, output_dir=tmp_path / "w", seed=0)
    assert (whole.adapter / "adapter_model.safetensors").read_bytes() == weights["retrain"]
    merged = json.loads((tmp_path / "merge" / "adapter" / "adapter_config.json").read_text(encoding="utf-8"))
    assert (merged["r"], merged["lora_alpha"]) == (4, 4)


def test_missing_ingredients_and_unmergeable_adapters_are_refused(
    tiny: BaseModel, examples: list[Example], start: Path, tmp_path: Path
) -> None:
    arguments = {"adapter": start, "base": tiny, "config": CONFIG, "output_dir": tmp_path, "seed": 0}
    with pytest.raises(ConfigError, match="'ecda' needs anchors and fisher"):
        update_adapter(examples, options=UpdateConfig(method="ecda"), **arguments)
    with pytest.raises(ConfigError, match="'retrain' needs history"):
        update_adapter(examples, options=UpdateConfig(method="retrain"), **arguments)
    config = dataclasses.replace(CONFIG, max_serving_rank=3)
    with pytest.raises(ModelError, match="would have rank 4"):
        update_adapter(examples, options=UpdateConfig(method="merge"), **(arguments | {"config": config}))
    assert list(tmp_path.iterdir()) == []


def test_a_killed_update_goes_on_and_ends_with_the_same_weights(
    tiny: BaseModel, examples: list[Example], start: Path, tmp_path: Path
) -> None:
    """Penalty and anchors must all go on where `kill -9` cut them off, under gradient accumulation too."""
    config = dataclasses.replace(
        CONFIG,
        max_steps=30,
        save_steps=4,
        per_device_train_batch_size=3,
        gradient_accumulation_steps=2,
        lora_dropout=0.1,
    )

    given = {
        "adapter": start, "base": tiny, "config": config, "options": UpdateConfig(method="ecda"), "seed": 0,
        "anchors": OLD[:5], "fisher": Fisher.load(start.parent / "fisher.safetensors"),
    }  # fmt: skip
    whole = update_adapter(examples, output_dir=tmp_path / "a", **given)
    folder = tmp_path / "killed"
    process = Forked(update_adapter, examples, output_dir=folder, **given)
    kill_when(process, lambda: any(folder.glob("checkpoints/checkpoint-*/complete")), seconds=120)
    assert process.wait() == -signal.SIGKILL
    assert not (folder / "adapter").exists(), "the run finished before it was killed"
    second = update_adapter(examples, output_dir=folder, **given)
    assert second.resumed_from_step >= 4
    resumed = (folder / "adapter" / "adapter_model.safetensors").read_bytes()
    assert resumed == (whole.adapter / "adapter_model.safetensors").read_bytes()
