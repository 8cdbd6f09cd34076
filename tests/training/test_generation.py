"""Tests of answers and losses against transformers' own."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from compass.data.example import Example
from compass.training import generation
from compass.training.formatting import encode_example
from compass.training.generation import LanguageModel
from compass.training.models import BaseModel, load_base, load_tokenizer


def test_answers_do_not_depend_on_the_batch(tiny: BaseModel, examples: list[Example]) -> None:
    """A padding mistake shows as other answers in a batch than alone."""
    model = LanguageModel(tiny, dtype="float32")
    alone = model.generate(examples, max_new_tokens=8, batch_size=1)
    assert model.generate(examples, max_new_tokens=8, batch_size=7) == alone
    assert len(set(alone)) > 1


def test_a_line_break_ends_an_answer_only_if_no_reference_has_one(
    tiny: BaseModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The stop saves an untrained model's rambling; responses of several lines must not be cut by it."""
    model = LanguageModel(tiny, dtype="float32")
    tokenizer = model.tokenizer
    newline = tokenizer("\n", add_special_tokens=False)["input_ids"][0]
    assert newline in model._newlines
    seen: list[list[int]] = []

    def spy(
        _model: object, prompts: list[list[int]], *, stops: list[int], **_: object
    ) -> Iterator[tuple[int, list[int]]]:
        seen.append(stops)
        return ((i, []) for i in range(len(prompts)))

    monkeypatch.setattr(generation, "greedy", spy)
    model.generate([Example(id="1", prompt="a", response="one line")], max_new_tokens=2, batch_size=1)
    model.generate([Example(id="1", prompt="a", response="two\nlines")], max_new_tokens=2, batch_size=1)
    assert newline in seen[0]
    assert newline not in seen[1]
    assert tokenizer.eos_token_id in seen[1]


@pytest.mark.parametrize("plain_head", [True, False])
def test_losses_are_those_of_the_full_logits(tiny: BaseModel, examples: list[Example], plain_head: bool) -> None:
    """Both heads skip the prompt's logits; the reference computes all of them, a row at a time."""
    import torch
    from trl.trainer.utils import add_fused_lm_head

    model = LanguageModel(tiny, dtype="float32")
    if not plain_head:
        add_fused_lm_head(model._model)
        model._plain_head = False
    nats, n_bytes = model.loss(examples, batch_size=5)
    reference, tokenizer = load_base(tiny, dtype="float32"), load_tokenizer(tiny)
    for example, got, size in zip(examples, nats, n_bytes, strict=True):
        row = encode_example(tokenizer, example)
        logits = reference(input_ids=torch.tensor([[*row.prompt, *row.response]])).logits[0].log_softmax(-1)
        expected = -sum(logits[len(row.prompt) - 1 + i, token].item() for i, token in enumerate(row.response))
        assert got == pytest.approx(expected, rel=1e-4)
        assert size == len(example.response.encode())
    assert nats.dtype == np.float64


def test_answers_exactly_says_what_greedy_decoding_would_write(tiny: BaseModel) -> None:
    """One forward pass stands for a decoding: with the model's own answer as the response it must say yes."""
    model = LanguageModel(tiny, dtype="float32")
    prompts = ["turn on the light", "stop", "what is the time in the kitchen", "a"]
    tokenizer, own = model.tokenizer, []
    for prompt in prompts:
        ids = encode_example(tokenizer, Example(id="", prompt=prompt)).prompt
        own.append(_greedy_tokens(model._model, ids, 6))
    encoded = dict(zip(prompts, own, strict=True))
    examples = [Example(id=str(i), prompt=prompt, response="x") for i, prompt in enumerate(prompts)]
    right = _with_responses(model, examples, encoded)
    assert right.tolist() == [True] * 4
    for place in (0, 3, 5):
        changed = {prompt: [*answer] for prompt, answer in encoded.items()}
        changed["stop"][place] = (changed["stop"][place] + 1) % len(tokenizer)
        assert _with_responses(model, examples, changed).tolist() == [True, False, True, True]


def _greedy_tokens(model: object, ids: list[int], n: int) -> list[int]:
    import torch

    found: list[int] = []
    for _ in range(n):
        logits = model(input_ids=torch.tensor([[*ids, *found]])).logits  # type: ignore[operator]
        found.append(int(logits[0, -1].argmax()))
    return found


def _with_responses(model: LanguageModel, examples: list[Example], responses: dict[str, list[int]]) -> np.ndarray:
    """Score token sequences that need not be the tokenizer's own."""
    import compass.training.generation as generation
    from compass.training.formatting import Encoded

    original = generation.encode_example
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            generation,
            "encode_example",
            lambda tokenizer, row: Encoded(original(tokenizer, row).prompt, tuple(responses[row.prompt])),
        )
        return model.answers_exactly(examples, batch_size=3)
