"""Scripts that write words without spaces between them."""

from __future__ import annotations

import unicodedata
from functools import lru_cache

_IDEOGRAPHIC = ("CJK", "HIRAGANA", "KATAKANA", "BOPOMOFO")
_SOUTH_EAST_ASIAN = ("THAI", "LAO", "KHMER", "MYANMAR", "TIBETAN")

_FIRST_UNSPACED = "\u0e00"

CHARACTERS_PER_WORD = {"ideographic": 2, "south-east-asian": 4}
"""Characters that stand for one word of a script without spaces, in n-grams [ours; near the means of zh and th]."""


@lru_cache(maxsize=65536)
def unspaced_kind(character: str) -> str:
    """Return `ideographic` (Han, kana, bopomofo), `south-east-asian` (Thai, Lao, Khmer, Burmese, Tibetan) or ``."""
    if character < _FIRST_UNSPACED:
        return ""
    name = unicodedata.name(character, "")
    if name.startswith(_IDEOGRAPHIC):
        return "ideographic"
    return "south-east-asian" if name.startswith(_SOUTH_EAST_ASIAN) else ""


def is_unspaced(character: str) -> bool:
    """Say whether a character belongs to a script that writes no spaces between words."""
    return bool(unspaced_kind(character))


def is_mostly_unspaced(text: str) -> bool:
    """Say whether more than half of a text's letters belong to scripts without spaces."""
    if max(text, default="") < _FIRST_UNSPACED:
        return False
    letters = [character for character in text if character.isalpha()]
    return 2 * sum(map(is_unspaced, letters)) > len(letters)
