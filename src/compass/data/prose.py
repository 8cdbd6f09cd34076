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
_CODE_LINE = regex.compile(
    r"^(?:\t|[ ]{2,}\S)|[{}]\s*$|^\s*[)\]}>]"  # indented, brackets
    r"|(?<=[\x21-\x7e]);\s*$"  # the end of a statement; in Greek, of a question
    r"|^\s*(?:#include|#!|//|/\*|\$ |>>> |<[a-zA-Z!?])"
    r"|^\s*(?:import|from|def|class|return|public|private|static|function|func|const|let|var|package|using|sudo)\s+\S"
    r"|^\s*(?:SELECT|FROM|WHERE|(?:GROUP|ORDER) BY|INSERT|UPDATE|DELETE|CREATE|(?:LEFT |INNER )?JOIN)\s"
    r"|^\s*(?:at\s+[\w$]+[.][\w$.]+|File \"|Traceback \(|Caused by: )|\b[A-Z]\w*(?:Error|Exception)\b"
    r"|^\s*\[?\d{4}-\d\d-\d\d[T ]\d"  # traces and logs
    r"|^\s*[a-z][\w-]*:\s*(?:[\w./:-]+)?$"  # a setting
)
"""A line of a program, of a file of settings or of a log, where it stands between others without a fence."""
_OPERATOR = regex.compile(r"\w\([^()]*\)|\w\(\S*$|[=!<>]=|[-=]>|&&|\|\||::|\+\+|\s=\s|</|/>")
"""A call or an operator: code in a line of few words, a formula in a sentence."""
_FEW_WORDS = 8
_PURE_WORD = regex.compile(r"(?<!\S)\p{L}[\p{L}\p{M}]+(?=[\s,.?!]|\Z)")
_COMMENT_LINE = regex.compile(r"^\s*(?:#|//|/\*|--|;|%|(?<=\s)\*|\"\"\"|''')")
"""A line that is a comment where there is code, and a heading elsewhere."""
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


def without_code_lines(text: str) -> str:
    """Return a text without the lines that look like code, settings or logs; as it is if it has no other lines."""
    if "\n" not in text:
        return text
    lines = text[:MAX_CHARS].splitlines()
    own = [line for line in lines if not _is_code(line)]
    if len(own) < len(lines):
        own = [line for line in own if _COMMENT_LINE.search(line) is None]
    return "\n".join(own) if any(character.isalpha() for line in own for character in line) else text


def _is_code(line: str) -> bool:
    if _CODE_LINE.search(line):
        return True
    return _OPERATOR.search(line) is not None and len(_PURE_WORD.findall(line)) < _FEW_WORDS
