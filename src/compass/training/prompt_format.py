"""The prompt format as files beside the adapter, so that a server puts prompts to the model as they were measured.

A base model with a chat template brings its format along. For one without, the plain format of `formatting.py` is
written as a template. What a template renders goes through the tokenizer once more, and some tokenizers treat the
beginning of a text in their own way, so a template is kept only if it gives the very ids of the plain format.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jinja2 import TemplateError

from compass.data.example import Example
from compass.runs import layout
from compass.training.formatting import encode_example, plain_prompt
from compass.training.models import BaseModel, load_tokenizer, translated

logger = logging.getLogger(__name__)

TURNS = (
    "{% for message in messages %}{{ message['content'] or '' }}"
    "{% if loop.last and message['role'] == 'assistant' and not add_generation_prompt %}{{ eos_token }}"
    "{% else %}{{ '\\n' }}{% endif %}{% endfor %}"
)
"""Each turn on a line; a response that is not to be gone on from ends the text."""
SPACE = "{% if not (messages[0]['content'] or '').startswith(BEGINNINGS) %}{{ ' ' }}{% endif %}"
"""Some tokenizers put a space before a text, but none where it follows a special token, as it does in a template."""
PROBES = ("Hello", " before", "  two", "after ", "\nline\n", "\tTab", "ŷ Ünï", "e\u0301", "日本 語", "", "<s>[INST]")
"""Prompts on which a template must agree with the plain format."""


def save_prompt_format(base: BaseModel, folder: Path) -> None:
    """Write tokenizer, its settings and `chat_template.jinja` into an adapter's or a model's folder.

    With them `apply_chat_template` of transformers, and a server's chat completions, give the ids that training and
    evaluation see. Where the plain format can't be a template, that is logged and none is written.
    """
    tokenizer = load_tokenizer(base)
    # A tokenizer of the model's own code would bring that along.
    if not type(tokenizer).__module__.startswith("transformers_modules"):
        tokenizer.save_pretrained(folder)
    template = template_of(tokenizer)
    if template is None:
        logger.warning(
            "The tokenizer of %s reads the beginning of a text in its own way, so that no chat template gives the "
            "prompts of the training: serve this adapter by plain completions",
            base.name,
        )
        return
    # Line ends as they are: they are tokens.
    (folder / layout.CHAT_TEMPLATE_FILE).write_bytes(template.encode("utf-8"))


def differing_prompts(base: BaseModel, folder: Path, rows: Sequence[Example]) -> list[str]:
    """Return the ids of rows whose prompts a folder's tokenizer and template turn into other tokens than training did.

    A folder without a template is for plain completions, and its tokenizer is compared by these.
    """
    from transformers import AutoTokenizer

    tokenizer = load_tokenizer(base)
    with translated(folder):
        loaded = AutoTokenizer.from_pretrained(folder, trust_remote_code=base.trust_remote_code)
    wrong = []
    for row in rows:
        messages = [
            *({"role": m.role, "content": m.content} for m in row.context),
            {"role": "user", "content": row.prompt},
        ]
        if loaded.chat_template:
            ids = list(loaded.apply_chat_template(messages, add_generation_prompt=True, return_dict=False))
        else:
            ids = plain_prompt(loaded, [message["content"] for message in messages])
        if ids != list(encode_example(tokenizer, row).prompt):
            wrong.append(row.id)
    return wrong


def template_of(tokenizer: Any) -> str | None:
    """Return the chat template of the prompt format: the tokenizer's own, else the plain format's, if it has one."""
    return tokenizer.get_chat_template() if tokenizer.chat_template else plain_template(tokenizer)


def plain_template(tokenizer: Any) -> str | None:
    """Return the plain format as a chat template, None if there is none that gives the same ids on every probe."""
    begin = _beginning(tokenizer)
    if begin is None:
        return None
    beginnings = ", ".join(json.dumps(text) for text in (" ", *sorted(tokenizer.get_added_vocab())))
    candidates = (begin + TURNS, begin + SPACE.replace("BEGINNINGS", f"({beginnings})") + TURNS)
    return next((found for found in candidates if _agrees(tokenizer, found)), None)


def _beginning(tokenizer: Any) -> str | None:
    """Return the template of what the tokenizer puts before every text, None if that can't be said in a template."""
    bare = list(tokenizer("a\n", add_special_tokens=False)["input_ids"])
    ids = plain_prompt(tokenizer, ["a"])
    if ids[len(ids) - len(bare) :] != bare:
        return None
    first = ids[: len(ids) - len(bare)]
    if not first:
        return ""
    if first == [tokenizer.bos_token_id]:
        return "{{ bos_token }}"
    return "{{ " + json.dumps("".join(tokenizer.convert_ids_to_tokens(first))) + " }}"


def _agrees(tokenizer: Any, template: str) -> bool:
    """Say whether a template gives the ids of the plain format on every probe."""
    special = "".join(f" {token} x" for token in tokenizer.all_special_tokens)
    turns: list[Sequence[str]] = [[probe] for probe in (*PROBES, special.strip())]
    turns += [["Answer.", "One", "two ", " three"], [" Answer.", special], ["", "x"]]
    try:
        return all(_rendered(tokenizer, template, contents) == plain_prompt(tokenizer, contents) for contents in turns)
    except TemplateError:
        return False


def _rendered(tokenizer: Any, template: str, contents: Sequence[str]) -> list[int]:
    # The last turn is a user's.
    roles = [("user", "assistant")[place % 2] for place in reversed(range(len(contents)))]
    if roles[0] == "assistant":
        roles[0] = "system"
    messages = [{"role": role, "content": content} for role, content in zip(roles, contents, strict=True)]
    found = tokenizer.apply_chat_template(
        messages, chat_template=template, add_generation_prompt=True, return_dict=False
    )
    return list(found)
