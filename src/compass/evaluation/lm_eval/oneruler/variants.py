"""OneRuler's seven tasks, their numbers, and their names."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from compass.errors import ConfigError


@dataclass(frozen=True)
class Needles:
    """How many keys are hidden, values of each key, and keys that are asked for."""

    keys: int = 1
    values: int = 1
    queries: int = 1
    answerable: bool = True
    """False: the key that is asked for is not in the text."""


@dataclass(frozen=True)
class Words:
    """How often common and other words stand in a list: at any length, and up to SHORT tokens."""

    usual: tuple[int, int]
    short: tuple[int, int]


VARIANTS: Mapping[str, Needles | Words] = {
    "niah_single": Needles(),
    "niah_multikey": Needles(keys=4),
    "niah_multivalue": Needles(values=4),
    "niah_multiquery": Needles(keys=2, queries=2),
    "niah_none": Needles(keys=4, answerable=False),
    "cwe_easy": Words((30, 3), (10, 1)),
    "cwe_hard": Words((20, 10), (10, 5)),
}
"""The seven tasks, by the authors' names (their `cwe` is `cwe_hard` here)."""

COMMON_WORDS = 10

SHORT = 8_000

DEPTHS = tuple(round(100 * i / 39) for i in range(40))
"""Places in the text, in per cent, at which needles may lie."""

ANSWER_TOKENS = {"niah": 128, "cwe": 256}
"""Tokens of an answer [ours]; the authors' 30 and 50 are short of four numbers in many tokenizers."""

LEAST_TOKENS = 512

FURTHER_NONES: Mapping[str, tuple[str, ...]] = {"ja": ("数字はありません",), "uk": ("Нема",), "cs": ("žádná",)}
"""What counts as `none` besides the prompt's own word, as in the authors' scoring."""

NAME = re.compile(
    r"oneruler_(?:(?P<variant>niah_[a-z]+|cwe_[a-z]+)_)?(?P<language>[a-z]{2})_(?P<length>[0-9]+)(?P<k>k?)"
)


def is_oneruler(name: str) -> bool:
    """Say whether a task's name is one of OneRuler's."""
    return name.startswith("oneruler_")


def parse_name(name: str, languages: Sequence[str]) -> tuple[list[str], str, int]:
    found = NAME.fullmatch(name)
    if not found or (found["variant"] and found["variant"] not in VARIANTS):
        raise ConfigError(
            [f"tasks: {name!r} is not a task of OneRuler. Names are oneruler_VARIANT_LANGUAGE_LENGTH, such as "
             f"oneruler_niah_single_sw_8k; the variants are {', '.join(VARIANTS)}, and none means all"]
        )  # fmt: skip
    if found["language"] not in languages:
        raise ConfigError([f"tasks: {name!r}: OneRuler has no {found['language']!r}, it has {', '.join(languages)}"])
    length = int(found["length"]) * (1_000 if found["k"] else 1)
    if length < LEAST_TOKENS:
        raise ConfigError([f"tasks: {name!r}: a length of {length} tokens, and {LEAST_TOKENS} are the least"])
    return [found["variant"]] if found["variant"] else list(VARIANTS), found["language"], length
