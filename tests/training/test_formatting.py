"""Tests of the text that a model sees."""

from __future__ import annotations

import copy
import json
import shutil
from pathlib import Path

import pytest
from tokenizers.processors import TemplateProcessing

from compass.data.example import Example, Message
from compass.errors import DataError, ModelError
from compass.training.formatting import encode_example, encode_fitting, token_counts
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


def test_a_row_that_does_not_fit_is_left_out_whole(tiny: BaseModel) -> None:
    """Cut, it would ask something else, or teach the model never to stop."""
    tokenizer = load_tokenizer(tiny)
    fits, longer = Example(id="1", prompt="abc", response="xyz"), Example(id="2", prompt="abcd", response="xyz")
    encoded, too_long = encode_fitting(tokenizer, [longer, fits], 8)
    assert [tokenizer.decode(row.response) for row in encoded] == ["xyz</s>"]
    assert [tokenizer.decode(row.prompt) for row in encoded] == ["abc\n"]
    assert too_long == (longer,)


def test_no_end_token_comes_between_prompt_and_response(tiny: BaseModel) -> None:
    """Some tokenizers end every text; a model would learn to answer what is over already."""
    tokenizer = copy.deepcopy(load_tokenizer(tiny))
    ends = TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", 1), ("</s>", 2)])
    tokenizer.backend_tokenizer.post_processor = ends
    encoded = encode_example(tokenizer, Example(id="1", prompt="Helo", response="Byd"))
    assert tokenizer.decode(encoded.prompt) == "<s>Helo\n"
    assert tokenizer.decode(encoded.response) == "Byd</s>"


def test_a_tokenizer_without_an_end_token_is_refused(tiny: BaseModel, tmp_path: Path) -> None:
    shutil.copytree(tiny.path, tmp_path / "model")
    config = tmp_path / "model" / "tokenizer_config.json"
    options = json.loads(config.read_text("utf-8"))
    del options["eos_token"]
    config.write_text(json.dumps(options), encoding="utf-8")
    with pytest.raises(ModelError, match="no end-of-sequence token"):
        load_tokenizer(BaseModel("m", str(tmp_path / "model"), "", ""))


def test_a_template_that_opens_a_thought_needs_responses_that_close_it(tiny: BaseModel) -> None:
    """A server's reasoning parser would take the whole answer for a thought, and answer nothing."""
    tokenizer = copy.deepcopy(load_tokenizer(tiny))
    tokenizer.chat_template = (
        "{% for m in messages %}{{ m.role }}: {{ m.content.split('</think>')[-1] }}</s>{% endfor %}"
        "{% if add_generation_prompt %}assistant: <think>\n{% endif %}"
    )
    closed = encode_example(tokenizer, Example(id="1", prompt="Helo", response="A greeting.</think>Byd"))
    assert tokenizer.decode(closed.response) == "A greeting.</think>Byd</s>"
    with pytest.raises(DataError, match="opens <think> before each response, and row 2 does not close it"):
        encode_example(tokenizer, Example(id="2", prompt="Helo", response="Byd"))


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
