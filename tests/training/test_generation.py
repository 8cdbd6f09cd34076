"""Tests of answers and losses against transformers' own."""

from __future__ import annotations

import numpy as np
import pytest

from compass.data.example import Example
from compass.training.formatting import encode_example
from compass.training.generation import LanguageModel
from compass.training.models import BaseModel, load_base, load_tokenizer


def test_answers_do_not_depend_on_the_batch(tiny: BaseModel, examples: list[Example]) -> None:
    """A padding mistake shows as other answers in a batch than alone."""
    model = LanguageModel(tiny)
    alone = model.generate(examples, max_new_tokens=8, batch_size=1)
    assert model.generate(examples, max_new_tokens=8, batch_size=7) == alone
    assert len(set(alone)) > 1


def test_a_line_break_ends_an_answer_only_if_no_reference_has_one(tiny: BaseModel) -> None:
    """The stop saves an untrained model's rambling; responses of several lines must not be cut by it."""
    model = LanguageModel(tiny)
    tokenizer = model.tokenizer
    newline = tokenizer("\n", add_special_tokens=False)["input_ids"][0]
    assert newline in model._newlines
    seen: list[list[int]] = []
    original = model._model.generate

    def spy(**kwargs: object) -> object:
        seen.append(list(kwargs["eos_token_id"]))  # type: ignore[call-overload]
        return original(**kwargs)

    model._model.generate = spy
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

    model = LanguageModel(tiny)
    if not plain_head:
        add_fused_lm_head(model._model)
        model._plain_head = False
    nats, n_bytes = model.loss(examples, batch_size=5)
    reference, tokenizer = load_base(tiny), load_tokenizer(tiny)
    for example, got, size in zip(examples, nats, n_bytes, strict=True):
        row = encode_example(tokenizer, example)
        logits = reference(input_ids=torch.tensor([[*row.prompt, *row.response]])).logits[0].log_softmax(-1)
        expected = -sum(logits[len(row.prompt) - 1 + i, token].item() for i, token in enumerate(row.response))
        assert got == pytest.approx(expected, rel=1e-4)
        assert size == len(example.response.encode())
    assert nats.dtype == np.float64
