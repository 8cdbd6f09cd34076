"""The JSON body of a request: read once, and passed on as it came but for the fields that the gateway has to set."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_DECODER = json.JSONDecoder()
_SPACE = " \t\n\r"


@dataclass(frozen=True)
class Body:
    """A JSON object: its values, and where in the text each of them stands."""

    text: str
    values: Mapping[str, Any]
    spans: Mapping[str, tuple[int, int]]
    """Name of a field -> start and end of its value in the text."""

    @property
    def streams(self) -> bool:
        """Whether the answer is to come piece by piece."""
        return self.values.get("stream") is True

    def with_fields(self, **fields: Any) -> bytes:
        """Return the body with these fields set; every other byte of it stays as it came."""
        text = self.text
        known = sorted(((self.spans[name], name) for name in fields if name in self.spans), reverse=True)
        for (start, end), name in known:
            text = text[:start] + json.dumps(fields[name], ensure_ascii=False) + text[end:]
        if new := {name: value for name, value in fields.items() if name not in self.spans}:
            end = text.rindex("}")
            comma = ", " if self.values else ""
            text = text[:end] + comma + json.dumps(new, ensure_ascii=False)[1:-1] + text[end:]
        return text.encode("utf-8", "surrogatepass")


def read_body(raw: bytes) -> Body:
    """Read a request's body. Raises ValueError, without its content, if it is no JSON object in UTF-8.

    Of a field that is there twice the last one counts, as everywhere in JSON.
    """
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"the body is not UTF-8 (byte {error.start})") from None
    try:
        return _parsed(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"the body is not a JSON object (character {error.pos})") from None
    except (IndexError, StopIteration):
        raise ValueError("the body is not a whole JSON object") from None
    except (ValueError, RecursionError):
        raise ValueError("the body holds a number that is too long, or is nested too deeply") from None


def _parsed(text: str) -> Body:
    values: dict[str, Any] = {}
    spans: dict[str, tuple[int, int]] = {}
    at = _after(text, _skip(text, 0), "{")
    at = _skip(text, at)
    while text[at] != "}":
        if values:
            at = _skip(text, _after(text, at, ","))
        _after(text, at, '"')
        name, at = _DECODER.raw_decode(text, at)
        start = _skip(text, _after(text, _skip(text, at), ":"))
        values[name], end = _DECODER.raw_decode(text, start)
        spans[name] = (start, end)
        at = _skip(text, end)
    if _skip(text, at + 1) != len(text):
        raise json.JSONDecodeError("more than one value", "", at + 1)
    return Body(text, values, spans)


def _skip(text: str, at: int) -> int:
    while at < len(text) and text[at] in _SPACE:
        at += 1
    return at


def _after(text: str, at: int, sign: str) -> int:
    if text[at] != sign:
        raise json.JSONDecodeError("unexpected character", "", at)
    return at + 1
