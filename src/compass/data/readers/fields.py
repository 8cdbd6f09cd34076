"""One row, read by our names for its columns: texts, ids, conversations, each checked for its type."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from compass.data.example import Message
from compass.data.json_text import parse_json
from compass.data.readers.formats import Row
from compass.data.readers.hints import short
from compass.errors import DataError

_ROLES = {
    "human": "user", "prompter": "user", "gpt": "assistant", "chatgpt": "assistant", "bing": "assistant",
    "bard": "assistant", "model": "assistant", "bot": "assistant", "ai": "assistant", "function_call": "tool",
    "function": "tool", "observation": "tool", "function_response": "tool",
}  # fmt: skip
"""ShareGPT's and other names of a role -> ours."""
TOOL = "tool"
"""Role of a call of a tool, and of what a tool returned."""
TOOL_CALLS, NO_USER_TURN, OTHER_TURN = "tool calls", "no user turn", "a turn of another role"
MEDIA = "images or other media"
"""Why a conversation can't be used."""
NO_PROMPT, OTHER_TYPE = "no prompt", "a field of another type"
"""Why any row can't be used: it has no such field, or a number, a list or an object where a text should be."""
TEXT_PARTS = ("text", "input_text", "output_text")
"""Types of the parts of a turn that are text, where its content is a list."""
_SURROGATE = re.compile("[\ud800-\udfff]")


class UnusableRowError(DataError):
    """A row that is what it should be, and yet can't be used: it is left out and counted by `reason`."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Fields:
    """The fields of one row. Methods take our names and raise UnusableRowError for a value of another type.

    `columns` maps our names to the file's; `""` leaves the file's column aside.
    """

    row: Row
    columns: Mapping[str, str]
    place: str
    """File and line or record, for error messages."""
    source: str
    """Name of the source, as its rows carry it."""
    prompts_only: bool = False
    """Whether responses are of no interest, as in a log of production."""
    used: dict[str, str] = field(default_factory=dict)
    """The file's columns of which a value was read -> our names for them."""

    def theirs(self, ours: str) -> str:
        """Return the file's name for a field."""
        return self.columns.get(ours, ours)

    def get(self, ours: str) -> Any:
        """Return a field as it is, None if the row lacks it or holds no value (NaN is none)."""
        theirs = self.theirs(ours)
        value = self.row.get(theirs)
        if is_missing(value):
            return None
        self.used[theirs] = ours
        return value

    def ignored(self, ours: str) -> bool:
        """Say whether the user asked to leave the file's column aside."""
        return self.columns.get(ours) == ""

    def text(self, ours: str) -> str:
        """Return a text field; null is empty, lone surrogates become U+FFFD."""
        return _text(self.place, self.theirs(ours), self.get(ours))

    def name(self, ours: str) -> str:
        """Return an id, a label or a source, which may be a number, true or false in the file."""
        value = self.get(ours)
        if isinstance(value, bool):
            return str(value).lower()
        if value is None or isinstance(value, list | dict | bytes):
            # What is no name is left aside; an id is then made from the content.
            return ""
        return _without_surrogates(str(value))

    def turns(self, ours: str) -> list[Message]:
        """Return the messages of a conversation, in OpenAI's or ShareGPT's field names."""
        name, value = self.theirs(ours), self.get(ours)
        if isinstance(value, str):
            value = self._parsed(name, value)
        if isinstance(value, Mapping):
            value = _by_turns(value)
        if not isinstance(value, list):
            raise self._of_another_type(f"{name!r} must be a list of messages, got {type(value).__name__}.")
        return [self._turn(name, turn) for turn in value]

    def pairs(self, ours: str) -> list[Message]:
        """Return earlier turns, written as pairs of what user and assistant said, or as a list of messages."""
        value = self.get(ours)
        if isinstance(value, str) and value.strip():
            value = self._parsed(self.theirs(ours), value)
        if value in (None, "", []):
            return []
        if not isinstance(value, list) or not all(isinstance(pair, list) and len(pair) == 2 for pair in value):
            return self.turns(ours)
        name = self.theirs(ours)
        texts = [(role, text) for pair in value for role, text in zip(("user", "assistant"), pair, strict=True)]
        return [Message(role, _text(self.place, name, text)) for role, text in texts if text]

    def _parsed(self, name: str, value: str) -> Any:
        """Return what a text holds as JSON: CSV and some Parquet files have lists so."""
        try:
            return parse_json(value)
        except ValueError as error:
            raise self._of_another_type(f"{name!r} must be a list of messages, got the text {short(value)}.") from error

    def _of_another_type(self, message: str) -> UnusableRowError:
        return UnusableRowError(OTHER_TYPE, f"{self.place}: {message}")

    def _turn(self, name: str, turn: Any) -> Message:
        role = _first(turn, "role", "from") if isinstance(turn, Mapping) else None
        if not isinstance(role, str):
            raise self._of_another_type(
                f"each message of {name!r} must be an object with role and content, got {short(turn)}."
            )
        content = self._said(f"{name}.content", _first(turn, "content", "value", "text"))
        if turn.get("tool_calls") or turn.get("function_call"):
            role = TOOL
        return Message(_ROLES.get(role.lower(), role.lower()), content)

    def _said(self, name: str, value: Any) -> str:
        """Return what a turn says: a text, or the texts of its parts, a line each."""
        if not isinstance(value, list):
            return _text(self.place, name, value)
        texts = []
        for part in value:
            text = part.get("text") if isinstance(part, Mapping) else part
            if isinstance(part, Mapping) and not is_missing(kind := part.get("type")) and kind not in TEXT_PARTS:
                raise UnusableRowError(MEDIA, f"{self.place}: {name!r} has a part of the type {short(kind)!r}.")
            texts.append(_text(self.place, name, text))
        return "\n".join(text for text in texts if text)


def _first(turn: Mapping[str, Any], *names: str) -> Any:
    """Return the first of some fields that has a value: in tables a turn has the fields of all names."""
    return next((turn[name] for name in names if not is_missing(turn.get(name))), None)


def _by_turns(columns: Mapping[str, Any]) -> Any:
    """Return the turns of a conversation that is written field by field, as `datasets` stores lists of objects."""
    values = list(columns.values())
    if not values or not all(isinstance(value, list) for value in values) or len({len(value) for value in values}) > 1:
        return columns
    return [dict(zip(columns, cells, strict=True)) for cells in zip(*values, strict=True)]


def is_missing(value: Any) -> bool:
    """Say whether a field holds no value: null, or the NaN that stands for it in data frames."""
    return value is None or (isinstance(value, float) and math.isnan(value))


def _text(place: str, name: str, value: Any) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise UnusableRowError(
            OTHER_TYPE, f"{place}: {name!r} must be text, got {type(value).__name__}: {short(value)}. Write it as text."
        )
    return _without_surrogates(value)


def _without_surrogates(text: str) -> str:
    return text if text.isascii() else _SURROGATE.sub("\ufffd", text)
