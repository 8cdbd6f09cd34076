"""Tests of adapter folders: what is not whole, or fits nothing, is refused before anything is measured."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file

from compass.config import TrainingConfig
from compass.data.example import Example
from compass.errors import ModelError
from compass.training.adapters import check_adapter, check_target_modules, check_trained_on, load_with_adapter
from compass.training.models import BaseModel, load_base, resolve_model
from compass.training.trainer import train

WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"
Weights = dict[str, torch.Tensor]


@pytest.fixture(scope="module")
def good(tiny: BaseModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole adapter of the tiny model: twelve weights on three layers of each of its two blocks."""
    folder = tmp_path_factory.mktemp("adapters") / "good"
    layers = ["q_proj", "v_proj", "up_proj"]
    model = get_peft_model(load_base(tiny), LoraConfig(r=4, target_modules=layers, task_type="CAUSAL_LM"))
    model.save_pretrained(folder, save_embedding_layers=False)
    _edit(folder, lambda config: {**config, "base_model_name_or_path": tiny.name, "revision": None})
    return folder


def _edit(folder: Path, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    file = folder / CONFIG
    file.write_text(json.dumps(change(json.loads(file.read_text("utf-8")))), encoding="utf-8")


@pytest.fixture
def adapter(good: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(good, tmp_path / "adapter"))


def test_a_whole_adapter_loads_with_all_of_its_weights(tiny: BaseModel, adapter: Path) -> None:
    check_adapter(adapter, tiny)
    weights = load_file(adapter / WEIGHTS)
    loaded = load_with_adapter(tiny, adapter).state_dict()
    for name, value in weights.items():
        assert torch.equal(loaded[name.replace(".weight", ".default.weight")], value)


def _half(weights: Weights) -> Weights:
    return {name: value for name, value in weights.items() if "layers.1" not in name}


def _renamed(weights: Weights) -> Weights:
    return {name.replace("model.layers", "model.language_model.layers"): value for name, value in weights.items()}


def _another_rank(weights: Weights) -> Weights:
    return {name: torch.cat([value, value], dim=int("lora_B" in name)) for name, value in weights.items()}


@pytest.mark.parametrize(
    ("change", "counts"),
    [
        (_half, r"should have 12 weights and has 6; 6 are missing \(base_model\.model\.model\.layers\.1"),
        (_renamed, r"12 are missing .* and 9 more\), 12 belong to no layer of the model"),
        (_another_rank, r"12 have another shape .*: \[8, 32\] for \[4, 32\]"),
        (lambda weights: {}, "has 0; 12 are missing"),
        (lambda weights: {**weights, "more": torch.zeros(1)}, r"has 13; 1 belong to no layer of the model \(more\)"),
    ],
)
def test_weights_that_fit_nothing_are_counted(
    tiny: BaseModel, adapter: Path, change: Callable[[Weights], Weights], counts: str
) -> None:
    """peft leaves out what it can't place, so that the base model would be measured as the adapter."""
    save_file(change(load_file(adapter / WEIGHTS)), adapter / WEIGHTS)
    with pytest.raises(ModelError, match=counts):
        check_adapter(adapter, tiny)
    rows = [Example("1", "golau", "ymlaen")]
    config = TrainingConfig(adapter=str(adapter), max_steps=1)
    with pytest.raises(ModelError, match=counts):
        train(rows, base=tiny, config=config, output_dir=adapter / "out", seed=0)


def _one(value: float) -> Callable[[Weights], Weights]:
    """Set the first number of one weight."""

    def change(weights: Weights) -> Weights:
        name = min(weights)
        weights[name].view(-1)[0] = value
        return weights

    return change


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_one(float("nan")), r"1 weights .*lora_A\.weight: not finite"),
        (_one(float("-inf")), "1 weights .*not finite"),
        (lambda weights: {name: weight.int() for name, weight in weights.items()}, r"12 weights .*torch\.int32"),
        (lambda weights: {name: weight.cfloat() for name, weight in weights.items()}, r"12 weights .*complex64"),
    ],
)
def test_weights_that_are_no_numbers_are_refused(
    tiny: BaseModel, adapter: Path, change: Callable[[Weights], Weights], said: str
) -> None:
    """Each answer would be measured as if the adapter had given it."""
    save_file(change(load_file(adapter / WEIGHTS)), adapter / WEIGHTS)
    with pytest.raises(ModelError, match=f"{WEIGHTS}: {said}"):
        check_adapter(adapter, tiny)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"lora_alpha": float("nan")}, "lora_alpha, .*; it is nan"),
        ({"lora_alpha": 0}, "other than 0; it is 0"),
        ({"alpha_pattern": {"q_proj": "8"}}, "lora_alpha, .*; it is '8'"),
        ({"target_modules": "(q_proj"}, "the pattern of target_modules is none: missing"),
        # peft would go through it for hours.
        ({"target_modules": "(.*)*(.*)*(.*)*x(.*)*y"}, "the pattern of target_modules takes too long"),
        ({"rank_pattern": {"(": 4}}, "the pattern of rank_pattern is none: missing"),
    ],
)
def test_a_configuration_with_senseless_values_is_refused(
    tiny: BaseModel, adapter: Path, change: dict[str, Any], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("compass.training.adapters.PATTERN_SECONDS", 2.0)
    _edit(adapter, lambda config: {**config, **change})
    with pytest.raises(ModelError, match=said):
        check_adapter(adapter, tiny)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"target_modules": ["c_attn"]}, "can't be loaded .*c_attn"),
        ({"target_modules": 5}, "can't be loaded"),
        ({"peft_type": "NOPE"}, "peft_type is 'NOPE'"),
        ({"peft_type": "PROMPT_TUNING"}, "only LORA is read"),
        ({"r": "many"}, "whole number from 1; it is 'many'"),
        ({"base_model_name_or_path": None}, "does not say which base model"),
        ({"modules_to_save": ["lm_head"]}, "should have 13 weights and has 12; 1 are missing"),
        ({"use_dora": True}, "should have 18 weights and has 12"),
    ],
)
def test_a_configuration_that_is_not_the_weights_own_is_refused(
    tiny: BaseModel, adapter: Path, change: dict[str, Any], message: str
) -> None:
    _edit(adapter, lambda config: config | change)
    with pytest.raises(ModelError, match=message):
        check_adapter(adapter, tiny)


def test_a_broken_folder_is_named_and_never_looked_up_on_the_hub(
    tiny: BaseModel, adapter: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def asked(*arguments: object, **options: object) -> None:
        raise AssertionError(f"the hub was asked for {arguments}")

    monkeypatch.setattr("httpx.Client.send", asked)
    file = adapter / WEIGHTS
    whole = file.read_bytes()
    for cut in (b"", whole[:5], whole[:300], whole[:-1], b"\xff" * 64):
        file.write_bytes(cut)
        with pytest.raises(ModelError, match=r"adapter_model\.safetensors can't be read as safetensors"):
            load_with_adapter(tiny, adapter)
    file.unlink()
    with pytest.raises(ModelError, match="has no weights"):
        load_with_adapter(tiny, adapter)
    (adapter / "adapter_model.bin").write_bytes(b"")
    with pytest.raises(ModelError, match="convert it to safetensors"):
        load_with_adapter(tiny, adapter)
    for text in ("{", "[]", "", "\0", '{"a": NaN'):
        (adapter / CONFIG).write_text(text, encoding="utf-8")
        with pytest.raises(ModelError, match=r"adapter_config\.json"):
            load_with_adapter(tiny, adapter)


def test_an_adapter_of_another_model_or_revision_is_refused(tmp_path: Path, tiny: BaseModel) -> None:
    """Loaded anyway, it would answer nonsense without any error."""
    with pytest.raises(ModelError, match=r"no adapter_config\.json"):
        check_adapter(tmp_path, tiny)

    def write(name: str, revision: str | None) -> None:
        config = {"base_model_name_or_path": name, "revision": revision, "peft_type": "LORA", "r": 4}
        (tmp_path / CONFIG).write_text(json.dumps(config), encoding="utf-8")

    write("other/model", None)
    with pytest.raises(ModelError, match="was trained on other/model"):
        check_adapter(tmp_path, tiny)
    write("m", "a")
    with pytest.raises(ModelError, match="revision a"):
        check_trained_on(tmp_path, BaseModel("m", "m", "b", ""))
    check_trained_on(tmp_path, BaseModel("m", "m", "a", ""))


def test_the_base_model_of_an_adapter_may_be_spelt_anew_but_not_edited(
    tiny: BaseModel, adapter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tmp_path / "model"
    shutil.copytree(tiny.path, model)
    monkeypatch.chdir(tmp_path)
    base = resolve_model("model/", cache_dir=tmp_path)
    _edit(adapter, lambda config: {**config, "base_model_name_or_path": "./model", "revision": base.revision})
    check_adapter(adapter, base)
    model.rename(tmp_path / "moved")
    check_adapter(adapter, resolve_model("moved", cache_dir=tmp_path))
    (tmp_path / "moved").rename(model)
    config = model / "config.json"
    config.write_text(config.read_text("utf-8").replace('"rms_norm_eps": 1e-06', '"rms_norm_eps": 1e-05'), "utf-8")
    with pytest.raises(ModelError, match="Its files have changed since"):
        check_adapter(adapter, resolve_model("model", cache_dir=tmp_path))


def test_a_target_module_that_the_model_lacks_is_refused_with_those_that_exist(tiny: BaseModel, tmp_path: Path) -> None:
    """peft trains the others in silence."""
    check_target_modules(["q_proj", "mlp.up_proj"], tiny)
    with pytest.raises(ModelError, match=r"no layer 'v_porj', 'o'\. It has down_proj, .*, q_proj, .*all-linear"):
        check_target_modules(["q_proj", "v_porj", "o"], tiny)
    config = TrainingConfig(lora_target_modules="q_proj, v_porj", max_steps=1)
    with pytest.raises(ModelError, match="v_porj"):
        train([Example("1", "golau", "ymlaen")], base=tiny, config=config, output_dir=tmp_path, seed=0)
