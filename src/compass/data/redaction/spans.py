"""What the finders share: found stretches, and a text in plain characters of the same length."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property, lru_cache

from compass.data.scripts import is_unspaced

Span = tuple[int, int, str]
"""Start, end, and kind of private data."""


@dataclass(frozen=True)
class Scanned:
    """A text as the finders see it; each form has a character for each one of the text."""

    text: str
    context: str = ""
    """What stands before the text, as the key of a JSON value."""

    @cached_property
    def plain(self) -> str:
        """ASCII digits for those of any script and width, one kind of space, hyphen and quotation mark."""
        return self.text if self.text.isascii() else "".join(map(_plain, self.text))

    @cached_property
    def spaced(self) -> str:
        """`plain` with a space for each letter of Chinese, Japanese or Thai, which show no ends of words."""
        return "".join(" " if is_unspaced(character) else character for character in self.plain)

    def without(self, spans: Iterable[Span]) -> Scanned:
        """Return the text with spaces in place of what was found."""
        text = self.text
        for start, end, _ in spans:
            text = text[:start] + " " * (end - start) + text[end:]
        return self if text is self.text else Scanned(text, self.context)

    def before(self, start: int, characters: int) -> str:
        """Return what stands before a place, with what stands before the text."""
        return f"{self.context} {self.plain[:start]}"[-characters:]

    def after(self, end: int, characters: int) -> str:
        """Return what stands after a place."""
        return self.plain[end : end + characters]


@lru_cache(maxsize=65536)
def _plain(character: str) -> str:
    if character.isascii():
        return character
    category = unicodedata.category(character)
    if category == "Nd":
        return str(unicodedata.digit(character))
    if category == "Pd" or character == "\u2212":
        return "-"
    if category in ("Zs", "Cf"):
        return " "
    folded = unicodedata.normalize("NFKC", character)
    return folded if len(folded) == 1 and folded.isascii() else character
