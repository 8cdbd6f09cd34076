"""Hints in error messages: the nearest name, a list and a value cut to a readable length."""

from __future__ import annotations

import difflib
import re
import reprlib
from collections.abc import Iterable
from typing import Any

_GAPS = re.compile(r"[\s\-]+")


def plain_name(name: str) -> str:
    """Return a column's name in lower case, with an underscore for spaces and hyphens and none around it."""
    return _GAPS.sub("_", name.strip(" \t\r\n\ufeff").casefold())


def nearest(name: str, names: Iterable[str]) -> str:
    """Return the end of a sentence, `; nearest: 'prompt'.`, or a full stop if no name is close."""
    close = difflib.get_close_matches(name, list(names), n=1, cutoff=0.5)
    return f"; nearest: {close[0]!r}." if close else "."


def listed(names: Iterable[str], most: int = 12) -> str:
    """Return the first names, separated by commas, and how many more there are."""
    found = list(names)
    return ", ".join(found[:most]) + (f" and {len(found) - most} more" if len(found) > most else "")


def short(value: Any, most: int = 60) -> str:
    """Return a value as text of at most `most` characters."""
    text = value if isinstance(value, str) else reprlib.repr(value)
    return text if len(text) <= most else text[: most - 1] + "…"
