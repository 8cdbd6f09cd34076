"""Diagonal empirical Fisher information of adapter weights: how much each one matters for what the adapter knows.

`F_i = 1/N · Σ_n (∂ log p(y_n | x_n) / ∂θ_i)²`, from the gradient of each example (Kirkpatrick et al. 2017; which
estimator the paper uses is not known). The square of a gradient that was averaged over a batch is another, smaller
quantity: gradients of different examples cancel in it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence, Sized
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from compass.config import TrainingConfig
from compass.data.example import Example
from compass.errors import ModelError
from compass.progress import progress
from compass.runs.files import replacing
from compass.training.adapters import load_with_adapter
from compass.training.formatting import encode_fitting
from compass.training.head import IGNORED, response_nll
from compass.training.models import BaseModel, load_tokenizer

FORMAT = 1

Row = TypeVar("Row")


@dataclass(frozen=True, eq=False)
class Fisher:
    """The Fisher information of an adapter and the weights that it was measured at; float32 tensors on the CPU."""

    diagonal: Mapping[str, Any]
    """F by the names of adapter_model.safetensors, each in the shape of its weight."""
    weights: Mapping[str, Any]
    """θ*: the adapter's weights, by the same names."""
    examples: int
    """Examples behind it, over all versions that it was accumulated from."""
    versions: int = 1
    """Versions that it was accumulated from; 1: the latest alone."""

    def save(self, path: Path) -> Path:
        """Write a safetensors file atomically; the same content gives the same bytes."""
        from safetensors.torch import save_file

        tensors = {f"fisher.{name}": value.contiguous() for name, value in self.diagonal.items()}
        tensors |= {f"weights.{name}": value.contiguous() for name, value in self.weights.items()}
        about = {"format": FORMAT, "examples": self.examples, "versions": self.versions}
        with replacing(path) as partial:
            # One entry: safetensors writes several in an order that changes from run to run.
            save_file(tensors, partial, metadata={"compass": json.dumps(about)})
        return path

    @classmethod
    def load(cls, path: Path) -> Fisher:
        """Read what `save` wrote. Raises ModelError if it can't be read."""
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(path, framework="pt") as file:
                about = json.loads((file.metadata() or {})["compass"])
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no iterator)
            if about["format"] != FORMAT:
                raise ModelError(f"{path}: Fisher file of format {about['format']}, this version reads {FORMAT}.")
            return cls(
                {name.removeprefix("fisher."): value for name, value in tensors.items() if name.startswith("fisher.")},
                {name.removeprefix("weights."): t for name, t in tensors.items() if name.startswith("weights.")},
                int(about["examples"]),
                int(about["versions"]),
            )
        except (OSError, KeyError, ValueError, SafetensorError) as error:
            raise ModelError(
                f"{path}: no Fisher information can be read from here ({error}). Estimate it again."
            ) from error

    def check_fits(self, weights: Mapping[str, Any]) -> None:
        """Raise ModelError unless the weights have the names and shapes of this Fisher information."""
        theirs = {name: tuple(value.shape) for name, value in weights.items()}
        ours = {name: tuple(value.shape) for name, value in self.diagonal.items()}
        if theirs != ours:
            odd = sorted(name for name in theirs.keys() | ours.keys() if theirs.get(name) != ours.get(name))
            raise ModelError(
                f"The Fisher information does not fit the adapter: {len(odd)} of {len(theirs)} weights differ, the "
                f"first is {odd[0]} ({ours.get(odd[0], 'missing')} against {theirs.get(odd[0], 'missing')}). "
                "Start from the adapter that it was measured on, with the same rank, target modules and kind."
            )


def accumulate(previous: Fisher, latest: Fisher) -> Fisher:
    """Add up the information of earlier versions and of the latest: F = F_previous + F_latest.

    The weights are the latest version's (online EWC, Schwarz et al. 2018).
    Raises ModelError if the two belong to different kinds of adapter.
    """
    latest.check_fits(previous.weights)
    return Fisher(
        {name: previous.diagonal[name] + value for name, value in latest.diagonal.items()},
        latest.weights,
        previous.examples + latest.examples,
        previous.versions + latest.versions,
    )


def adapter_fisher(examples: Sequence[Example], *, base: BaseModel, adapter: Path, config: TrainingConfig) -> Fisher:
    """Measure an adapter's Fisher information on the responses of `examples`, one backward pass each.

    Rows longer than `max_length` are left out, as in training.
    Raises ModelError if there is no response to measure on, or if base and adapter do not fit.
    """
    tokenizer = load_tokenizer(base)
    encoded, _too_long = encode_fitting(tokenizer, [row for row in examples if row.response], config.max_length)
    rows = [
        {"input_ids": [*row.prompt, *row.response], "labels": [IGNORED] * len(row.prompt) + list(row.response)}
        for row in encoded
    ]
    model = load_with_adapter(base, adapter, dtype=config.dtype, load_in_4bit=config.load_in_4bit, trainable=True)
    return model_fisher(model, rows)


def model_fisher(model: Any, rows: Sequence[Mapping[str, Sequence[int]]]) -> Fisher:
    """Measure the Fisher information of a peft model's trainable adapter weights.

    rows: `input_ids` and `labels` of each example, IGNORED (-100) where there is no loss, as trl's trainer takes them.
    Dropout is off meanwhile. Raises ModelError for no rows, or for a model without trainable adapter weights.
    """
    import torch

    weights = adapter_weights(model)

    def nll(row: Mapping[str, Sequence[int]]) -> Any:
        ids = torch.tensor([list(row["input_ids"])], device=model.device)
        labels = torch.tensor([list(row["labels"])], device=model.device)
        return response_nll(model, {"input_ids": ids, "attention_mask": torch.ones_like(ids)}, labels)

    was_training = model.training
    model.eval()
    try:
        diagonal = diagonal_fisher(weights, rows, nll)
    finally:
        model.train(was_training)
    return Fisher(
        {name: value.cpu() for name, value in diagonal.items()},
        {name: value.detach().float().cpu().clone() for name, value in weights.items()},
        len(rows),
    )


def diagonal_fisher(
    parameters: Mapping[str, Any], rows: Iterable[Row], negative_log_likelihood: Callable[[Row], Any]
) -> dict[str, Any]:
    """Return the mean over examples of the squared gradient, float32, by parameter name.

    negative_log_likelihood: the scalar -log p(y|x) of one row, computed from the parameters. Raises ModelError for no
    rows or for a gradient that is not finite.
    """
    import torch

    names, tensors = list(parameters), list(parameters.values())
    sums = [torch.zeros_like(tensor, dtype=torch.float32) for tensor in tensors]
    count = 0
    with progress("Fisher information", len(rows) if isinstance(rows, Sized) else 0) as advance:
        for row in rows:
            gradients = torch.autograd.grad(negative_log_likelihood(row), tensors, allow_unused=True)
            for total, gradient in zip(sums, gradients, strict=True):
                if gradient is not None:
                    total += gradient.detach().float().square()
            count += 1
            advance()
    if not count:
        raise ModelError("The Fisher information needs at least one row with a response, and there is none.")
    for name, total in zip(names, sums, strict=True):
        if not torch.isfinite(total).all():
            raise ModelError(f"The gradient of {name} is not finite on some row. Use dtype float32, or clean the rows.")
    return {name: total / count for name, total in zip(names, sums, strict=True)}


def adapter_weights(model: Any) -> dict[str, Any]:
    """Return a peft model's trainable adapter weights by the names of adapter_model.safetensors.

    Raises ModelError if there are none.
    """
    # `lora_A.default.weight` is saved as `lora_A.weight`, and DoRA's `lora_magnitude_vector.default.weight` bare.
    found = {
        re.sub(r"(lora_(?!magnitude)\w+)\.[^.]+|(lora_magnitude_vector)\.[^.]+\.weight$", r"\1\2", name): parameter
        for name, parameter in model.named_parameters()
        if parameter.requires_grad and "lora_" in name
    }
    if not found:
        raise ModelError(
            "The model has no trainable adapter weight. Load the adapter with PeftModel.from_pretrained(..., "
            "is_trainable=True), or hand the trainer a LoraConfig."
        )
    return found
