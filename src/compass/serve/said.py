"""What an answer says: its id and its text, out of the bytes that were passed on."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any


def id_and_text(answer: bytes, *, streamed: bool) -> tuple[str, str]:
    """Return the id and the text of the first choice; empty where an answer has none, or is no OpenAI answer."""
    found, parts = "", []
    for piece in _pieces(answer, streamed=streamed):
        if not found and isinstance(piece.get("id"), str):
            found = piece["id"]
        choices = piece.get("choices")
        for choice in choices if isinstance(choices, list) else ():
            if isinstance(choice, Mapping) and not choice.get("index"):
                parts.append(_text(choice))
    return found, "".join(parts)


def _pieces(answer: bytes, *, streamed: bool) -> Iterator[Mapping[str, Any]]:
    texts = [answer]
    if streamed:
        lines = answer.replace(b"\r\n", b"\n").split(b"\n")
        texts = [line[5:] for line in lines if line.startswith(b"data:") and line[5:].strip() != b"[DONE]"]
    for text in texts:
        try:
            piece = json.loads(text)
        except (ValueError, RecursionError):
            continue
        if isinstance(piece, Mapping):
            yield piece


def _text(choice: Mapping[str, Any]) -> str:
    for part in (choice.get("delta"), choice.get("message")):
        if isinstance(part, Mapping) and isinstance(part.get("content"), str):
            return str(part["content"])
    text = choice.get("text")
    return text if isinstance(text, str) and "message" not in choice else ""
