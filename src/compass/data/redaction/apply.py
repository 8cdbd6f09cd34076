"""Replace what the finders find, in a text and in every text of a row."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import replace
from functools import partial

from compass.data.example import Example, Message
from compass.data.redaction.addresses import find_addresses
from compass.data.redaction.numbers import find_numbers
from compass.data.redaction.phones import find_phones
from compass.data.redaction.secrets import find_secrets
from compass.data.redaction.spans import Scanned, Span

CONTEXT = 80
"""Characters before a value of JSON in which words say what it is."""
_JSON_VALUE = re.compile(r'"(?:[^"\\]|\\.)*"|-?\d[\d.eE+-]*')


def redact(text: str, language: str = "und", *, context: str = "") -> str:
    """Return the text with private data replaced. Raises MissingExtraError without the packages.

    context: what stands before the text, for words that say what a number is.
    """
    scanned = Scanned(text, context)
    found: list[Span] = []
    # The more particular kinds come first; what they find is blank for the others.
    for finder in (find_secrets, find_numbers, find_addresses, partial(find_phones, language=language)):
        spans = _apart(finder(scanned))
        found += spans
        scanned = scanned.without(spans)
    out, end = [], 0
    for start, stop, kind in sorted(found):
        out += [text[end:start], f"[{kind}]"]
        end = stop
    return "".join([*out, text[end:]])


def _apart(spans: Iterable[Span]) -> list[Span]:
    """Return spans of which none reaches into another: overlapping ones become one, named by the first and longest."""
    merged: list[Span] = []
    for start, stop, kind in sorted(spans, key=lambda span: (span[0], -span[1])):
        if merged and start < merged[-1][1]:
            merged[-1] = (merged[-1][0], max(stop, merged[-1][1]), merged[-1][2])
        else:
            merged.append((start, stop, kind))
    return merged


def redact_example(row: Example) -> Example:
    """Return the row with private data replaced in prompt, response and context; a response in JSON stays JSON."""
    prompt = redact(row.prompt, row.language)
    response = (
        _redact_json(row.response, row.language) if _is_json(row.response) else redact(row.response, row.language)
    )
    context = tuple(Message(turn.role, redact(turn.content, row.language)) for turn in row.context)
    return replace(row, prompt=prompt, response=response, context=context)


def check_installed() -> None:
    """Raise MissingExtraError now, and not at the first text, if redaction can't work."""
    redact("0" * 7)


def _is_json(text: str) -> bool:
    if not text.lstrip().startswith(("{", "[")):
        return False
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _redact_json(text: str, language: str) -> str:
    def value(match: re.Match[str]) -> str:
        context = text[max(0, match.start() - CONTEXT) : match.start()]
        if match[0].startswith('"'):
            return f'"{redact(match[0][1:-1], language, context=context)}"'
        found = redact(match[0], language, context=context)
        # A number that gives way to a mark becomes a text, or the whole would be no JSON any more.
        return found if found == match[0] else f'"{found}"'

    return _JSON_VALUE.sub(value, text)
