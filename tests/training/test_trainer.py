"""Tests of training on a tiny model: what is saved, resumed and repeated."""

from __future__ import annotations

import dataclasses
import json
import shutil
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import TrainerCallback

from compass.config import TrainingConfig
from compass.data.example import Example
from compass.errors import DataError, ModelError
from compass.training.checkpoints import seconds_of
from compass.training.formatting import encode_fitting
from compass.training.generation import LanguageModel
from compass.training.head import IGNORED
from compass.training.models import BaseModel, load_base, load_tokenizer
from compass.training.trainer import train
from forked import Forked
from processes import kill_when
from tiny_model import make_tiny_model

CONFIG = TrainingConfig(
    num_train_epochs=2, per_device_train_batch_size=4, learning_rate=5e-3, lora_r=4, lora_alpha=8, save_steps=2,
    logging_steps=1, dtype="float32",
)  # fmt: skip


def test_training_lowers_the_loss_and_saves_an_adapter_that_says_what_it_is_for(
    tiny: BaseModel, examples: list[Example], tmp_path: Path
) -> None:
    """Serving needs the base model's name and revision in the adapter, weights as safetensors, and no other module."""
    base = dataclasses.replace(tiny, name="org/tiny", revision="abc")
    result = train(examples, base=base, config=CONFIG, output_dir=tmp_path, seed=0)
    losses = [entry["loss"] for entry in result.log if "loss" in entry]
    # Twelve steps take it down by 4 to 5 %; without a gradient it moves by less than 1 % between batches.
    assert np.mean(losses[-3:]) < np.mean(losses[:3]) * 0.98
    assert sorted(path.name for path in result.adapter.iterdir()) == [
        "adapter_config.json",
        "adapter_model.safetensors",
        "chat_template.jinja",
        "tokenizer.json",
        "tokenizer_config.json",
    ]
    config = json.loads((result.adapter / "adapter_config.json").read_text(encoding="utf-8"))
    assert (config["base_model_name_or_path"], config["revision"]) == ("org/tiny", "abc")
    assert config["modules_to_save"] is None
    assert "lm_head" not in config["target_modules"]
    assert result.steps == 12
    tokens = [len(row.response) for row in encode_fitting(load_tokenizer(base), examples, CONFIG.max_length)[0]]
    assert result.response_tokens == np.mean(tokens)
    assert not (tmp_path / "checkpoints").exists()


@pytest.mark.parametrize(("n_rows", "epochs", "steps"), [(21, 2.0, 12), (21, 1.5, 9), (3, 0.5, 1), (24, 1.0, 6)])
def test_the_steps_that_a_plan_and_a_comparison_count_are_those_that_are_taken(
    tiny: BaseModel, examples: list[Example], tmp_path: Path, n_rows: int, epochs: float, steps: int
) -> None:
    """A last batch that is not full is a step in every epoch; cells matched by another rule would differ by one."""
    config = dataclasses.replace(CONFIG, num_train_epochs=epochs)
    taken = train(examples[:n_rows], base=tiny, config=config, output_dir=tmp_path, seed=0).steps
    assert taken == config.optimiser_steps(n_rows) == steps


def test_the_loss_of_a_step_is_the_mean_over_response_tokens(
    tiny: BaseModel, examples: list[Example], tmp_path: Path
) -> None:
    """The first logged loss, before any update, must be the base model's own loss per response token."""
    config = dataclasses.replace(CONFIG, per_device_train_batch_size=len(examples), max_steps=1)
    result = train(examples, base=tiny, config=config, output_dir=tmp_path, seed=0)
    model = LanguageModel(tiny, dtype="float32")
    nats, n_bytes = model.loss(examples)
    # Every byte is a token in this model, and each response has one end token more.
    expected = nats.sum() / (n_bytes.sum() + len(examples))
    assert result.log[0]["loss"] == pytest.approx(expected, rel=1e-4)
    assert IGNORED == -100


def test_nobody_is_told_of_a_training(
    tiny: BaseModel, examples: list[Example], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """trl sends the model hub a line about each training, unless the environment keeps it from that."""
    for name in ("CI", "HF_HUB_OFFLINE", "HF_HUB_DISABLE_TELEMETRY"):
        monkeypatch.delenv(name, raising=False)
    sent: list[object] = []
    monkeypatch.setattr("trl.trainer.base_trainer.send_telemetry", lambda *args, **more: sent.append(args))
    train(examples[:2], base=tiny, config=TrainingConfig(max_steps=1), output_dir=tmp_path, seed=0)
    assert not sent


@pytest.mark.filterwarnings("error:`is_gradient_checkpointing`:FutureWarning")
def test_a_start_adapter_goes_on_where_it_stopped(tiny: BaseModel, examples: list[Example], tmp_path: Path) -> None:
    """A start adapter that loads as fresh weights, or frozen, would silently train something else."""
    config = dataclasses.replace(CONFIG, per_device_train_batch_size=len(examples))
    first = train(examples, base=tiny, config=config, output_dir=tmp_path / "a", seed=0)
    nats, n_bytes = LanguageModel(tiny, first.adapter, dtype="float32").loss(examples)
    again = dataclasses.replace(config, adapter=str(first.adapter), max_steps=1)
    second = train(examples, base=tiny, config=again, output_dir=tmp_path / "b", seed=0)
    assert second.log[0]["loss"] == pytest.approx(nats.sum() / (n_bytes.sum() + len(examples)), rel=1e-4)
    assert second.trainable_parameters == first.trainable_parameters


def test_the_same_seed_gives_the_same_bytes(tiny: BaseModel, examples: list[Example], tmp_path: Path) -> None:
    weights = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        result = train(examples, base=tiny, config=CONFIG, output_dir=tmp_path / name, seed=seed)
        weights.append((result.adapter / "adapter_model.safetensors").read_bytes())
    assert weights[0] == weights[1]
    assert weights[0] != weights[2]


@pytest.mark.parametrize("flag", ["use_dora", "use_rslora"])
def test_the_other_kinds_of_adapter_train_and_load(
    tiny: BaseModel, examples: list[Example], tmp_path: Path, flag: str
) -> None:
    config = dataclasses.replace(CONFIG, max_steps=2, **{flag: True})
    result = train(examples, base=tiny, config=config, output_dir=tmp_path, seed=0)
    saved = json.loads((result.adapter / "adapter_config.json").read_text(encoding="utf-8"))
    assert saved[flag] is True
    assert np.isfinite(LanguageModel(tiny, result.adapter).loss(examples[:2])[0]).all()


def test_four_bit_weights_train_as_what_they_stand_for(examples: list[Example], tmp_path: Path) -> None:
    """A gradient that stops at quantised weights, or an adapter that is read back on others, would ruin QLoRA."""
    # bitsandbytes packs layers of 64 columns and more.
    folder = str(make_tiny_model(tmp_path / "model", hidden_size=64))
    tiny = BaseModel(folder, folder, "local", "")
    four = load_base(tiny, load_in_4bit=True).model.layers[0].mlp.down_proj.weight
    assert four.dtype == torch.uint8
    assert four.numel() * 2 == load_base(tiny).model.layers[0].mlp.down_proj.weight.numel()

    whole_batch = dataclasses.replace(CONFIG, per_device_train_batch_size=len(examples), max_steps=12)
    losses = {}
    for load_in_4bit in (False, True):
        config = dataclasses.replace(whole_batch, load_in_4bit=load_in_4bit)
        result = train(examples, base=tiny, config=config, output_dir=tmp_path / str(load_in_4bit), seed=0)
        losses[load_in_4bit] = [entry["loss"] for entry in result.log if "loss" in entry]
        nats, n_bytes = LanguageModel(tiny, result.adapter, dtype="float32", load_in_4bit=load_in_4bit).loss(examples)
        losses[load_in_4bit].append(nats.sum() / (n_bytes.sum() + len(examples)))
    assert losses[True] == pytest.approx(losses[False], rel=0.01)
    assert losses[True][-1] < losses[True][0] - 0.4


def test_nothing_to_train_on_and_impossible_packing_are_refused(tiny: BaseModel, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="Training needs rows with a response"):
        train([Example(id="1", prompt="a")], base=tiny, config=CONFIG, output_dir=tmp_path, seed=0)
    config = dataclasses.replace(CONFIG, packing="on")
    with pytest.raises(ModelError, match="packing=on needs flash-attention"):
        train([Example(id="1", prompt="a", response="b")], base=tiny, config=config, output_dir=tmp_path, seed=0)


def test_rows_that_do_not_fit_are_left_out_and_counted(
    tiny: BaseModel, examples: list[Example], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    long = Example(id="long", prompt="?", response="gair " * 100)
    config = dataclasses.replace(CONFIG, max_length=64, max_steps=1)
    with_long = train([long, *examples], base=tiny, config=config, output_dir=tmp_path / "a", seed=0)
    without = train(examples, base=tiny, config=config, output_dir=tmp_path / "b", seed=0)
    assert (with_long.rows_too_long, without.rows_too_long) == (1, 0)
    assert "1 of 25 training rows are longer than max_length, 64 tokens, and are left out" in caplog.text
    assert with_long.tokens == without.tokens
    with pytest.raises(DataError, match="None of the 1 training rows fits"):
        train([long], base=tiny, config=config, output_dir=tmp_path / "c", seed=0)


@pytest.mark.parametrize("tail_average", [0.0, 1.0])
def test_a_killed_training_goes_on_and_ends_with_the_same_weights(
    tiny: BaseModel, examples: list[Example], tmp_path: Path, tail_average: float
) -> None:
    """`kill -9` between two checkpoints must cost at most the steps since the last one, and change nothing.

    That holds for the mean of all steps too.
    """
    config = dataclasses.replace(CONFIG, num_train_epochs=8, tail_average=tail_average)
    whole = train(examples, base=tiny, config=config, output_dir=tmp_path / "whole", seed=0)

    folder = tmp_path / "killed"
    process = Forked(train, examples, base=tiny, config=config, output_dir=folder, seed=0)
    kill_when(process, lambda: any(folder.glob("checkpoints/checkpoint-*/complete")), seconds=120)
    assert process.wait() == -signal.SIGKILL
    assert not (folder / "adapter").exists(), "the run finished before it was killed"

    spent = max(seconds_of(file.parent) for file in folder.glob("checkpoints/checkpoint-*/complete"))
    second = train(examples, base=tiny, config=config, output_dir=folder, seed=0)
    assert second.resumed_from_step >= 2
    assert second.train_seconds > spent > 0, "what the killed process took is part of the cost"
    resumed = (folder / "adapter" / "adapter_model.safetensors").read_bytes()
    assert resumed == (whole.adapter / "adapter_model.safetensors").read_bytes()


class Stop(TrainerCallback):
    """Ends a training as a kill does: after a step, with whatever checkpoints there are."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == self.step:
            raise KeyboardInterrupt


class Snapshot(TrainerCallback):
    """Copies, after each of these steps, the folder as a kill would leave it."""

    def __init__(self, folder: Path, copies: Mapping[int, Path]) -> None:
        self.folder, self.copies = folder, copies

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step in self.copies:
            shutil.copytree(self.folder, self.copies[state.global_step])


@pytest.mark.parametrize("save_steps", [1, 4, 6])
def test_a_training_that_stops_in_any_epoch_sees_each_row_as_often(
    tiny: BaseModel, examples: list[Example], tmp_path: Path, save_steps: int
) -> None:
    """A resumed epoch in another order sees some rows thrice and others once, and ends with another adapter.

    Three epochs of six steps; stopped in the middle of each, at its end, and four times in one run.
    """
    config = dataclasses.replace(CONFIG, num_train_epochs=3, save_steps=save_steps, lora_dropout=0.1)
    once, stops = {step: tmp_path / str(step) for step in (3, 6, 7, 10, 12, 16)}, (8, 9, 10, 17)
    undisturbed = Snapshot(tmp_path / "whole", once)
    whole = train(examples, base=tiny, config=config, output_dir=tmp_path / "whole", seed=0, callbacks=[undisturbed])
    for step in stops:
        with pytest.raises(KeyboardInterrupt):
            train(examples, base=tiny, config=config, output_dir=tmp_path / "often", seed=0, callbacks=[Stop(step)])
    for folder, last in [*((folder, step) for step, folder in once.items()), (tmp_path / "often", stops[-1])]:
        resumed = train(examples, base=tiny, config=config, output_dir=folder, seed=0)
        assert resumed.resumed_from_step == (last - 1) // save_steps * save_steps
        assert resumed.steps == whole.steps == 18
        ours, theirs = ((run.adapter / "adapter_model.safetensors").read_bytes() for run in (resumed, whole))
        assert ours == theirs, f"stopped after {last}"


def test_a_cut_checkpoint_falls_back_to_the_one_before(
    tiny: BaseModel, examples: list[Example], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A power failure after the marker was written would end each further start in a traceback."""
    config = dataclasses.replace(CONFIG, num_train_epochs=3)
    whole = train(examples, base=tiny, config=config, output_dir=tmp_path / "whole", seed=0)
    with pytest.raises(KeyboardInterrupt):
        train(examples, base=tiny, config=config, output_dir=tmp_path / "cut", seed=0, callbacks=[Stop(11)])
    newest = tmp_path / "cut" / "checkpoints" / "checkpoint-10"
    weights = newest / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    result = train(examples, base=tiny, config=config, output_dir=tmp_path / "cut", seed=0)
    assert result.resumed_from_step == 8
    assert f"{newest} is damaged (adapter_model.safetensors)" in caplog.text
    ours, theirs = ((run.adapter / "adapter_model.safetensors").read_bytes() for run in (result, whole))
    assert ours == theirs


def test_checkpoints_of_other_inputs_are_not_resumed(tiny: BaseModel, examples: list[Example], tmp_path: Path) -> None:
    """Resuming someone else's checkpoint would mix two runs."""
    checkpoint = tmp_path / "checkpoints" / "checkpoint-4"
    checkpoint.mkdir(parents=True)
    (checkpoint / "complete").touch()
    (tmp_path / "checkpoints" / "inputs.sha256").write_text("other", encoding="utf-8")
    result = train(examples, base=tiny, config=dataclasses.replace(CONFIG, max_steps=1), output_dir=tmp_path, seed=0)
    assert result.resumed_from_step == 0
