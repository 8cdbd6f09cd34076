"""Tests of merging against merges computed by hand in numpy."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from peft import LoraConfig, get_peft_model
from safetensors.numpy import load_file, save_file

from compass.data.example import Example
from compass.errors import ConfigError, ModelError
from compass.training.generation import LanguageModel
from compass.training.merging import MERGE_TYPES, merge_adapters
from compass.training.models import BaseModel, load_base

Array = npt.NDArray[np.float64]


def adapter(base: BaseModel, folder: Path, seed: int, **options: Any) -> Path:
    """Save an adapter of random weights on one layer's kind."""
    settings = {"r": 2, "lora_alpha": 6, "target_modules": ["q_proj"]} | options
    model = get_peft_model(load_base(base), LoraConfig(task_type="CAUSAL_LM", **settings))
    model.save_pretrained(folder, save_embedding_layers=False)
    rng = np.random.default_rng(seed)
    path = folder / "adapter_model.safetensors"
    save_file({k: rng.normal(size=v.shape).astype(np.float32) for k, v in sorted(load_file(path).items())}, path)
    return folder


def parts(folder: Path) -> tuple[list[tuple[Array, Array]], float]:
    """Return (A, B) of each layer and the scale that a server applies."""
    config = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
    scale = config["lora_alpha"] / (config["r"] ** 0.5 if config["use_rslora"] else config["r"])
    tensors = load_file(folder / "adapter_model.safetensors")
    names = sorted(name for name in tensors if "lora_A" in name)
    pairs = [(tensors[n].astype(float), tensors[n.replace("lora_A", "lora_B")].astype(float)) for n in names]
    return pairs, scale


def deltas(folder: Path) -> list[Array]:
    pairs, scale = parts(folder)
    return [scale * b @ a for a, b in pairs]


def ties(tensors: list[Array], weights: list[float], density: float) -> Array:
    """TIES (Yadav et al. 2023): trim to the largest entries, elect a sign by mass, average what agrees with it."""
    trimmed = []
    for tensor, weight in zip(tensors, weights, strict=True):
        flat = np.abs(tensor).ravel()
        keep = np.argsort(-flat, kind="stable")[: int(density * flat.size)]
        mask = np.zeros(flat.size)
        mask[keep] = 1
        trimmed.append(weight * tensor * mask.reshape(tensor.shape))
    stacked = np.stack(trimmed)
    sign = np.where(stacked.sum(axis=0) >= 0, 1.0, -1.0)
    agrees = np.sign(stacked) == sign
    return np.asarray((stacked * agrees).sum(axis=0) / np.maximum(agrees.sum(axis=0), 1))


@pytest.mark.parametrize("flag", [{}, {"use_rslora": True}])
def test_ties_by_hand(tiny: BaseModel, tmp_path: Path, flag: dict[str, bool]) -> None:
    """A and B are merged apart, each with the root of its scale; the folder's own scale must not come on top."""
    one, two = (adapter(tiny, tmp_path / str(i), i, **flag) for i in (1, 2))
    merged = merge_adapters([one, two], base=tiny, folder=tmp_path / "merged", density=0.5)
    (first, scale), (second, _) = parts(one), parts(two)
    assert scale == (6 / 2**0.5 if flag else 3)
    for (a1, b1), (a2, b2), delta in zip(first, second, deltas(merged), strict=True):
        root = [scale**0.5] * 2
        np.testing.assert_allclose(delta, ties([b1, b2], root, 0.5) @ ties([a1, a2], root, 0.5), rtol=1e-4, atol=1e-5)
    config = json.loads((merged / "adapter_config.json").read_text(encoding="utf-8"))
    assert (config["r"], config["use_rslora"], config["base_model_name_or_path"]) == (2, False, tiny.name)
    assert sorted(p.name for p in merged.iterdir()) == [
        "adapter_config.json",
        "adapter_model.safetensors",
        "chat_template.jinja",
        "tokenizer.json",
        "tokenizer_config.json",
    ]
    assert not (tmp_path / "merged.partial").exists()
    rows = [Example(id="1", prompt="a", response="b")]
    assert np.isfinite(LanguageModel(tiny, merged).loss(rows)[0]).all()


def test_sums_are_exact_at_the_sum_of_the_ranks(tiny: BaseModel, tmp_path: Path) -> None:
    """An average of trainings would not be their average."""
    one, two = adapter(tiny, tmp_path / "1", 1), adapter(tiny, tmp_path / "2", 2, r=3)
    mean = [0.5 * a + 0.5 * b for a, b in zip(deltas(one), deltas(two), strict=True)]
    cat = merge_adapters([one, two], base=tiny, folder=tmp_path / "cat", merge_type="cat")
    for exact, by_cat in zip(mean, deltas(cat), strict=True):
        np.testing.assert_allclose(by_cat, exact, rtol=1e-4, atol=1e-5)
    assert parts(cat)[0][0][0].shape[0] == 5
    with pytest.raises(ModelError, match="different ranks go by cat"):
        merge_adapters([one, two], base=tiny, folder=tmp_path / "no")


@pytest.mark.parametrize("merge_type", MERGE_TYPES)
def test_merging_an_adapter_with_itself_changes_nothing(tiny: BaseModel, tmp_path: Path, merge_type: str) -> None:
    """An update that learnt nothing must not change the adapter, let alone double it, as peft's `linear` would."""
    one = adapter(tiny, tmp_path / "1", 1)
    merged = merge_adapters([one, one], base=tiny, folder=tmp_path / "m", merge_type=merge_type, density=1.0)
    for before, after in zip(deltas(one), deltas(merged), strict=True):
        np.testing.assert_allclose(after, before, rtol=1e-3, atol=1e-4)


def test_dora_and_wrong_calls_are_refused(tiny: BaseModel, tmp_path: Path) -> None:
    one, dora = adapter(tiny, tmp_path / "1", 1), adapter(tiny, tmp_path / "2", 2, use_dora=True)
    with pytest.raises(ModelError, match="is a DoRA adapter"):
        merge_adapters([one, dora], base=tiny, folder=tmp_path / "m")
    with pytest.raises(ConfigError, match="merge_type must be one of"):
        merge_adapters([one, one], base=tiny, folder=tmp_path / "m", merge_type="linear")
    with pytest.raises(ConfigError, match="two or more adapters"):
        merge_adapters([one], base=tiny, folder=tmp_path / "m")
    assert not (tmp_path / "m").exists()
