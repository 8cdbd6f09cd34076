"""What of a text is written in its language: not its code, links, quotations and names."""

from __future__ import annotations

import regex

_CODE = regex.compile(r"```.*?(?:```|\Z)|`[^`\n]*`|</?[A-Za-z][^<>\n]*>|\{\{.{0,200}?\}\}", regex.DOTALL)
_JSON = regex.compile(r"[\[{][^\[\]{}]*\"[^\[\]{}]*[\]}]")
"""The innermost object or list with a string in it."""
_LINK = regex.compile(r"(?:(?<!\w)\w++://|www\.)[\x21-\x7e]+|(?<![^\s@<>()])[^\s@<>()]++@[^\s@<>()]+\.\w+")
_KEY_LETTER = regex.compile(r"\[(\p{L})\]")
"""The letter that stands for an option, as in `[r]emove`: part of its word."""
_IDENTIFIER = regex.compile(
    r"(?<![\x21-\x7e])(?:[\x21-\x7e]*?[_/\\=<>$#@|~^*+0-9][\x21-\x7e]*|--?[a-z][\x21-\x7e]*)"
    r"|(?<![A-Za-z0-9_-])[A-Za-z0-9_-]++\.[a-z0-9]{1,5}\b"
)
"""Paths, numbers, options, variables, file names."""
_QUOTATION = regex.compile(
    r"\"[^\"]*\"|“[^“”]*”|„[^„“”]*[“”]|«[^«»]*»|»[^«»]*«|「[^「」]*」|『[^『』]*』|‘[^‘’]*’"
    r"|(?<![\p{L}\p{N}])'[^'\n]+(?:'\p{L}[^'\n]*){0,9}'(?!\p{L})"
)
_DEPTH = 8
"""Objects and lists inside one another that are taken out."""
_NAME = regex.compile(r"(?<=[\p{Ll}\p{Lm},;] )(?:\p{Lu}[\p{L}\p{M}'’-]*)(?: \p{Lu}[\p{L}\p{M}'’-]*)*")
"""Words with a capital inside a sentence."""

_SPECIAL = regex.compile(r"[^\w\s,?!;:()]|[\d_]")
"""Without one of these a text has nothing to be taken out but names."""

MAX_CHARS = 4000
"""Characters of a text that are looked at."""


def prose(text: str, *, names: bool = True) -> str:
    """Return a text without code, links, identifiers and quotations, with single spaces.

    names: keep words with a capital inside a sentence; without them German loses its nouns. A quotation stays where
    there are no letters beside it. Of a long text the first MAX_CHARS characters count.
    """
    text = text[:MAX_CHARS]
    if _SPECIAL.search(text) is None:
        return " ".join((text if names else _NAME.sub(" ", text)).split())
    # A pattern is searched for only if the signs that it needs are there: most prompts have one or two of them, and one
    # search costs as much as all of these checks.
    if "`" in text or "<" in text or "{{" in text:
        text = _CODE.sub(" ", text)
    if "://" in text or "www." in text or "@" in text:
        text = _LINK.sub(" ", text)
    for _ in range(_DEPTH if '"' in text and ("[" in text or "{" in text) else 0):
        text, replaced = _JSON.subn(" ", text)
        if not replaced:
            break
    if "[" in text:
        text = _KEY_LETTER.sub(r"\1", text)
    text = _IDENTIFIER.sub(" ", text)
    outside = _QUOTATION.sub(" ", text)
    if any(character.isalpha() for character in outside):
        text = outside
    return " ".join((text if names else _NAME.sub(" ", text)).split())
