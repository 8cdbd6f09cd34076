"""Tests that the prompt format beside an adapter gives the very ids that training and evaluation see."""

from __future__ import annotations

import copy
import json
import logging
from pathlib import Path
from typing import Any

import pytest
from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers
from tokenizers.processors import TemplateProcessing
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from compass.data.example import Example, Message
from compass.training.formatting import encode_example
from compass.training.models import BaseModel, load_tokenizer
from compass.training.prompt_format import plain_template, save_prompt_format

CASES = [
    Example(id="plain", prompt="Beth yw'r tywydd?"),
    Example(id="spaces", prompt="  before and after  "),
    Example(id="lines", prompt="\nline\n\nline\n"),
    Example(id="tab", prompt="\tls -l\t"),
    Example(id="empty", prompt=""),
    Example(id="scripts", prompt="日本語 ŷ e\u0301 😀\u200d🔥 العربية"),
    Example(id="special", prompt="say <s> and </s>, then <pad> <s>"),
    Example(id="begins with special", prompt="<s>hi</s>"),
    Example(id="jinja", prompt="{{ bos_token }}{% raw %}"),
    Example(id="system", prompt="ymlaen", context=(Message("system", " Be brief. "),)),
    Example(
        id="turns",
        prompt=" and now? ",
        context=(
            Message("system", "S"), Message("user", "one\n"), Message("assistant", " two</s>"),
            Message("user", "three"), Message("assistant", ""),
        ),
    ),
]  # fmt: skip
BOS = TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
BOTH_ENDS = TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", 1), ("</s>", 2)])
TWO = TemplateProcessing(single="</s> <s> $A", special_tokens=[("<s>", 1), ("</s>", 2)])


def of_bytes(tiny: BaseModel, processor: Any = None) -> Any:
    tokenizer = copy.deepcopy(load_tokenizer(tiny))
    if processor is not None:
        tokenizer.backend_tokenizer.post_processor = processor
    return tokenizer


def of_words(scheme: str, *, prepend: bool = False, strips: bool = False) -> Any:
    """A tokenizer that writes spaces as ▁, as SentencePiece models do. strips: its <s> swallows spaces after it."""
    characters = sorted({c for case in CASES for c in case.prompt} | set("▁abcdefghijklmnopqrstuvwxyzS B.Answer\n"))
    vocabulary = {token: i for i, token in enumerate(["<pad>", "<s>", "</s>", "<unk>", *characters])}
    raw = Tokenizer(models.BPE(vocab=vocabulary, merges=[], unk_token="<unk>"))
    if prepend:
        raw.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    else:
        raw.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme, split=False)
    begin = AddedToken("<s>", special=True, rstrip=strips)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=raw, pad_token="<pad>", bos_token=begin, eos_token="</s>", unk_token="<unk>"
    )
    tokenizer.backend_tokenizer.post_processor = BOS
    return tokenizer


def rendered(tokenizer: Any, template: str, example: Example) -> list[int]:
    messages = [{"role": m.role, "content": m.content} for m in example.context]
    messages.append({"role": "user", "content": example.prompt})
    ids = tokenizer.apply_chat_template(messages, chat_template=template, add_generation_prompt=True, return_dict=False)
    return list(ids)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
@pytest.mark.parametrize(
    "kind", ["bytes", "bytes, BOS", "bytes, BOS and EOS", "bytes, two", "first", "always", "never", "prepend"]
)
def test_a_template_renders_the_ids_of_the_plain_format(tiny: BaseModel, kind: str, case: Example) -> None:
    """What is served would be another prompt than the one that was measured: no BOS, two of them, a space more."""
    tokenizer = {
        "bytes": lambda: of_bytes(tiny),
        "bytes, BOS": lambda: of_bytes(tiny, BOS),
        "bytes, BOS and EOS": lambda: of_bytes(tiny, BOTH_ENDS),
        "bytes, two": lambda: of_bytes(tiny, TWO),
        "prepend": lambda: of_words("", prepend=True),
    }.get(kind, lambda: of_words(kind))()
    template = plain_template(tokenizer)
    assert template is not None
    assert rendered(tokenizer, template, case) == list(encode_example(tokenizer, case).prompt)


def test_a_finished_conversation_ends_with_the_end_token(tiny: BaseModel) -> None:
    """A model trained further through the template would else never learn to stop."""
    tokenizer = of_bytes(tiny, BOS)
    example = Example(id="1", prompt="ymlaen", response="{}")
    encoded = encode_example(tokenizer, example)
    tokenizer.chat_template = plain_template(tokenizer)
    assert encode_example(tokenizer, example) == encoded


def test_no_template_is_written_that_gives_other_prompts(
    tiny: BaseModel, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A BOS that swallows the space after it changes prompts without a sign; a missing template is told."""
    tokenizer = of_words("never", strips=True)
    assert plain_template(tokenizer) is None
    monkeypatch.setattr("compass.training.prompt_format.load_tokenizer", lambda base: tokenizer)
    with caplog.at_level(logging.WARNING):
        save_prompt_format(tiny, tmp_path)
    assert not (tmp_path / "chat_template.jinja").exists()
    assert "serve this adapter by plain completions" in caplog.text


@pytest.mark.parametrize("which", ["tiny", "chat"])
def test_an_adapter_folder_is_enough_to_put_prompts_as_they_were_measured(
    which: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Who loads adapter and tokenizer from the folder must not have to know how prompts were formatted."""
    base = request.getfixturevalue(which)
    save_prompt_format(base, tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    for case in CASES:
        messages = [{"role": m.role, "content": m.content} for m in case.context]
        messages.append({"role": "user", "content": case.prompt})
        ids = loaded.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
        assert list(ids) == list(encode_example(load_tokenizer(base), case).prompt)
    assert json.loads((tmp_path / "tokenizer_config.json").read_text("utf-8"))["eos_token"] == "</s>"
    assert (tmp_path / "chat_template.jinja").read_bytes().decode() == loaded.chat_template
