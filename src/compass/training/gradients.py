"""What a row would teach an adapter: its gradient, projected at random, as an encoder (LESS, Xia et al. 2024).

arXiv 2402.04333 warms an adapter up on 5 % of the pool, takes each row's gradient at it and compares cosines after a
random projection to 8,192 dimensions. Ours: one checkpoint, gradients as they are (the authors divide those of training
rows by Adam's moments), and a very sparse projection (Li et al. 2006) to DIMENSIONS, which a CPU can do.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from compass.config import TrainingConfig
from compass.data.example import Example, Message
from compass.training.fisher import adapter_weights
from compass.training.formatting import encode_example
from compass.training.head import IGNORED, response_nll
from compass.training.models import BaseModel, load_tokenizer, load_with_adapter
from compass.training.trainer import train

logger = logging.getLogger(__name__)

FloatArray = npt.NDArray[np.float32]

DIMENSIONS = 1024
FEWEST_WARMUP_ROWS = 8


def row_text(example: Example) -> str:
    """Return all of a row that its gradient depends on as one text, so that `CachedEncoder` can remember it."""
    context = [[message.role, message.content] for message in example.context]
    return json.dumps([context, example.prompt, example.response], ensure_ascii=False)


def warm_up(
    pool: Sequence[Example], *, base: BaseModel, config: TrainingConfig, share: float, seed: int, cache_dir: Path
) -> Path:
    """Train an adapter on a random share of the pool and return its folder; made once for the same inputs.

    Raises what `train` raises.
    """
    n = min(len(pool), max(FEWEST_WARMUP_ROWS, round(share * len(pool))))
    drawn = [pool[i] for i in np.sort(np.random.default_rng([seed, 1]).permutation(len(pool))[:n])]
    config = dataclasses.replace(config, adapter="", max_steps=-1, report_to="none")
    content = [base.name, base.revision, seed, dataclasses.asdict(config), [row_text(row) for row in drawn]]
    folder = Path(cache_dir) / "less" / hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]
    if not (folder / "adapter").is_dir():
        logger.info("Warming an adapter up on %d of %d pool rows, for their gradients", n, len(pool))
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        train(drawn, base=base, config=config, output_dir=folder, seed=seed)
    return folder / "adapter"


class ProjectedGradients:
    """Unit vectors of rows from the gradient of their mean response loss with respect to an adapter.

    An `Encoder` of what `row_text` returns. The model is loaded when the first row has to be encoded.
    """

    def __init__(self, base: BaseModel, adapter: Path, *, config: TrainingConfig, seed: int) -> None:
        """Take gradients at this adapter. seed: of the projection."""
        weights = hashlib.sha256((adapter / "adapter_model.safetensors").read_bytes()).hexdigest()[:16]
        self.name = (
            f"{base.name}, gradients at the adapter {weights}, {DIMENSIONS} dimensions of seed {seed}, "
            f"{config.max_length} tokens, {config.dtype}"
        )
        self.revision = base.revision
        self._base, self._adapter, self._config, self._seed = base, adapter, config, seed
        self._loaded: tuple[Any, Any, Any] | None = None

    def encode(self, texts: Sequence[str]) -> FloatArray:
        """Return (n, DIMENSIONS) float32 rows of length 1, in the order of `texts`; one backward pass each."""
        rows: FloatArray = np.zeros((len(texts), DIMENSIONS), dtype=np.float32)
        if not texts:
            return rows
        if self._loaded is None:
            model = load_with_adapter(self._base, self._adapter, dtype=self._config.dtype, trainable=True).eval()
            size = sum(weight.numel() for weight in adapter_weights(model).values())
            self._loaded = load_tokenizer(self._base), model, sparse_projection(size, self._seed)
        tokenizer, model, projection = self._loaded
        for i, text in enumerate(texts):
            context, prompt, response = json.loads(text)
            example = Example(
                id="", prompt=prompt, response=response, context=tuple(Message(role, said) for role, said in context)
            )
            projected = projection @ row_gradient(model, tokenizer, example, max_length=self._config.max_length)
            rows[i] = projected / max(float(np.linalg.norm(projected)), np.finfo(np.float32).tiny)
        return rows


def row_gradient(model: Any, tokenizer: Any, example: Example, *, max_length: int) -> FloatArray:
    """Return the gradient of a row's mean loss over its response tokens, for all adapter weights in one vector."""
    import torch

    row = encode_example(tokenizer, example, max_length=max_length)
    ids = torch.tensor([[*row.prompt, *row.response]], device=model.device)
    labels = torch.tensor([[IGNORED] * len(row.prompt) + list(row.response)], device=model.device)
    loss = response_nll(model, {"input_ids": ids, "attention_mask": torch.ones_like(ids)}, labels) / len(row.response)
    gradients = torch.autograd.grad(loss, list(adapter_weights(model).values()))
    flat: FloatArray = torch.cat([gradient.detach().float().flatten() for gradient in gradients]).cpu().numpy()
    return flat


def sparse_projection(size: int, seed: int) -> Any:
    """Return a (DIMENSIONS, size) float32 CSR matrix that keeps inner products in expectation."""
    from sklearn.random_projection import SparseRandomProjection

    fitted = SparseRandomProjection(DIMENSIONS, random_state=seed).fit(np.zeros((1, size), dtype=np.float32))
    return fitted.components_.astype(np.float32)
