"""Function calls in responses and answers.

A function call is a flat JSON object with a string under `intent`; every other key is a slot:
`{"intent":"StartTimer","minutes":5}`.
"""

from __future__ import annotations

import json
import unicodedata
from dataclasses import dataclass
from typing import Any, NoReturn

INTENT_KEY = "intent"
"""The key that names the function; every other key is a slot."""

MAX_STARTS = 32
"""Opening braces tried before an answer counts as no call: keeps an answer of thousands of braces linear."""


@dataclass(frozen=True, slots=True)
class Call:
    """A function call: its intent and its slots as (key, canonical JSON value) pairs, in no order."""

    intent: str
    slots: frozenset[tuple[str, str]]


def parse_call(text: str) -> Call | None:
    """Read the first JSON object in `text` as a function call; None where there is none or it names no intent.

    Text around the object is ignored. Strings are compared in NFC, 5 equals 5.0, and true differs from 1.
    NaN and Infinity are not JSON and make the object unreadable. Never raises.
    """
    value = _first_object(text)
    intent = _intent(value)
    if value is None or intent is None:
        return None
    try:
        slots = frozenset((nfc(key), _canonical(slot)) for key, slot in value.items() if key != INTENT_KEY)
    except RecursionError:
        return None
    return Call(intent, slots)


def intent_of(text: str) -> str | None:
    """Return the intent of the first JSON object in `text`, as `parse_call`, without a look at the slots."""
    return _intent(_first_object(text))


def _intent(value: dict[str, Any] | None) -> str | None:
    intent = None if value is None else value.get(INTENT_KEY)
    return nfc(intent) if isinstance(intent, str) else None


def parse_response(text: str) -> Call | None:
    """Read an expected response as a function call; None unless the object is all there is in the text."""
    stripped = text.strip()
    if not (stripped.startswith("{") and stripped.endswith("}")):
        return None
    try:
        json.loads(stripped)
    except (ValueError, RecursionError):
        return None
    return parse_call(stripped)


def _first_object(text: str) -> dict[str, Any] | None:
    start = -1
    for _ in range(MAX_STARTS):
        start = text.find("{", start + 1)
        if start < 0:
            return None
        try:
            value, _end = _DECODER.raw_decode(text, start)
        except (ValueError, RecursionError):
            continue
        return value if isinstance(value, dict) else None
    return None


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant)
_ENCODER = json.JSONEncoder(ensure_ascii=True, sort_keys=True, separators=(",", ":"))


def _canonical(value: Any) -> str:
    return _ENCODER.encode(_normalise(value))


def _normalise(value: Any) -> Any:
    if isinstance(value, str):
        return nfc(value)
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, list):
        return [_normalise(item) for item in value]
    if isinstance(value, dict):
        return {nfc(key): _normalise(item) for key, item in value.items()}
    return value


def nfc(text: str) -> str:
    """Return the text in Unicode's composed form, in which texts are compared."""
    return unicodedata.normalize("NFC", text)
