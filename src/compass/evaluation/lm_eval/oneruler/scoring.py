"""Scores of answers, by the authors' rules."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any


def score(doc: Mapping[str, Any], results: Sequence[str]) -> dict[str, float]:
    """Score an answer as the authors do: 1 or 0."""
    answer = results[0]
    if doc["kind"] == "none":
        right = says_none(answer, doc["nones"])
    elif doc["kind"] == "words":
        right = has_all_words(answer, doc["outputs"])
    else:
        right = has_just_these_numbers(answer, doc["outputs"], doc["nones"])
    return {"acc": float(right)}


def has_just_these_numbers(answer: str, numbers: Sequence[str], nones: Sequence[str]) -> bool:
    """Say whether the answer's numbers of two digits or more are these, each once or more, and nothing says `none`."""
    text = unicodedata.normalize("NFKC", answer)
    if any(none in text or _bare(none) in text for none in nones):
        return False
    found = dict.fromkeys(number for number in re.findall(r"\d+", text) if len(number) > 1)
    return len(found) == len(numbers) and {int(number) for number in found} == {int(number) for number in numbers}


def says_none(answer: str, nones: Sequence[str]) -> bool:
    """Say whether one of the words for `none` is in the answer, whatever else is."""
    text = _bare(unicodedata.normalize("NFKC", answer))
    return any(_bare(none) in text for none in nones)


def has_all_words(answer: str, words: Sequence[str]) -> bool:
    """Say whether every word is somewhere in the answer, in any order and beside any others."""
    text = answer.strip().lower()
    return all(word.strip().lower() in text for word in words)


def _bare(text: str) -> str:
    return text.strip().lower().replace("\u200c", "").replace(" ", "")
