"""What a row would teach an adapter: its gradient, projected at random, as an encoder (LESS, Xia et al. 2024).

arXiv 2402.04333 warms an adapter up on 5 % of the pool, takes each row's gradient at it, for training rows what Adam
would make of it, and compares cosines after a random projection. Ours: the state after the warm-up alone (the authors
add up several), and a projection with one random sign for each weight (count sketch: Charikar et al. 2002; Weinberger
et al. 2009, arXiv 0902.2206), which errs no more than a dense one and costs less than the gradient itself.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from transformers import TrainerCallback

from compass.config import TrainingConfig
from compass.data.example import Example, Message
from compass.errors import ModelError
from compass.runs import layout
from compass.runs.files import replacing
from compass.training.adapters import load_with_adapter
from compass.training.formatting import encode_example
from compass.training.head import IGNORED, response_nll
from compass.training.models import BaseModel, load_base, load_tokenizer, resolved_dtype
from compass.training.quiet import without_old_names
from compass.training.retention.fisher import adapter_weights
from compass.training.trainer import lora_config, save_adapter, train

logger = logging.getLogger(__name__)

FloatArray = npt.NDArray[np.float32]

DIMENSIONS = 8192
"""Of a projected gradient, as the authors take: cosines are then off by about 1 / sqrt(8192) = .011."""
FEWEST_WARMUP_ROWS = 64
"""Rows of a warm-up, where the pool has them [ours]: 5 % of a small pool leave nothing in Adam's moments."""
MOMENTS_FILE = "moments.safetensors"
"""Beside the `adapter` folder of a warm-up: the state of its optimiser."""


def row_text(example: Example) -> str:
    """Return all of a row that its gradient depends on as one text, so that `CachedEncoder` can remember it."""
    context = [[message.role, message.content] for message in example.context]
    return json.dumps([context, example.prompt, example.response], ensure_ascii=False)


@dataclass(frozen=True, eq=False)
class Moments:
    """Adam's running means of an adapter's gradients and their squares, in the order of its weights."""

    first: FloatArray
    """(n,) not corrected for their start at zero, as the optimiser keeps them."""
    second: FloatArray
    steps: int
    betas: tuple[float, float]
    epsilon: float

    def update(self, gradient: FloatArray) -> FloatArray:
        """Return the direction in which Adam's next step would go if `gradient` (n,) were its batch's (n,)."""
        (b1, b2), t = self.betas, self.steps + 1
        first = (b1 * self.first + (1 - b1) * gradient) / (1 - b1**t)
        second = (b2 * self.second + (1 - b2) * np.square(gradient)) / (1 - b2**t)
        direction: FloatArray = (first / (np.sqrt(second) + self.epsilon)).astype(np.float32)
        return direction

    def save(self, path: Path) -> None:
        """Write them, whole or not at all."""
        from safetensors.numpy import save_file

        about = {"steps": self.steps, "betas": self.betas, "epsilon": self.epsilon}
        with replacing(path) as partial:
            save_file({"first": self.first, "second": self.second}, partial, metadata={"compass": json.dumps(about)})

    @classmethod
    def load(cls, path: Path) -> Moments:
        """Read what `save` wrote. Raises ModelError if it can't be read."""
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(path, framework="numpy") as file:
                about = json.loads((file.metadata() or {})["compass"])
                first, second = file.get_tensor("first"), file.get_tensor("second")
            return cls(first, second, int(about["steps"]), tuple(about["betas"]), float(about["epsilon"]))
        except (OSError, KeyError, ValueError, SafetensorError) as error:
            raise ModelError(
                f"{path}: no moments of a warm-up can be read from here ({error}). Remove the folder {path.parent}; "
                "the adapter is then warmed up again."
            ) from error


def warm_up(
    pool: Sequence[Example], *, base: BaseModel, config: TrainingConfig, share: float, seed: int, cache_dir: Path
) -> Path:
    """Train an adapter on a random share of the pool and return its folder; made once for the same inputs.

    share: 0 leaves the adapter as it is made, without moments. A killed warm-up goes on from its last checkpoint; a
    second process waits for the first. Raises what `train` raises.
    """
    import torch
    from filelock import FileLock

    n = min(len(pool), max(FEWEST_WARMUP_ROWS, round(share * len(pool)))) if share else 0
    drawn = [pool[i] for i in np.sort(np.random.default_rng([seed, 1]).permutation(len(pool))[:n])]
    # What decides neither weights nor moments is left out of the folder's name.
    plain = TrainingConfig()
    config = dataclasses.replace(
        config, adapter="", max_steps=-1, num_train_epochs=config.epochs, report_to="none",
        class_balance=plain.class_balance, save_steps=plain.save_steps, logging_steps=plain.logging_steps,
        max_serving_rank=plain.max_serving_rank, averaged_trainings=plain.averaged_trainings,
        tail_average=0.0,
    )  # fmt: skip
    content = [base.name, base.revision, seed, dataclasses.asdict(config), [row_text(row) for row in drawn]]
    folder = Path(cache_dir) / "less" / hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with FileLock(folder / "lock"):
        if (folder / layout.ADAPTER).is_dir():
            return folder / layout.ADAPTER
        # A new adapter's weights come from the global generator, whatever was drawn from it before.
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            if drawn:
                logger.info("Warming up an adapter on %d of %d pool rows, for their gradients", n, len(pool))
                keep = _KeepMoments(folder / MOMENTS_FILE)
                train(drawn, base=base, config=config, output_dir=folder, seed=seed, callbacks=[keep])
            else:
                from peft import get_peft_model

                model = load_base(base, dtype=config.dtype, load_in_4bit=config.load_in_4bit)
                with without_old_names():
                    adapted = get_peft_model(model, lora_config(base, config))
                save_adapter(adapted, base, folder / layout.ADAPTER)
    return folder / layout.ADAPTER


class ProjectedGradients:
    """Unit vectors of rows from the gradient of their mean response loss with respect to an adapter.

    An `Encoder` of what `row_text` returns. The model is loaded when the first row has to be encoded.
    """

    def __init__(self, base: BaseModel, adapter: Path, *, config: TrainingConfig, seed: int) -> None:
        """Take gradients at the adapter that `warm_up` returned. seed: of the projection."""
        weights = _short_hash(adapter / layout.WEIGHTS_FILE)
        self.name = (
            f"{base.name}, gradients at the adapter {weights}, {DIMENSIONS} dimensions of seed {seed}, "
            f"{config.max_length} tokens, {resolved_dtype(config.dtype)}"
        )
        self.revision = base.revision
        self._base, self._adapter, self._config, self._seed = base, adapter, config, seed
        self._loaded: tuple[Any, Any, Sketch] | None = None

    def encode(self, texts: Sequence[str]) -> FloatArray:
        """Return (n, DIMENSIONS) float32 rows of length 1, in the order of `texts`; one backward pass each.

        Raises ModelError for a gradient that is not finite or is zero.
        """
        rows: FloatArray = np.zeros((len(texts), DIMENSIONS), dtype=np.float32)
        if not texts:
            return rows
        if self._loaded is None:
            model = load_with_adapter(
                self._base, self._adapter, dtype=self._config.dtype, load_in_4bit=self._config.load_in_4bit,
                trainable=True,
            ).eval()  # fmt: skip
            size = sum(weight.numel() for weight in adapter_weights(model).values())
            self._loaded = load_tokenizer(self._base), model, Sketch(size, DIMENSIONS, self._seed)
        tokenizer, model, sketch = self._loaded
        for i, text in enumerate(texts):
            context, prompt, response = json.loads(text)
            example = Example(
                id="", prompt=prompt, response=response, context=tuple(Message(role, said) for role, said in context)
            )
            projected = sketch(self._direction(row_gradient(model, tokenizer, example)))
            length = float(np.linalg.norm(projected))
            if not np.isfinite(length) or length == 0.0:
                raise ModelError(
                    f"The gradient of a row is {'zero' if length == 0.0 else 'not finite'}, so it has no "
                    f"direction: the row has {len(prompt)} characters of prompt and {len(response)} of response. "
                    "Use dtype float32, or clean the rows."
                )
            rows[i] = projected / length
        return rows

    def _direction(self, gradient: FloatArray) -> FloatArray:
        return gradient


class ProjectedUpdates(ProjectedGradients):
    """The same of what Adam would make of each gradient after the warm-up: how a row would move the adapter.

    Without a warm-up there are no moments, and these are the gradients.
    """

    def __init__(self, base: BaseModel, adapter: Path, *, config: TrainingConfig, seed: int) -> None:
        """Take updates at the adapter that `warm_up` returned. Raises ModelError if its moments can't be read."""
        super().__init__(base, adapter, config=config, seed=seed)
        path = adapter.parent / MOMENTS_FILE
        self._moments = Moments.load(path) if path.is_file() else None
        if self._moments:
            self.name += f", Adam's moments {_short_hash(path)}"

    def _direction(self, gradient: FloatArray) -> FloatArray:
        return self._moments.update(gradient) if self._moments else gradient


class Sketch:
    """A random projection that adds each weight, by a random sign, to one of the dimensions; a few bytes a weight."""

    def __init__(self, size: int, dimensions: int, seed: int) -> None:
        """Project (size,) to (dimensions,); the same seed gives the same projection."""
        # The upper half of the bins is the lower one with the other sign.
        self._bins = np.random.default_rng([seed, 2]).integers(2 * dimensions, size=size)
        self._dimensions = dimensions

    def __call__(self, vector: FloatArray) -> FloatArray:
        """Return the projection: its inner products are those of the vectors in expectation, of variance
        (1 + cosine²) / dimensions at most for unit vectors."""
        sums = np.bincount(self._bins, weights=vector, minlength=2 * self._dimensions)
        projected: FloatArray = (sums[: self._dimensions] - sums[self._dimensions :]).astype(np.float32)
        return projected


def row_gradient(model: Any, tokenizer: Any, example: Example) -> FloatArray:
    """Return the gradient of a row's mean loss over its response tokens, for all adapter weights in one vector."""
    import torch

    row = encode_example(tokenizer, example)
    ids = torch.tensor([[*row.prompt, *row.response]], device=model.device)
    labels = torch.tensor([[IGNORED] * len(row.prompt) + list(row.response)], device=model.device)
    loss = response_nll(model, {"input_ids": ids, "attention_mask": torch.ones_like(ids)}, labels) / len(row.response)
    return _flat(torch.autograd.grad(loss, list(adapter_weights(model).values())))


class _KeepMoments(TrainerCallback):  # type: ignore[misc]
    """Write the optimiser's moments when a training ends, before its adapter is saved."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if not state.is_world_process_zero:
            return
        model, optimizer = kwargs["model"], kwargs["optimizer"]
        kept = [optimizer.state[weight] for weight in adapter_weights(model).values()]
        group = optimizer.param_groups[0]
        Moments(
            _flat([each["exp_avg"] for each in kept]),
            _flat([each["exp_avg_sq"] for each in kept]),
            int(state.global_step),
            (float(group["betas"][0]), float(group["betas"][1])),
            float(group["eps"]),
        ).save(self._path)


def _flat(tensors: Sequence[Any]) -> FloatArray:
    import torch

    flat: FloatArray = torch.cat([tensor.detach().float().flatten() for tensor in tensors]).cpu().numpy()
    return flat


def _short_hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]
