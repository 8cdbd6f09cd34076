"""What a client asks of the embedded backend, and its answer, as OpenAI's API writes them."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from compass.serve.protocol import CHAT

MAX_TOKENS = 512
"""Of an answer, where the client names no limit."""
REFUSED = {"n": 1, "best_of": 1, "logprobs": None, "top_logprobs": None, "echo": False, "suffix": None}
"""Fields that are not supported -> the only value, besides nothing, that they may have."""


class AskedWronglyError(ValueError):
    """A request that is refused with status 400."""


@dataclass(frozen=True)
class Asked:
    """A request, checked."""

    path: str
    messages: tuple[Mapping[str, Any], ...]
    """Of a chat."""
    tools: Any
    prompts: tuple[str | tuple[int, ...], ...]
    """Of plain completions: texts, or token ids."""
    special_tokens: bool
    """Whether a text gets what the tokenizer puts at its beginning."""
    max_tokens: int
    temperature: float
    top_p: float
    seed: int | None
    stop: tuple[str, ...]
    stream: bool
    usage: bool
    """Whether a stream ends with the count of tokens."""


def read_request(path: str, values: Mapping[str, Any]) -> Asked:
    """Check a request's fields; unknown ones are passed over. Raises AskedWronglyError with what is wrong."""
    for name, allowed in REFUSED.items():
        value = values.get(name)
        if value not in (None, allowed) and value is not False:
            raise AskedWronglyError(f"{name}: the embedded backend does not support it; leave it out")
    limits = (values.get("max_completion_tokens"), values.get("max_tokens"), MAX_TOKENS)
    limit = next(value for value in limits if value is not None)
    options = values.get("stream_options")
    return Asked(
        path=path,
        messages=_messages(values) if path == CHAT else (),
        tools=values.get("tools"),
        prompts=() if path == CHAT else _prompts(values.get("prompt")),
        special_tokens=values.get("add_special_tokens") is not False,
        max_tokens=int(_number("max_tokens", limit, 1, 1 << 20, whole=True)),
        # Greedy, as measured, where the client says nothing.
        temperature=_number("temperature", values.get("temperature") or 0.0, 0.0, 2.0),
        top_p=_number("top_p", 1.0 if values.get("top_p") is None else values["top_p"], 0.0, 1.0),
        seed=None
        if values.get("seed") is None
        else int(_number("seed", values["seed"], -(1 << 63), (1 << 63) - 1, whole=True)),
        stop=_stop(values.get("stop")),
        stream=values.get("stream") is True,
        usage=isinstance(options, Mapping) and options.get("include_usage") is True,
    )


def _number(name: str, value: Any, low: float, high: float, *, whole: bool = False) -> float:
    right = isinstance(value, int if whole else int | float) and not isinstance(value, bool)
    if not right or not low <= value <= high:
        kind = "a whole number" if whole else "a number"
        span = f"{low} to {high}" if whole else f"{low:g} to {high:g}"
        raise AskedWronglyError(f"{name}: {kind} from {span}, not {str(value)[:50]!r}")
    return value  # type: ignore[no-any-return]


def _stop(value: Any) -> tuple[str, ...]:
    found = [value] if isinstance(value, str) else value or []
    if not isinstance(found, list) or not all(isinstance(text, str) for text in found):
        raise AskedWronglyError("stop: a text or a list of texts")
    return tuple(text for text in found if text)


def _messages(values: Mapping[str, Any]) -> tuple[Mapping[str, Any], ...]:
    given = values.get("messages")
    if not isinstance(given, list) or not given:
        raise AskedWronglyError("messages: a list of at least one message")
    read = []
    for message in given:
        if not isinstance(message, Mapping) or not isinstance(message.get("role"), str):
            raise AskedWronglyError("messages: each is an object with a role and its content")
        read.append({**message, "content": _text(message.get("content"))})
    return tuple(read)


def _text(content: Any) -> str:
    """Return a message's content, of which the text parts are put together."""
    if content is None or isinstance(content, str):
        return _whole("messages", content or "")
    parts = content if isinstance(content, list) else [content]
    if not all(isinstance(p, Mapping) and p.get("type") == "text" and isinstance(p.get("text"), str) for p in parts):
        raise AskedWronglyError("messages: the embedded backend reads text alone")
    return _whole("messages", "\n".join(part["text"] for part in parts))


def _whole(name: str, text: str) -> str:
    """Return a text. Raises AskedWronglyError for half a character: JSON can write one, and no tokenizer reads it."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise AskedWronglyError(f"{name}: character {error.start} is half of a surrogate pair") from None
    return text


def _prompts(value: Any) -> tuple[str | tuple[int, ...], ...]:
    if isinstance(value, str):
        return (_whole("prompt", value),)
    if isinstance(value, list) and value:
        if _are_ids(value):
            return (tuple(value),)
        if all(isinstance(prompt, str) or (isinstance(prompt, list) and _are_ids(prompt)) for prompt in value):
            return tuple(_whole("prompt", one) if isinstance(one, str) else tuple(one) for one in value)
    raise AskedWronglyError("prompt: a text, a list of token ids, or a list of these")


def _are_ids(value: list[Any]) -> bool:
    return bool(value) and all(isinstance(token, int) and not isinstance(token, bool) and token >= 0 for token in value)


@dataclass
class Answer:
    """An answer on its way to the client."""

    asked: Asked
    model: str
    id: str = ""
    created: int = field(default_factory=lambda: int(time.time()))

    def __post_init__(self) -> None:
        """Give it an id."""
        self.id = f"{'chatcmpl' if self.asked.path == CHAT else 'cmpl'}-{uuid.uuid4().hex}"

    def whole(self, texts: Sequence[str], ends: Sequence[str], usage: Mapping[str, int]) -> bytes:
        """Return all of it."""
        chat = self.asked.path == CHAT
        choices = [
            {
                "index": i,
                **({"message": {"role": "assistant", "content": text}} if chat else {"text": text}),
                "logprobs": None,
                "finish_reason": end,
            }
            for i, (text, end) in enumerate(zip(texts, ends, strict=True))
        ]
        return _json({**self._head("chat.completion" if chat else "text_completion"), "choices": choices,
                      "usage": dict(usage)})  # fmt: skip

    def begin(self) -> bytes:
        """Return a stream's first event, nothing for plain completions."""
        if self.asked.path != CHAT:
            return b""
        return self._event([{"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}])

    def piece(self, index: int, text: str, end: str) -> bytes:
        """Return the event of new text and, once it has ended, of the reason."""
        content = {"delta": {"content": text} if text else {}} if self.asked.path == CHAT else {"text": text}
        return self._event([{"index": index, **content, "logprobs": None, "finish_reason": end or None}])

    def end(self, usage: Mapping[str, int]) -> bytes:
        """Return what ends a stream."""
        counted = self._event([], usage=dict(usage)) if self.asked.usage else b""
        return counted + b"data: [DONE]\n\n"

    def _event(self, choices: Iterable[Mapping[str, Any]], **more: Any) -> bytes:
        kind = "chat.completion.chunk" if self.asked.path == CHAT else "text_completion"
        return b"data: " + _json({**self._head(kind), "choices": list(choices), **more}) + b"\n\n"

    def _head(self, kind: str) -> dict[str, Any]:
        return {"id": self.id, "object": kind, "created": self.created, "model": self.model}


def _json(content: Mapping[str, Any]) -> bytes:
    return json.dumps(content, ensure_ascii=False).encode("utf-8", "replace")
