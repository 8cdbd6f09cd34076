"""Gradients of rows against transformers' own loss, and what the projection keeps of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from compass.config import TrainingConfig
from compass.data.example import Example
from compass.training.fisher import adapter_weights
from compass.training.formatting import encode_example
from compass.training.gradients import (
    DIMENSIONS,
    ProjectedGradients,
    row_gradient,
    row_text,
    sparse_projection,
    warm_up,
)
from compass.training.models import BaseModel, load_tokenizer, load_with_adapter

CONFIG = TrainingConfig(lora_r=4, dtype="float32", max_length=64, learning_rate=1e-2)


@pytest.fixture(scope="module")
def adapter(tiny: BaseModel, examples: list[Example], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("less")
    return warm_up(examples, base=tiny, config=CONFIG, share=0.5, seed=0, cache_dir=folder)


def test_a_rows_gradient_is_that_of_its_mean_loss(tiny: BaseModel, examples: list[Example], adapter: Path) -> None:
    """Breaks if prompts count in the loss, or long answers weigh more; reference: transformers' loss and autograd."""
    import torch

    model = load_with_adapter(tiny, adapter, dtype="float32", trainable=True).eval()
    tokenizer = load_tokenizer(tiny)
    for example in examples[:3]:
        row = encode_example(tokenizer, example, max_length=64)
        ids = torch.tensor([[*row.prompt, *row.response]])
        labels = torch.tensor([[-100] * len(row.prompt) + list(row.response)])
        weights = list(adapter_weights(model).values())
        expected = torch.autograd.grad(model(input_ids=ids, labels=labels).loss, weights)
        flat = torch.cat([gradient.flatten() for gradient in expected]).numpy()
        np.testing.assert_allclose(row_gradient(model, tokenizer, example, max_length=64), flat, rtol=1e-3, atol=1e-7)
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
    whole = np.stack([row_gradient(model, tokenizer, example, max_length=64) for example in examples])
    whole /= np.linalg.norm(whole, axis=1, keepdims=True)
    # The standard deviation is about 1 / sqrt(1024) = 0.03 for dense vectors.
    np.testing.assert_allclose(projected @ projected.T, whole @ whole.T, atol=0.2)
    again = ProjectedGradients(tiny, adapter, config=CONFIG, seed=3)
    assert again.name == gradients.name
    np.testing.assert_array_equal(again.encode(texts[:2]), projected[:2])
    assert ProjectedGradients(tiny, adapter, config=CONFIG, seed=4).name != gradients.name


def test_inner_products_are_kept_in_expectation() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 5000)).astype(np.float32)
    b += a
    found = [float((p @ a) @ (p @ b)) for p in (sparse_projection(5000, seed) for seed in range(5))]
    assert np.mean(found) == pytest.approx(float(a @ b), rel=0.05)


def test_a_warm_up_is_made_once(tiny: BaseModel, examples: list[Example], adapter: Path) -> None:
    """Breaks if a second run trains again, or another seed finds the first one's adapter."""
    before = (adapter / "adapter_model.safetensors").stat().st_mtime_ns
    cache = adapter.parents[2]
    assert warm_up(examples, base=tiny, config=CONFIG, share=0.5, seed=0, cache_dir=cache) == adapter
    assert (adapter / "adapter_model.safetensors").stat().st_mtime_ns == before
    assert warm_up(examples, base=tiny, config=CONFIG, share=0.5, seed=1, cache_dir=cache) != adapter
