"""A base model with or without an adapter, as something that answers prompts and scores responses."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from compass.data.example import Example, on_one_line
from compass.progress import progress
from compass.training.adapters import load_with_adapter
from compass.training.decoding import greedy
from compass.training.formatting import encode_example
from compass.training.head import IGNORED, MOST_LOGITS, has_plain_head, response_states
from compass.training.models import BaseModel, load_tokenizer


class LanguageModel:
    """Greedy answers and losses of one model; load it once and use it for many examples."""

    def __init__(
        self, base: BaseModel, adapter: Path | None = None, *, dtype: str = "auto", load_in_4bit: bool = False
    ) -> None:
        """Load the weights. Raises ModelError if base and adapter do not fit."""
        from trl.trainer.utils import add_fused_lm_head

        self.tokenizer = load_tokenizer(base)
        self._model = load_with_adapter(base, adapter, dtype=dtype, load_in_4bit=load_in_4bit)
        self._model.eval()
        # Without peft's wrapper; the adapter's layers are in it all the same.
        self._bare = self._model.get_base_model() if adapter else self._model
        self._plain_head = has_plain_head(self._model)
        if not self._plain_head:
            # trl's fused head knows the scales that some families put on their logits.
            add_fused_lm_head(self._bare)
        self._newlines = _tokens_with_newline(self.tokenizer)

    def generate(self, examples: Sequence[Example], *, max_new_tokens: int, batch_size: int) -> list[str]:
        """Return the greedy answer to each example's prompt, in the order given.

        Decoding stops at the end-of-sequence token; where no reference response holds a line break, at a line break
        too, which keeps an untrained base model from rambling to the limit.
        """
        prompts = [encode_example(self.tokenizer, example).prompt for example in examples]
        stops = [self.tokenizer.eos_token_id, *(self._newlines if on_one_line(examples) else ())]
        generation_eos = self._bare.generation_config.eos_token_id
        stops += generation_eos if isinstance(generation_eos, list) else [generation_eos] if generation_eos else []
        answers = [""] * len(prompts)
        with progress("Generating", len(prompts)) as advance:
            for i, tokens in greedy(
                self._bare, prompts, stops=stops, pad=self._pad(), max_new_tokens=max_new_tokens, batch_size=batch_size
            ):
                answers[i] = str(self.tokenizer.decode(tokens, skip_special_tokens=True)).strip()
                advance()
        return answers

    def loss(
        self, examples: Sequence[Example], *, batch_size: int = 16
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Return for each example the negative log-likelihood of its response in nats and the response's UTF-8 bytes.

        The end-of-sequence token counts as part of the response. Both arrays are (n,), in the order given.
        """
        nats = np.zeros(len(examples))
        for batch, inputs, labels in self._batches(examples, batch_size):
            nats[batch] = self._row_nats(inputs, labels)
        return nats, np.array([len(example.response.encode()) for example in examples], dtype=np.float64)

    def answers_exactly(self, examples: Sequence[Example], *, batch_size: int = 16) -> npt.NDArray[np.bool_]:
        """Say for each example whether greedy decoding would write its response, token for token, and stop. (n,).

        That is so if each token of the response is the likeliest one after those before it, which one forward pass
        tells: no decoding. A right answer in other tokens or another order of keys counts as wrong here.
        """
        right = np.zeros(len(examples), dtype=np.bool_)
        for batch, inputs, labels in self._batches(examples, batch_size):
            hidden, wanted = response_states(self._model, inputs, labels)
            head = self._model.get_output_embeddings()
            # What some families do to their logits afterwards does not change their order.
            hits = [
                head(states).argmax(dim=-1) == tokens
                for states, tokens in zip(hidden.split(MOST_LOGITS // 4), wanted.split(MOST_LOGITS // 4), strict=True)
            ]
            right[batch] = [bool(row.all()) for row in _by_row(hits, labels)]
        return right

    def _batches(self, examples: Sequence[Example], batch_size: int) -> Iterator[tuple[list[int], dict[str, Any], Any]]:
        """Yield batches of rows of like length: their places, the model's inputs, and labels (IGNORED in prompts)."""
        import torch

        encoded = [encode_example(self.tokenizer, example) for example in examples]
        order = sorted(range(len(encoded)), key=lambda i: (len(encoded[i]), i))
        device = self._model.device
        with progress("Scoring", len(encoded)) as advance, torch.inference_mode():
            for start in range(0, len(order), batch_size):
                batch = order[start : start + batch_size]
                width = max(len(encoded[i]) for i in batch)
                ids, labels, mask = [], [], []
                for i in batch:
                    row, fill = encoded[i], width - len(encoded[i])
                    ids.append([*row.prompt, *row.response] + [self._pad()] * fill)
                    labels.append([IGNORED] * len(row.prompt) + list(row.response) + [IGNORED] * fill)
                    mask.append([1] * len(row) + [0] * fill)
                inputs = {
                    "input_ids": torch.tensor(ids, device=device),
                    "attention_mask": torch.tensor(mask, device=device),
                }
                yield batch, inputs, torch.tensor(labels, device=device)
                advance(len(batch))

    def _row_nats(self, inputs: dict[str, Any], labels: Any) -> npt.NDArray[np.float64]:
        import torch

        if not self._plain_head:
            log_probs = self._model(**inputs, labels=labels, fused_lm_head=True).log_probs
            return np.asarray(-log_probs.double().sum(dim=1).cpu())
        hidden, flat = response_states(self._model, inputs, labels)
        head = self._model.get_output_embeddings()
        losses = [
            torch.nn.functional.cross_entropy(head(states).float(), wanted, reduction="none")
            for states, wanted in zip(hidden.split(MOST_LOGITS // 4), flat.split(MOST_LOGITS // 4), strict=True)
        ]
        return np.array([row.double().sum().item() for row in _by_row(losses, labels)])

    def _pad(self) -> int:
        return int(self.tokenizer.pad_token_id)


def _by_row(parts: Sequence[Any], labels: Any) -> tuple[Any, ...]:
    """Split values of all labelled tokens, in order, into those of each row."""
    import torch

    rows: tuple[Any, ...] = torch.cat(list(parts)).split((labels[:, 1:] != IGNORED).sum(dim=1).tolist())
    return rows


def _tokens_with_newline(tokenizer: Any) -> tuple[int, ...]:
    # Byte-level vocabularies write a line break as "Ċ", byte-fallback ones as "<0x0A>".
    return tuple(i for token, i in tokenizer.get_vocab().items() if "\n" in token or "Ċ" in token or token == "<0x0A>")
