"""Tokenizer fertility: how many tokens a language costs, against English."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from compass.data.languages import same_language
from compass.data.scripts import is_mostly_unspaced, is_unspaced


@dataclass(frozen=True)
class Fertility:
    """The tokens of one language's texts.

    `unit` says what a word is: `word`, or `character` where the script writes no spaces between words.
    """

    language: str
    texts: int
    tokens: int
    unit: str
    tokens_per_word: float
    tokens_per_byte: float
    """Tokens per byte of UTF-8; a byte carries less in scripts of two or three bytes a letter."""
    relative_to_english: float | None
    """Tokens per word over English tokens per word; for parallel texts, tokens over English tokens. None without
    English, and for characters, which do not compare with words."""
    bytes_relative_to_english: float | None
    """Tokens per byte over English tokens per byte; None without English."""

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dict."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


def fertility(
    texts_by_language: Mapping[str, Sequence[str]],
    tokenize: Callable[[str], Sequence[Any]],
    *,
    parallel: bool = False,
) -> tuple[Fertility, ...]:
    """Return one row for each language with a word in it, in the order given.

    tokenize: text to tokens, without special tokens. parallel: the languages say the same, text by text, so whole
    texts compare, whatever the script. Words are runs without white space that hold a letter or digit; in scripts
    without spaces each letter counts (unit `character`). English is the language `en`. Raises LanguageError for an
    unknown tag.
    """
    rows = [_measure(language, texts, tokenize) for language, texts in texts_by_language.items()]
    rows = [row for row in rows if row.words]
    english = next((row for row in rows if same_language(row.language, "en")), None)
    return tuple(_against(row, english, parallel) for row in rows)


@dataclass(frozen=True)
class _Counts:
    language: str
    texts: int
    tokens: int
    words: int
    bytes: int
    unit: str


def _measure(language: str, texts: Sequence[str], tokenize: Callable[[str], Sequence[Any]]) -> _Counts:
    unspaced = 2 * sum(map(is_mostly_unspaced, texts)) > len(texts)
    count = _characters if unspaced else _words
    return _Counts(
        language=language,
        texts=len(texts),
        tokens=sum(len(tokenize(text)) for text in texts),
        words=sum(map(count, texts)),
        bytes=sum(len(text.encode("utf-8", "surrogatepass")) for text in texts),
        unit="character" if unspaced else "word",
    )


def _words(text: str) -> int:
    return sum(any(map(str.isalnum, word)) for word in text.split())


def _characters(text: str) -> int:
    """Count letters of scripts without spaces, and words of the others between them."""
    letters = sum(is_unspaced(character) and character.isalnum() for character in text)
    return letters + _words("".join(" " if is_unspaced(character) else character for character in text))


def _against(row: _Counts, english: _Counts | None, parallel: bool) -> Fertility:
    relative = by_bytes = None
    if english is not None and english.tokens:
        by_bytes = (row.tokens / row.bytes) / (english.tokens / english.bytes)
        if parallel:
            relative = (row.tokens / row.texts) / (english.tokens / english.texts)
        elif row.unit == english.unit:
            relative = (row.tokens / row.words) / (english.tokens / english.words)
    return Fertility(
        language=row.language,
        texts=row.texts,
        tokens=row.tokens,
        unit=row.unit,
        tokens_per_word=row.tokens / row.words,
        tokens_per_byte=row.tokens / row.bytes,
        relative_to_english=relative,
        bytes_relative_to_english=by_bytes,
    )
