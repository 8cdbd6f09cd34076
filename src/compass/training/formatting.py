"""How an example becomes tokens; training, generation and loss share it, so that they always see the same prompt."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from jinja2 import TemplateError

from compass.data.example import Example
from compass.errors import DataError

OPEN_THOUGHT = re.compile(r"[<\[](\w*(?:think|reason)\w*)[>\]]\s*$", re.IGNORECASE)
"""Where a template's prompt ends so, what follows is a thought until its tag is closed."""


@dataclass(frozen=True)
class Encoded:
    """Token ids of one example; the loss is taken on `response` alone."""

    prompt: tuple[int, ...]
    response: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.prompt) + len(self.response)


def encode_example(tokenizer: Any, example: Example) -> Encoded:
    """Turn an example into prompt and response ids, whole; the response ends with the end-of-sequence token.

    A tokenizer with a chat template gets the conversation through it. Without one the format is plain [ours]: the
    turns on a line each, then the response, which keeps the commands of the embedded data short.
    Raises DataError for turns that the template refuses, a system's for one, and for a response that does not close the
    thought that a template's prompt opens.
    """
    if getattr(tokenizer, "chat_template", None):
        prompt, response = _through_chat_template(tokenizer, example)
    else:
        prompt = plain_prompt(tokenizer, [*(message.content for message in example.context), example.prompt])
        response = [*_bare(tokenizer, example.response), tokenizer.eos_token_id]
    return Encoded(tuple(prompt), tuple(response))


def plain_prompt(tokenizer: Any, turns: Sequence[str]) -> list[int]:
    """Return the ids of a prompt in the plain format, of what its turns say; the response follows."""
    return _without_end(tokenizer, tokenizer("\n".join(turns) + "\n")["input_ids"])


def encode_fitting(
    tokenizer: Any, examples: Sequence[Example], max_length: int
) -> tuple[list[Encoded], tuple[Example, ...]]:
    """Encode what fits into `max_length` tokens, prompt and response together; return it, and the rows that do not.

    A row is never cut: without the beginning of its prompt it asks something else, and without the end of its response
    it teaches never to stop.
    """
    encoded, too_long = [], []
    for example in examples:
        row = encode_example(tokenizer, example)
        if len(row) > max_length:
            too_long.append(example)
        else:
            encoded.append(row)
    return encoded, tuple(too_long)


def token_counts(tokenizer: Any, examples: Sequence[Example]) -> list[int]:
    """Return the number of tokens of each example, prompt and response together."""
    return [len(encode_example(tokenizer, example)) for example in examples]


def turns_of(example: Example) -> tuple[str, ...]:
    """Return the roles of an example's turns, in order, its prompt's the last."""
    return (*(message.role for message in example.context), "user")


def _through_chat_template(tokenizer: Any, example: Example) -> tuple[list[int], list[int]]:
    messages = [{"role": m.role, "content": m.content} for m in example.context]
    messages.append({"role": "user", "content": example.prompt})
    answered = [*messages, {"role": "assistant", "content": example.response}]
    try:
        prompt = list(tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False))
        whole = list(tokenizer.apply_chat_template(answered, return_dict=False))
    except TemplateError as error:
        raise DataError(
            f"Row {example.id}: the model's chat template refuses its turns ({', '.join(turns_of(example))}): {error}. "
            "Leave out the turns that it does not know, or choose a model that takes them."
        ) from error
    if whole[: len(prompt)] == prompt:
        return prompt, whole[len(prompt) :]
    # Some templates rewrite earlier turns (they strip past reasoning, say), so the prompt is no prefix of the whole.
    _refuse_open_thought(tokenizer, prompt, example)
    return prompt, [*_bare(tokenizer, example.response), tokenizer.eos_token_id]


def _refuse_open_thought(tokenizer: Any, prompt: Sequence[int], example: Example) -> None:
    """Raise DataError if what the model is to answer would be read as a thought."""
    found = OPEN_THOUGHT.search(tokenizer.decode(prompt[-32:]))
    if found and not re.search(rf"[<\[]/{found[1]}[>\]]", example.response):
        raise DataError(
            f"The model's chat template opens {found[0].strip()} before each response, and row {example.id} does not "
            "close it: its response would be learnt, and served, as a thought. Choose a model whose template does not, "
            f"or give responses with their thoughts, as in `...</{found[1]}>response`."
        )


def _without_end(tokenizer: Any, ids: Sequence[int]) -> list[int]:
    """Return a prompt's ids without what some tokenizers put at the end of every text: the response follows there."""
    ends = {tokenizer.eos_token_id, getattr(tokenizer, "sep_token_id", None)}
    kept = list(ids)
    while kept and kept[-1] in ends:
        kept.pop()
    return kept


def _bare(tokenizer: Any, text: str) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])
