"""Tests of the Fisher information against closed forms and against gradients by hand."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from compass.config import TrainingConfig
from compass.data.example import Example
from compass.errors import ModelError
from compass.training.adapters import load_with_adapter
from compass.training.formatting import encode_example
from compass.training.models import BaseModel, load_tokenizer
from compass.training.retention.fisher import Fisher, accumulate, adapter_fisher, adapter_weights, diagonal_fisher
from compass.training.trainer import train

CONFIG = TrainingConfig(max_steps=3, per_device_train_batch_size=4, learning_rate=5e-3, lora_r=4, save_steps=50)


def trained(tiny: BaseModel, examples: list[Example], folder: Path, **options: object) -> Path:
    return train(examples, base=tiny, config=dataclasses.replace(CONFIG, **options), output_dir=folder, seed=0).adapter


def test_logistic_regression_has_its_closed_form() -> None:
    """d/dw of -log p(y|x) is (sigma(wx) - y) x, so the diagonal is the mean of (sigma - y)² x²."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(50, 3)), rng.integers(0, 2, size=50)
    w = rng.normal(size=3)
    weight = torch.tensor(w, requires_grad=True)

    def nll(i: int) -> torch.Tensor:
        logit = torch.tensor(x[i]) @ weight
        return torch.nn.functional.binary_cross_entropy_with_logits(logit, torch.tensor(float(y[i])).double())

    found = diagonal_fisher({"w": weight}, range(50), nll)["w"].numpy()
    sigma = 1 / (1 + np.exp(-x @ w))
    expected = ((sigma - y)[:, None] ** 2 * x**2).mean(axis=0)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    # The square of the batch's mean gradient would be another number: the mistake that this guards against.
    averaged = ((sigma - y)[:, None] * x).mean(axis=0) ** 2
    assert (averaged < 0.5 * expected).all()
    assert weight.grad is None


def test_with_labels_drawn_from_the_model_it_approaches_the_fisher_of_logistic_regression() -> None:
    """E over y ~ p of the squared score is sigma (1 - sigma) x²; 20,000 draws are within 5 % (about 5 deviations)."""
    rng = np.random.default_rng(1)
    n, w = 20_000, np.array([0.5, -1.0])
    x = rng.normal(size=(n, 2))
    sigma = 1 / (1 + np.exp(-x @ w))
    y = (rng.random(n) < sigma).astype(float)
    weight = torch.tensor(w, requires_grad=True)
    rows, labels = torch.tensor(x), torch.tensor(y)
    found = diagonal_fisher(
        {"w": weight},
        range(n),
        lambda i: torch.nn.functional.binary_cross_entropy_with_logits(rows[i] @ weight, labels[i]),
    )["w"].numpy()
    np.testing.assert_allclose(found, ((sigma * (1 - sigma))[:, None] * x**2).mean(axis=0), rtol=0.05)


@pytest.mark.parametrize("kind", [{}, {"use_dora": True}, {"use_rslora": True}, {"lora_dropout": 0.5}])
def test_it_is_the_mean_of_squared_gradients_of_each_response(
    tiny: BaseModel, examples: list[Example], tmp_path: Path, kind: dict[str, object]
) -> None:
    """Against transformers' own loss and backward, one example at a time, over adapter weights alone."""
    adapter = trained(tiny, examples, tmp_path, **kind)
    fisher = adapter_fisher(examples[:5], base=tiny, adapter=adapter, config=CONFIG)

    model = load_with_adapter(tiny, adapter, trainable=True)
    model.eval()
    tokenizer = load_tokenizer(tiny)
    expected: dict[str, torch.Tensor] = {}
    for row in examples[:5]:
        tokens = encode_example(tokenizer, row)
        ids = torch.tensor([[*tokens.prompt, *tokens.response]])
        labels = torch.tensor([[-100] * len(tokens.prompt) + list(tokens.response)])
        model.zero_grad()
        (model(input_ids=ids, labels=labels).loss * len(tokens.response)).backward()
        for name, parameter in model.named_parameters():
            if parameter.grad is not None:
                expected[name] = expected.get(name, 0) + parameter.grad.square() / 5
    assert all("lora_" in name for name in expected)
    by_saved_name = {
        name.replace(".default", "").replace("magnitude_vector.weight", "magnitude_vector"): value
        for name, value in expected.items()
    }
    saved = load_file(adapter / "adapter_model.safetensors")
    assert fisher.diagonal.keys() == by_saved_name.keys() == saved.keys()
    assert fisher.examples == 5
    for name, value in by_saved_name.items():
        torch.testing.assert_close(fisher.diagonal[name], value, rtol=1e-3, atol=1e-9)
        np.testing.assert_array_equal(fisher.weights[name].numpy(), saved[name])
    assert sum(float(value.sum()) for value in fisher.diagonal.values()) > 0


def test_a_saved_file_reads_back_with_the_same_bytes(tiny: BaseModel, examples: list[Example], tmp_path: Path) -> None:
    adapter = trained(tiny, examples, tmp_path)
    fisher = adapter_fisher(examples[:3], base=tiny, adapter=adapter, config=CONFIG)
    path = fisher.save(tmp_path / "fisher.safetensors")
    again = Fisher.load(path)
    assert (again.examples, again.versions) == (3, 1)
    assert all(torch.equal(again.diagonal[name], fisher.diagonal[name]) for name in fisher.diagonal)
    assert all(torch.equal(again.weights[name], fisher.weights[name]) for name in fisher.weights)
    assert again.save(tmp_path / "again.safetensors").read_bytes() == path.read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["adapter", "again.safetensors", "fisher.safetensors"]

    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ModelError, match="no Fisher information can be read"):
        Fisher.load(path)
    with pytest.raises(ModelError, match="no Fisher information can be read"):
        Fisher.load(adapter / "adapter_model.safetensors")


def test_versions_add_up_and_the_weights_are_the_latest() -> None:
    first = Fisher({"a": torch.tensor([1.0, 2.0])}, {"a": torch.tensor([0.0, 0.0])}, 10)
    second = Fisher({"a": torch.tensor([4.0, 0.0])}, {"a": torch.tensor([1.0, 1.0])}, 5)
    both = accumulate(accumulate(first, second), second)
    assert both.diagonal["a"].tolist() == [9.0, 2.0]
    assert both.weights["a"].tolist() == [1.0, 1.0]
    assert (both.examples, both.versions) == (20, 3)
    other = Fisher({"a": torch.ones(3)}, {"a": torch.ones(3)}, 1)
    with pytest.raises(ModelError, match=r"does not fit the adapter: 1 of 1 weights differ, the first is a"):
        accumulate(first, other)


def test_no_rows_and_no_adapter_are_refused(tiny: BaseModel, examples: list[Example], tmp_path: Path) -> None:
    adapter = trained(tiny, examples, tmp_path)
    with pytest.raises(ModelError, match="at least one row with a response"):
        adapter_fisher([Example(id="1", prompt="a")], base=tiny, adapter=adapter, config=CONFIG)
    with pytest.raises(ModelError, match="no trainable adapter weight"):
        adapter_weights(load_with_adapter(tiny, adapter))
