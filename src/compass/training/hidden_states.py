"""A base model's own view of a text, as an encoder: its last hidden states, pooled."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from compass.data.example import Example
from compass.training.formatting import encode_example
from compass.training.models import BaseModel, load_base, load_tokenizer, resolved_dtype

FloatArray = npt.NDArray[np.float32]

BATCH_ROWS = 16


class HiddenStates:
    """Unit vectors of prompts from the base model's last layer, later tokens weighing more (SGPT, arXiv 2202.08904).

    An `Encoder`, so that `CachedEncoder` remembers it. The model is loaded when the first text has to be encoded.
    """

    def __init__(self, base: BaseModel, *, max_length: int = 512, dtype: str = "auto") -> None:
        """Encode with this base model. max_length: tokens of a prompt; of longer ones the end is kept."""
        self.name = f"{base.name}, hidden states of {max_length} tokens, position-weighted, {resolved_dtype(dtype)}"
        self.revision = base.revision
        self._base, self._max_length, self._dtype = base, max_length, dtype
        self._loaded: tuple[Any, Any] | None = None

    def encode(self, texts: Sequence[str]) -> FloatArray:
        """Return (n, d) float32 rows of length 1, in the order of `texts`. Raises ModelError if it can't be loaded."""
        import torch

        if self._loaded is None:
            self._loaded = load_tokenizer(self._base), load_base(self._base, dtype=self._dtype).eval()
        tokenizer, model = self._loaded
        ids = [encode_example(tokenizer, Example(id="", prompt=text)).prompt[-self._max_length :] for text in texts]
        order = sorted(range(len(ids)), key=lambda i: (len(ids[i]), i))
        rows: FloatArray = np.empty((len(ids), model.config.get_text_config().hidden_size), dtype=np.float32)
        with torch.inference_mode():
            for start in range(0, len(order), BATCH_ROWS):
                batch = order[start : start + BATCH_ROWS]
                width = max(len(ids[i]) for i in batch)
                mask = torch.tensor([[1] * len(ids[i]) + [0] * (width - len(ids[i])) for i in batch])
                padded = torch.tensor([[*ids[i], *[tokenizer.pad_token_id] * (width - len(ids[i]))] for i in batch])
                states = model.base_model(
                    input_ids=padded.to(model.device), attention_mask=mask.to(model.device), use_cache=False
                ).last_hidden_state.double()
                weights = (torch.arange(1, width + 1) * mask).double().to(model.device)
                pooled = (states * weights[:, :, None]).sum(dim=1)
                rows[batch] = torch.nn.functional.normalize(pooled, dim=1).float().cpu().numpy()
        return rows
