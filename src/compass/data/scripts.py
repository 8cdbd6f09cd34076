"""Which script letters are of, and scripts that write words without spaces between them."""

from __future__ import annotations

import unicodedata
from collections import Counter
from functools import lru_cache

_IDEOGRAPHIC = ("CJK", "HIRAGANA", "KATAKANA", "BOPOMOFO")
_SOUTH_EAST_ASIAN = ("THAI", "LAO", "KHMER", "MYANMAR", "TIBETAN")

_FIRST_UNSPACED = "\u0e00"

CHARACTERS_PER_WORD = {"ideographic": 2, "south-east-asian": 4}
"""Characters that stand for one word of a script without spaces, in n-grams [ours; near the means of zh and th]."""


_ISO_15924 = {
    "ARABIC": "Arab", "ARMENIAN": "Armn", "BENGALI": "Beng", "BOPOMOFO": "Hani", "CJK": "Hani", "CYRILLIC": "Cyrl",
    "DEVANAGARI": "Deva", "ETHIOPIC": "Ethi", "GEORGIAN": "Geor", "GREEK": "Grek", "GUJARATI": "Gujr",
    "GURMUKHI": "Guru", "HANGUL": "Hang", "HEBREW": "Hebr", "HIRAGANA": "Kana", "KANNADA": "Knda", "KATAKANA": "Kana",
    "KHMER": "Khmr", "LAO": "Laoo", "LATIN": "Latn", "MALAYALAM": "Mlym", "MYANMAR": "Mymr", "ORIYA": "Orya",
    "SINHALA": "Sinh", "TAMIL": "Taml", "TELUGU": "Telu", "THAI": "Thai", "TIBETAN": "Tibt",
}  # fmt: skip
"""First word of a letter's Unicode name -> script (ISO 15924); both kana count as one, bopomofo as Han."""

LETTERS_PER_SIGN = 3
"""Letters that a character of a script without spaces counts for [ours]."""


@lru_cache(maxsize=65536)
def script_of_letter(character: str) -> str:
    """Return the script of a letter (`Latn`, `Hani`; `Zzzz` for one that no entry names), `` for what is no letter."""
    if not character.isalpha():
        return ""
    return _ISO_15924.get(unicodedata.name(character, "").partition(" ")[0], "Zzzz")


def letters_by_script(text: str) -> Counter[str]:
    """Count a text's letters by script; one of a script without spaces counts for three."""
    if text.isascii():
        letters = sum(map(str.isalpha, text))
        return Counter({"Latn": letters} if letters else {})
    found: Counter[str] = Counter()
    for character, times in Counter(text).items():
        script, weight = _letter(character)
        if script:
            found[script] += times * weight
    return found


@lru_cache(maxsize=65536)
def _letter(character: str) -> tuple[str, int]:
    """Return a character's script and how many letters it counts for."""
    return script_of_letter(character), LETTERS_PER_SIGN if is_unspaced(character) else 1


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
    if text.isascii() or max(text) < _FIRST_UNSPACED:
        return False
    letters = [character for character in text if character.isalpha()]
    return 2 * sum(map(is_unspaced, letters)) > len(letters)
