"""A base model with or without an adapter, as something that answers prompts and scores responses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from compass.data.example import Example, on_one_line
from compass.progress import progress
from compass.training.adapters import load_with_adapter
from compass.training.decoding import greedy, likeliest
from compass.training.formatting import Encoded, encode_example
from compass.training.head import IGNORED, MOST_LOGITS, ROWS_IN_CACHE, has_plain_head, response_states
from compass.training.models import BaseModel, load_tokenizer

READ_TOGETHER = 32
"""Rows whose responses are read in one forward pass."""


@dataclass(frozen=True)
class _Reading:
    """What one forward pass over prompt and response tells."""

    nats: float
    """Negative log-likelihood of the response."""
    likeliest: tuple[int, ...]
    """The likeliest token in the place of each of the response's, after those before it."""


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
        self._readings: dict[Encoded, _Reading] = {}
        self._newlines = _tokens_with_newline(self.tokenizer)

    def generate(self, examples: Sequence[Example], *, max_new_tokens: int, batch_size: int) -> list[str]:
        """Return the greedy answer to each example's prompt, in the order given.

        Decoding stops at the end-of-sequence token; where no reference response holds a line break, at a line break
        too, which keeps an untrained base model from rambling to the limit. How far a greedy answer agrees with the
        response is read off one forward pass, that of the loss; decoding goes on from there.
        """
        encoded = [encode_example(self.tokenizer, example) for example in examples]
        stops = [self.tokenizer.eos_token_id, *(self._newlines if on_one_line(examples) else ())]
        generation_eos = self._bare.generation_config.eos_token_id
        stops += generation_eos if isinstance(generation_eos, list) else [generation_eos] if generation_eos else []
        begun = self._begun(examples, encoded, stops, max_new_tokens)
        answers = [""] * len(encoded)
        with progress("Generating", len(encoded)) as advance:
            for i, tokens in greedy(
                self._bare, [row.prompt for row in encoded], begun=begun, stops=stops, pad=self._pad(),
                max_new_tokens=max_new_tokens, batch_size=batch_size,
            ):  # fmt: skip
                answers[i] = str(self.tokenizer.decode(tokens, skip_special_tokens=True)).strip()
                advance()
        return answers

    def loss(
        self, examples: Sequence[Example], *, batch_size: int = READ_TOGETHER
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Return for each example the negative log-likelihood of its response in nats and the response's UTF-8 bytes.

        The end-of-sequence token counts as part of the response. Both arrays are (n,), in the order given.
        """
        encoded = [encode_example(self.tokenizer, example) for example in examples]
        self._read(encoded, batch_size)
        nats = np.array([self._readings[row].nats for row in encoded])
        return nats, np.array([len(example.response.encode()) for example in examples], dtype=np.float64)

    def answers_exactly(self, examples: Sequence[Example], *, batch_size: int = READ_TOGETHER) -> npt.NDArray[np.bool_]:
        """Say for each example whether greedy decoding would write its response, token for token, and stop. (n,).

        That is so if each token of the response is the likeliest one after those before it, which one forward pass
        tells: no decoding. A right answer in other tokens or another order of keys counts as wrong here.
        """
        encoded = [encode_example(self.tokenizer, example) for example in examples]
        self._read(encoded, batch_size)
        return np.array([self._readings[row].likeliest == row.response for row in encoded], dtype=np.bool_)

    def _begun(
        self, examples: Sequence[Example], encoded: Sequence[Encoded], stops: Sequence[int], max_new_tokens: int
    ) -> list[list[int]]:
        """Return the tokens with which each greedy answer begins, as far as the pass over the responses tells."""
        self._readings.clear()
        self._read([row for example, row in zip(examples, encoded, strict=True) if example.response], READ_TOGETHER)
        begun = []
        for row in encoded:
            tokens: list[int] = []
            if row in self._readings:
                for wanted, token in zip(row.response, self._readings[row].likeliest, strict=True):
                    tokens.append(token)
                    if token != wanted or token in stops or len(tokens) == max_new_tokens:
                        break
            begun.append(tokens)
        return begun

    def _read(self, encoded: Sequence[Encoded], batch_size: int) -> None:
        """Put the rows that `_readings` lacks through the model, those of like length together."""
        import torch

        missing = sorted({row for row in encoded if row not in self._readings}, key=lambda row: (len(row), row.prompt))
        device = self._model.device
        with progress("Scoring", len(missing)) as advance, torch.inference_mode():
            for start in range(0, len(missing), batch_size):
                batch = missing[start : start + batch_size]
                width = max(map(len, batch))
                ids, labels, mask = [], [], []
                for row in batch:
                    fill = width - len(row)
                    ids.append([*row.prompt, *row.response] + [self._pad()] * fill)
                    labels.append([IGNORED] * len(row.prompt) + list(row.response) + [IGNORED] * fill)
                    mask.append([1] * len(row) + [0] * fill)
                inputs = {
                    "input_ids": torch.tensor(ids, device=device),
                    "attention_mask": torch.tensor(mask, device=device),
                }
                self._readings.update(zip(batch, self._readings_of(inputs, labels), strict=True))
                advance(len(batch))

    def _readings_of(self, inputs: dict[str, Any], labels: Sequence[Sequence[int]]) -> list[_Reading]:
        import torch

        wanted = torch.tensor(labels, device=self._model.device)
        lengths = (wanted[:, 1:] != IGNORED).sum(dim=1).tolist()
        hidden, flat = response_states(self._model, inputs, wanted)
        head = self._model.get_output_embeddings()
        losses, tokens = [], []
        for states, targets in zip(hidden.split(MOST_LOGITS // 4), flat.split(MOST_LOGITS // 4), strict=True):
            logits = head(states)
            # What some families do to their logits afterwards does not change their order, but it does change the loss.
            tokens.append(likeliest(logits))
            if self._plain_head:
                # A few rows at a time stay in the processor's cache: half the time, and the same numbers.
                losses += [
                    torch.nn.functional.cross_entropy(few.float(), its, reduction="none")
                    for few, its in zip(logits.split(ROWS_IN_CACHE), targets.split(ROWS_IN_CACHE), strict=True)
                ]
        if self._plain_head:
            nats = [loss.double().sum().item() for loss in torch.cat(losses).split(lengths)]
        else:
            log_probs = self._model(**inputs, labels=wanted, fused_lm_head=True).log_probs
            nats = (-log_probs.double().sum(dim=1)).tolist()
        rows = torch.cat(tokens).split(lengths)
        return [_Reading(loss, tuple(row.tolist())) for loss, row in zip(nats, rows, strict=True)]

    def _pad(self) -> int:
        return int(self.tokenizer.pad_token_id)


def _tokens_with_newline(tokenizer: Any) -> tuple[int, ...]:
    # Byte-level vocabularies write a line break as "Ċ", byte-fallback ones as "<0x0A>".
    return tuple(i for token, i in tokenizer.get_vocab().items() if "\n" in token or "Ċ" in token or token == "<0x0A>")
