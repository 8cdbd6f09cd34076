"""Gradients of rows against transformers' own loss, Adam's moments against torch's, and what the projection keeps."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from compass.config import TrainingConfig
from compass.data.example import Example
from compass.encoders import CachedEncoder
from compass.errors import ModelError
from compass.training.adapters import load_with_adapter
from compass.training.formatting import encode_example
from compass.training.gradients import (
    DIMENSIONS,
    MOMENTS_FILE,
    Moments,
    ProjectedGradients,
    ProjectedUpdates,
    Sketch,
    _KeepMoments,
    row_gradient,
    row_text,
    warm_up,
)
from compass.training.models import BaseModel, load_tokenizer
from compass.training.retention.fisher import adapter_weights

CONFIG = TrainingConfig(lora_r=4, dtype="float32", max_length=64, learning_rate=1e-2)


@pytest.fixture(scope="module")
def adapter(tiny: BaseModel, examples: list[Example], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("less")
    return warm_up(examples, base=tiny, config=CONFIG, share=0.5, seed=0, cache_dir=folder)


def test_a_rows_gradient_is_that_of_its_mean_loss(tiny: BaseModel, examples: list[Example], adapter: Path) -> None:
    """Breaks if prompts count in the loss, or long answers weigh more; reference: transformers' loss and autograd."""
    model = load_with_adapter(tiny, adapter, dtype="float32", trainable=True).eval()
    tokenizer = load_tokenizer(tiny)
    for example in examples[:3]:
        row = encode_example(tokenizer, example)
        ids = torch.tensor([[*row.prompt, *row.response]])
        labels = torch.tensor([[-100] * len(row.prompt) + list(row.response)])
        weights = list(adapter_weights(model).values())
        expected = torch.autograd.grad(model(input_ids=ids, labels=labels).loss, weights)
        flat = torch.cat([gradient.flatten() for gradient in expected]).numpy()
        np.testing.assert_allclose(row_gradient(model, tokenizer, example), flat, rtol=1e-3, atol=1e-7)
        assert np.abs(flat).max() > 0


def test_cosines_survive_the_projection(tiny: BaseModel, examples: list[Example], adapter: Path) -> None:
    """Breaks if the projection mixes rows, or depends on anything but its seed."""
    gradients = ProjectedGradients(tiny, adapter, config=CONFIG, seed=3)
    texts = [row_text(example) for example in examples]
    projected = gradients.encode(texts)
    assert projected.shape == (len(examples), DIMENSIONS)
    np.testing.assert_allclose(np.linalg.norm(projected, axis=1), 1.0, rtol=1e-5)
    model = load_with_adapter(tiny, adapter, dtype="float32", trainable=True).eval()
    tokenizer = load_tokenizer(tiny)
    whole = np.stack([row_gradient(model, tokenizer, example) for example in examples])
    whole /= np.linalg.norm(whole, axis=1, keepdims=True)
    # At most sqrt(2 / 8192) = 0.016 of standard deviation: five of them over 276 pairs.
    np.testing.assert_allclose(projected @ projected.T, whole @ whole.T, atol=0.08)
    again = ProjectedGradients(tiny, adapter, config=CONFIG, seed=3)
    assert again.name == gradients.name
    np.testing.assert_array_equal(again.encode(texts[:2]), projected[:2])
    assert ProjectedGradients(tiny, adapter, config=CONFIG, seed=4).name != gradients.name


@pytest.mark.parametrize("spikes", [0, 20])
def test_the_sketch_errs_no_more_than_a_dense_projection(spikes: int) -> None:
    """Unbiased, with the variance (1 + cosine²) / dimensions of a Gaussian one or less, also where few weights carry
    all. Breaks if signs are missing or dimensions are drawn unevenly. Over 400 draws 20 % is 2.8 deviations."""
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 3000)).astype(np.float32)
    b += a
    if spikes:
        a[spikes:], b[spikes:] = a[spikes:] * 1e-3, b[spikes:] * 1e-3
    a, b = a / np.linalg.norm(a), b / np.linalg.norm(b)
    cosine = float(a @ b)
    errors = [float(sketch(a) @ sketch(b)) - cosine for sketch in (Sketch(3000, 256, seed) for seed in range(400))]
    bound = (1 + cosine**2) / 256
    assert abs(np.mean(errors)) < 4 * np.sqrt(bound / 400)
    assert np.var(errors) < 1.2 * bound


def test_moments_are_the_optimisers_and_give_its_next_step(
    tiny: BaseModel, examples: list[Example], adapter: Path, tmp_path: Path
) -> None:
    """Breaks if weights are mixed up, a correction is left out, or an epsilon is in the wrong place; reference: torch's
    AdamW, which at a rate of zero only gathers moments of two rows' gradients."""
    model = load_with_adapter(tiny, adapter, dtype="float32", trainable=True).eval()
    tokenizer = load_tokenizer(tiny)
    weights = list(adapter_weights(model).values())
    gradients = [row_gradient(model, tokenizer, example) for example in examples[:3]]

    def step(optimizer: torch.optim.Optimizer, flat: np.ndarray) -> None:
        parts = torch.from_numpy(flat).split([weight.numel() for weight in weights])
        for weight, part in zip(weights, parts, strict=True):
            weight.grad = part.reshape(weight.shape).clone()
        optimizer.step()

    optimizer = torch.optim.AdamW(weights, lr=0.0, weight_decay=0.0)
    for flat in gradients[:2]:
        step(optimizer, flat)
    state = SimpleNamespace(is_world_process_zero=True, global_step=2)
    _KeepMoments(tmp_path / MOMENTS_FILE).on_train_end(None, state, None, model=model, optimizer=optimizer)
    kept = Moments.load(tmp_path / MOMENTS_FILE)
    np.testing.assert_allclose(kept.first, 0.1 * (0.9 * gradients[0] + gradients[1]), rtol=1e-4, atol=1e-9)
    before = torch.cat([weight.detach().flatten() for weight in weights]).double()
    optimizer.param_groups[0]["lr"] = 1.0
    step(optimizer, gradients[2])
    after = torch.cat([weight.detach().flatten() for weight in weights]).double()
    np.testing.assert_allclose(kept.update(gradients[2]), (before - after).numpy(), rtol=1e-3, atol=1e-4)


def test_training_rows_are_seen_as_adam_moves_by_them(
    tiny: BaseModel, examples: list[Example], adapter: Path, tmp_path: Path
) -> None:
    """Breaks if the moments are not those of this warm-up, or plain gradients and updates share a cache."""
    plain, moved = (kind(tiny, adapter, config=CONFIG, seed=3) for kind in (ProjectedGradients, ProjectedUpdates))
    moments = Moments.load(adapter.parent / MOMENTS_FILE)
    # All 24 rows, in two epochs of three batches.
    assert (moments.steps, moments.betas) == (6, (0.9, 0.999))
    model = load_with_adapter(tiny, adapter, dtype="float32", trainable=True).eval()
    gradient = row_gradient(model, load_tokenizer(tiny), examples[0])
    assert len(moments.first) == len(moments.second) == len(gradient)
    expected = Sketch(len(gradient), DIMENSIONS, 3)(moments.update(gradient))
    text = row_text(examples[0])
    np.testing.assert_allclose(moved.encode([text])[0], expected / np.linalg.norm(expected), atol=1e-5)
    cached = CachedEncoder(moved, tmp_path).encode([text])
    assert CachedEncoder(ProjectedUpdates(tiny, adapter, config=CONFIG, seed=3), tmp_path).missing([text]) == []
    assert CachedEncoder(plain, tmp_path).missing([text]) == [text]
    assert float((cached @ plain.encode([text]).T)[0, 0]) < 0.99


@pytest.mark.filterwarnings("error:`is_gradient_checkpointing`:FutureWarning")
def test_without_a_warm_up_the_adapter_is_new_and_seeded(
    tiny: BaseModel, examples: list[Example], tmp_path: Path
) -> None:
    """Breaks if share 0 still trains, what was drawn before decides the new weights, or half of the gradient that is
    not zero (B's) is lost."""
    folders = []
    for name, waste in (("a", 0), ("b", 5)):
        torch.rand(waste)
        folders.append(warm_up(examples, base=tiny, config=CONFIG, share=0.0, seed=0, cache_dir=tmp_path / name))
    one, two = ((folder / "adapter_model.safetensors").read_bytes() for folder in folders)
    assert one == two
    assert not (folders[0].parent / MOMENTS_FILE).exists()
    model = load_with_adapter(tiny, folders[0], dtype="float32", trainable=True).eval()
    flat, start = row_gradient(model, load_tokenizer(tiny), examples[0]), 0
    for name, weight in adapter_weights(model).items():
        part = flat[start : start + weight.numel()]
        start += weight.numel()
        assert np.any(part) == ("lora_B" in name)
    texts = [row_text(example) for example in examples[:2]]
    plain, moved = (
        kind(tiny, folders[0], config=CONFIG, seed=0).encode(texts) for kind in (ProjectedGradients, ProjectedUpdates)
    )
    np.testing.assert_array_equal(plain, moved)


def test_damaged_moments_are_named(tiny: BaseModel, adapter: Path, tmp_path: Path) -> None:
    """Breaks if a broken file ends in a stack trace, or in gradients that pass for updates."""
    (tmp_path / "adapter").symlink_to(adapter)
    (tmp_path / MOMENTS_FILE).write_bytes(b"x")
    with pytest.raises(ModelError, match=r"Remove the folder .*; the adapter is then warmed up again"):
        ProjectedUpdates(tiny, tmp_path / "adapter", config=CONFIG, seed=0)


def test_a_warm_up_is_made_once(tiny: BaseModel, examples: list[Example], adapter: Path) -> None:
    """Breaks if a second run trains again, or another seed finds the first one's adapter."""
    before = (adapter / "adapter_model.safetensors").stat().st_mtime_ns
    cache = adapter.parents[2]
    assert warm_up(examples, base=tiny, config=CONFIG, share=0.5, seed=0, cache_dir=cache) == adapter
    assert (adapter / "adapter_model.safetensors").stat().st_mtime_ns == before
    assert warm_up(examples, base=tiny, config=CONFIG, share=0.5, seed=1, cache_dir=cache) != adapter
