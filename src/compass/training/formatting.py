"""How an example becomes tokens; training, generation and loss share it, so that they always see the same prompt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from jinja2 import TemplateError

from compass.data.example import Example
from compass.errors import DataError


@dataclass(frozen=True)
class Encoded:
    """Token ids of one example; the loss is taken on `response` alone."""

    prompt: tuple[int, ...]
    response: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.prompt) + len(self.response)


def encode_example(tokenizer: Any, example: Example, *, max_length: int = 0) -> Encoded:
    """Turn an example into prompt and response ids; the response ends with the end-of-sequence token.

    A tokenizer with a chat template gets the conversation through it. Without one the format is plain [ours]: the
    turns on a line each, then the response, which keeps the commands of the embedded data short.
    max_length: tokens of both together; the beginning of the prompt is cut to keep the response whole (0: no limit).
    Raises DataError for turns that the template refuses, a system's for one.
    """
    if getattr(tokenizer, "chat_template", None):
        prompt, response = _through_chat_template(tokenizer, example)
    else:
        turns = [*(message.content for message in example.context), example.prompt]
        prompt = tokenizer("\n".join(turns) + "\n")["input_ids"]
        response = [*_bare(tokenizer, example.response), tokenizer.eos_token_id]
    if max_length and len(prompt) + len(response) > max_length:
        response = response[:max_length]
        keep = max_length - len(response)
        prompt = prompt[len(prompt) - keep :] if keep else []
    return Encoded(tuple(prompt), tuple(response))


def token_counts(tokenizer: Any, examples: Sequence[Example]) -> list[int]:
    """Return the number of tokens of each example, prompt and response together."""
    return [len(encode_example(tokenizer, example)) for example in examples]


def _through_chat_template(tokenizer: Any, example: Example) -> tuple[list[int], list[int]]:
    messages = [{"role": m.role, "content": m.content} for m in example.context]
    messages.append({"role": "user", "content": example.prompt})
    answered = [*messages, {"role": "assistant", "content": example.response}]
    try:
        prompt = list(tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False))
        whole = list(tokenizer.apply_chat_template(answered, return_dict=False))
    except TemplateError as error:
        roles = ", ".join(message["role"] for message in messages)
        raise DataError(
            f"Row {example.id}: the model's chat template refuses its turns ({roles}): {error}. Leave out the turns "
            "that it does not know, or choose a model that takes them."
        ) from error
    if whole[: len(prompt)] == prompt:
        return prompt, whole[len(prompt) :]
    # Some templates rewrite earlier turns (they strip past reasoning, say), so the prompt is no prefix of the whole.
    return prompt, [*_bare(tokenizer, example.response), tokenizer.eos_token_id]


def _bare(tokenizer: Any, text: str) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])
