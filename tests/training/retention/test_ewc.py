"""Tests of the penalty against closed forms, and inside real training runs."""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from peft import LoraConfig, PeftModel
from safetensors.torch import load_file
from trl import SFTConfig, SFTTrainer

from compass.config import TrainingConfig
from compass.data.example import Example
from compass.errors import ModelError
from compass.training.adapters import load_with_adapter
from compass.training.formatting import encode_example
from compass.training.models import BaseModel, load_base, load_tokenizer
from compass.training.retention import ewc as ewc_module
from compass.training.retention.ewc import EWC, ewc_loss, with_ewc
from compass.training.retention.fisher import Fisher, adapter_fisher, adapter_weights
from compass.training.trainer import Retention, train

CONFIG = TrainingConfig(
    max_steps=4, per_device_train_batch_size=4, learning_rate=5e-3, lora_r=4, save_steps=50, logging_steps=1
)


@pytest.fixture(scope="module")
def start(tiny: BaseModel, examples: list[Example], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(examples, base=tiny, config=CONFIG, output_dir=tmp_path_factory.mktemp("start"), seed=0).adapter


@pytest.fixture(scope="module")
def fisher(tiny: BaseModel, examples: list[Example], start: Path) -> Fisher:
    return adapter_fisher(examples[:8], base=tiny, adapter=start, config=CONFIG)


def ones(fisher: Fisher, value: float = 1.0) -> Fisher:
    return Fisher({k: torch.full_like(v, value) for k, v in fisher.diagonal.items()}, fisher.weights, 1)


def rows_of(base: BaseModel, examples: list[Example]) -> Dataset:
    tokenizer = load_tokenizer(base)
    encoded = [encode_example(tokenizer, row) for row in examples]
    return Dataset.from_dict(
        {
            "input_ids": [[*row.prompt, *row.response] for row in encoded],
            "labels": [[-100] * len(row.prompt) + list(row.response) for row in encoded],
        }
    )


def sft(trainer_class: Any, base: BaseModel, start: Path, rows: Dataset, folder: Path, **options: Any) -> Any:
    settings = {"max_steps": 1, "per_device_train_batch_size": 4, "gradient_accumulation_steps": 1} | {
        key: options.pop(key) for key in list(options) if hasattr(SFTConfig, key)
    }
    return trainer_class(
        model=PeftModel.from_pretrained(load_base(base), str(start), is_trainable=True),
        processing_class=load_tokenizer(base),
        train_dataset=rows,
        args=SFTConfig(
            output_dir=str(folder), use_cpu=True, bf16=settings.pop("bf16", False), report_to=[], logging_steps=1,
            save_strategy="no", activation_checkpointing=False, disable_tqdm=True, max_grad_norm=0.0,
            learning_rate=1e-3, **settings,
        ),
        **options,
    )  # fmt: skip


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_its_gradient_is_f_times_the_distance(dtype: torch.dtype) -> None:
    """λ Σ F/2 (θ−θ*)² has the gradient λ F (θ−θ*); in bfloat16 weights too, whose own sum would lose the small ones."""
    torch.manual_seed(0)
    theta = torch.randn(7, 5).to(dtype).requires_grad_()
    f, anchor = torch.rand(7, 5), torch.randn(7, 5)
    loss = 2.0 * ewc_loss([(theta, f, anchor)])
    loss.backward()
    distance = theta.detach().float() - anchor
    torch.testing.assert_close(loss.detach(), (f * distance**2).sum())
    assert loss.dtype == torch.float32
    torch.testing.assert_close(theta.grad, (2.0 * f * distance).to(dtype), rtol=1e-2 if dtype.itemsize < 4 else 1e-6,
                               atol=1e-6)  # fmt: skip


def moved(model: Any, by: float) -> Any:
    with torch.no_grad():
        for weight in adapter_weights(model).values():
            weight.add_(by)
    return model


@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize("bf16", [False, True])
def test_a_step_of_trl_gets_the_penalty_once(
    tiny: BaseModel, examples: list[Example], start: Path, fisher: Fisher, tmp_path: Path, steps: int, bf16: bool
) -> None:
    """The gradient of a whole step is the trainer's own plus λ F (θ−θ*), however many micro-batches it has."""
    rows = rows_of(tiny, examples)
    gradients = []
    for trainer_class, extra in ((SFTTrainer, {}), (with_ewc(SFTTrainer), {"fisher": fisher, "ewc_lambda": 3.0})):
        trainer = sft(trainer_class, tiny, start, rows, tmp_path, gradient_accumulation_steps=steps, bf16=bf16, **extra)
        moved(trainer.model, 0.125)
        seen: dict[str, torch.Tensor] = {}
        hook = trainer.create_optimizer().register_step_pre_hook(
            lambda *_, model=trainer.model, seen=seen: seen.update(
                {name: weight.grad.clone() for name, weight in adapter_weights(model).items()}
            )
        )
        trainer.train()
        hook.remove()
        gradients.append(seen)
    plain, penalised = gradients
    for name, value in plain.items():
        # θ lies 1/8 above θ*.
        torch.testing.assert_close(
            penalised[name] - value, 3.0 * fisher.diagonal[name] * 0.125, rtol=1e-2, atol=2e-5 if bf16 else 1e-6
        )
    assert max(float(f.max()) for f in fisher.diagonal.values()) > 1e-3, "the penalty is too small to be seen"
    log = next(entry for entry in trainer.state.log_history if "ewc_loss" in entry)
    expected = sum(0.5 * float((f * 0.125**2).sum()) for f in fisher.diagonal.values())
    assert log["ewc_loss"] == pytest.approx(expected, rel=1e-3)
    assert log["loss"] == pytest.approx(log["task_loss"] + 3.0 * log["ewc_loss"])


def test_evaluation_is_the_loss_alone(
    tiny: BaseModel, examples: list[Example], start: Path, fisher: Fisher, tmp_path: Path
) -> None:
    rows = rows_of(tiny, examples)
    losses = []
    for trainer_class, extra in ((SFTTrainer, {}), (with_ewc(SFTTrainer), {"fisher": ones(fisher)})):
        trainer = sft(trainer_class, tiny, start, rows, tmp_path, **extra)
        moved(trainer.model, 0.125)
        losses.append(trainer.evaluate(rows)["eval_loss"])
    assert losses[0] == losses[1]


@pytest.mark.parametrize("kind", [{}, {"use_dora": True}, {"use_rslora": True}])
def test_a_heavy_penalty_holds_the_adapter_and_none_is_the_plain_training(
    tiny: BaseModel, examples: list[Example], tmp_path: Path, kind: dict[str, Any]
) -> None:
    """λ = 0 must train the very same weights; a λ that outweighs the task must keep every weight near its start."""
    config = dataclasses.replace(CONFIG, **kind)
    first = train(examples, base=tiny, config=config, output_dir=tmp_path / "first", seed=0).adapter
    fisher = ones(adapter_fisher(examples[:2], base=tiny, adapter=first, config=config))
    # Plain gradient descent would overshoot; Adam's steps are at most the rate, so distance tells the direction.
    config = dataclasses.replace(config, adapter=str(first), learning_rate=1e-2, max_steps=12, warmup_steps=0)
    weights = {}
    for name, retention in {
        "plain": None, "zero": Retention(fisher=fisher, ewc_lambda=0.0),
        "held": Retention(fisher=fisher, ewc_lambda=1e4),
    }.items():  # fmt: skip
        result = train(examples, base=tiny, config=config, output_dir=tmp_path / name, seed=0, retention=retention)
        weights[name] = load_file(result.adapter / "adapter_model.safetensors")

    def distance(name: str) -> float:
        return sum(float((weights[name][k] - v).square().sum()) for k, v in fisher.weights.items()) ** 0.5

    assert distance("zero") == distance("plain") > 0
    assert distance("held") < 0.3 * distance("plain")


def test_the_public_names_take_a_file_and_refuse_what_does_not_fit(
    tiny: BaseModel, examples: list[Example], start: Path, fisher: Fisher, tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    assert with_ewc(SFTTrainer) is ewc_module.EWCSFTTrainer
    assert issubclass(ewc_module.EWCSFTTrainer, SFTTrainer)
    with pytest.raises(AttributeError):
        ewc_module.other  # noqa: B018
    path = fisher.save(tmp_path / "fisher.safetensors")
    rows = rows_of(tiny, examples)
    with caplog.at_level(logging.WARNING, logger="compass"):
        sft(with_ewc(SFTTrainer), tiny, start, rows, tmp_path, fisher=path)
    assert not caplog.records
    model = load_base(tiny)
    options = {"train_dataset": rows, "processing_class": load_tokenizer(tiny), "fisher": path,
               "args": SFTConfig(output_dir=str(tmp_path), use_cpu=True, report_to=[],
                                 activation_checkpointing=False)}  # fmt: skip
    same_shape = LoraConfig(task_type="CAUSAL_LM", r=4, lora_alpha=32, target_modules="all-linear")
    with caplog.at_level(logging.WARNING, logger="compass"):
        with_ewc(SFTTrainer)(model=model, peft_config=same_shape, **options)
    assert "do not start where the Fisher information was measured" in caplog.text
    with pytest.raises(ModelError, match="the same rank, target modules and kind"):
        with_ewc(SFTTrainer)(
            model=load_base(tiny), peft_config=LoraConfig(task_type="CAUSAL_LM", r=2, target_modules="all-linear"),
            **options,
        )  # fmt: skip
    EWC(fisher).check(load_with_adapter(tiny, start, trainable=True))
