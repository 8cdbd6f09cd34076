"""Tests of the text that a model sees."""

from __future__ import annotations

import copy

import pytest

from compass.data.example import Example, Message
from compass.errors import DataError
from compass.training.formatting import encode_example, token_counts
from compass.training.models import BaseModel, load_tokenizer


def test_a_plain_prompt_is_its_turns_on_lines_and_the_response_ends(tiny: BaseModel) -> None:
    """A response without its end token would never teach the model to stop."""
    tokenizer = load_tokenizer(tiny)
    example = Example(id="1", prompt="ymlaen", response="{}", context=(Message("system", "be brief"),))
    encoded = encode_example(tokenizer, example)
    assert tokenizer.decode(encoded.prompt) == "be brief\nymlaen\n"
    assert tokenizer.decode(encoded.response) == "{}</s>"


def test_a_chat_template_is_used_where_there_is_one(chat: BaseModel) -> None:
    """Training on another format than the tokenizer's own would be undone at serving time."""
    tokenizer = load_tokenizer(chat)
    encoded = encode_example(tokenizer, Example(id="1", prompt="hi", response="{}"))
    assert tokenizer.decode(encoded.prompt) == "<s>user: hi</s><s>assistant: "
    assert tokenizer.decode(encoded.response) == "{}</s>"


def test_a_long_row_loses_the_beginning_of_its_prompt_first(tiny: BaseModel) -> None:
    """Cutting the end would cut the response, which is all that is learnt from."""
    tokenizer = load_tokenizer(tiny)
    example = Example(id="1", prompt="abcdefgh", response="xyz")
    encoded = encode_example(tokenizer, example, max_length=7)
    assert tokenizer.decode(encoded.prompt) == "gh\n"
    assert tokenizer.decode(encoded.response) == "xyz</s>"
    assert len(encode_example(tokenizer, example, max_length=2)) == 2


def test_token_counts_are_those_of_the_encoding(tiny: BaseModel, examples: list[Example]) -> None:
    """Budgets in tokens are kept by these counts."""
    tokenizer = load_tokenizer(tiny)
    assert token_counts(tokenizer, examples) == [len(encode_example(tokenizer, row)) for row in examples]


def test_turns_that_a_template_refuses_are_named(tiny: BaseModel) -> None:
    """A model without system turns would end the run in jinja's traceback, after everything was embedded."""
    tokenizer = copy.deepcopy(load_tokenizer(tiny))
    tokenizer.chat_template = "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}x"
    row = Example(id="r7", prompt="ymlaen", response="{}", context=(Message("system", "be brief"),))
    with pytest.raises(DataError, match=r"Row r7: .* \(system, user\): no system"):
        encode_example(tokenizer, row)
