"""Rows that give away a held-out row: the same text, a shared n-gram of words, or a translation."""

from __future__ import annotations

import logging
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from compass.data.cleaning.duplicates import fold
from compass.data.cleaning.result import Cleaned, Found, apply_rules, found_in_blocks
from compass.data.example import Example
from compass.data.scripts import CHARACTERS_PER_WORD, unspaced_kind

logger = logging.getLogger(__name__)

OVERLAP, TRANSLATION = "overlap", "translation of a held-out row"

NGRAM = 8
"""Words that a text must share with a held-out one in a row to overlap with it."""
TEMPLATE_TEXTS = 10
TEMPLATE_SHARE = 0.01
"""An n-gram in more held-out texts than both of these is a template (`answer with one letter ...`), not a leak."""


def decontaminate(examples: Iterable[Example], against: Sequence[Example], ngram: int = NGRAM) -> Cleaned:
    """Drop the examples that share a prompt, an n-gram of `ngram` words or a `parallel_id` with those of `against`.

    A shared `parallel_id` makes an example in another language the translation of a held-out one, whose answer it gives
    away. Compared are letters and digits, case folded, in NFC. An example overlaps if its prompt or a turn of its
    context is the same text as a held-out prompt (the only rule for prompts shorter than an n-gram), or if any of its
    texts, the response too, holds an n-gram of one. In scripts without spaces an n-gram is 2 · ngram characters of Han
    or kana and 4 · ngram of Thai, Lao, Khmer, Burmese or Tibetan. N-grams of more than ten held-out texts (and more
    than 1 % of them) are templates and do not count; GPT-3's filter has the same rule (arXiv 2005.14165, appendix C).
    """
    return apply_rules(examples, [partial(find_overlap, against=against, ngram=ngram)])


def find_overlap(rows: Sequence[Example], *, against: Sequence[Example], ngram: int = NGRAM) -> Found:
    """Find the rows that give away a row of `against`, by the rules of `decontaminate`."""
    return found_in_blocks(partial(_given_away, held_out=_index(against, ngram), ngram=ngram), rows)


def _given_away(rows: Sequence[Example], held_out: _HeldOut, ngram: int) -> Found:
    named = ((index, held_out.given_away_by(row, ngram)) for index, row in enumerate(rows))
    return {index: found for index, found in named if found is not None}


@dataclass(frozen=True)
class _HeldOut:
    """Held-out rows by what gives them away; where several share it, their smallest id stands for them."""

    texts: Mapping[str, str]
    """Letters of a prompt -> id."""
    ngrams: Mapping[str, str]
    """n-gram of a prompt, if it is no template -> id."""
    parallel: Mapping[str, Mapping[str, str]]
    """parallel_id -> language -> id."""

    def given_away_by(self, row: Example, ngram: int) -> tuple[str, str] | None:
        """Return (reason, detail) if the row gives a held-out one away."""
        shared_by = self.parallel.get(row.parallel_id, {})
        translations = [name for language, name in shared_by.items() if language != row.language]
        if translations:
            return TRANSLATION, f"has the parallel_id {row.parallel_id} of {min(translations)}"
        turns = [row.prompt, *(turn.content for turn in row.context)]
        same = next((self.texts[text] for text in map(_letters, turns) if text in self.texts), None)
        if same is not None:
            return OVERLAP, f"the same text as {same}"
        grams = (gram for text in (*turns, row.response) for gram in ngrams(text, ngram))
        found = next((gram for gram in grams if gram in self.ngrams), None)
        return None if found is None else (OVERLAP, f"{ngram} words in a row of {self.ngrams[found]}")


def _index(against: Sequence[Example], ngram: int) -> _HeldOut:
    texts: dict[str, str] = {}
    parallel: defaultdict[str, dict[str, str]] = defaultdict(dict)
    for row in against:
        text = _letters(row.prompt)
        texts[text] = min(row.id, texts.get(text, row.id))
        if row.parallel_id:
            translations = parallel[row.parallel_id]
            translations[row.language] = min(row.id, translations.get(row.language, row.id))
    texts.pop("", None)
    grams: dict[str, str] = {}
    spread: Counter[str] = Counter()
    for text, name in texts.items():
        own = set(ngrams(text, ngram))
        spread.update(own)
        for gram in own:
            grams[gram] = min(name, grams.get(gram, name))
    most = max(TEMPLATE_TEXTS, TEMPLATE_SHARE * len(texts))
    templates = [gram for gram, count in spread.items() if count > most]
    for gram in templates:
        del grams[gram]
    if templates:
        logger.info("Overlap: %d n-grams are in more than %.0f held-out texts and do not count", len(templates), most)
    return _HeldOut(texts, grams, parallel)


class _Letters(dict[int, int | None]):
    """A table for `str.translate`: letters, marks and digits stay, joiners go, all else becomes a space."""

    def __missing__(self, code: int) -> int | None:
        category = unicodedata.category(chr(code))
        self[code] = code if category[0] in "LMN" else None if category == "Cf" else ord(" ")
        return self[code]


_LETTERS = _Letters()


def _letters(text: str) -> str:
    """Return a text's letters and digits, folded, with single spaces; the folded text if it has none."""
    folded = fold(text)
    return " ".join(folded.translate(_LETTERS).split()) or folded


def ngrams(text: str, ngram: int) -> Iterator[str]:
    """Yield a text's n-grams of words, and of characters of each kind of script without spaces."""
    letters = _letters(text)
    if max(letters, default="") >= "\u0e00":
        runs: defaultdict[str, list[str]] = defaultdict(list)
        spaced = []
        for character in letters:
            kind = unspaced_kind(character)
            if kind:
                runs[kind].append(character)
            spaced.append(" " if kind else character)
        for kind, characters in runs.items():
            size = CHARACTERS_PER_WORD[kind] * ngram
            run = "".join(characters)
            for start in range(len(run) - size + 1):
                yield run[start : start + size]
        letters = "".join(spaced)
    words = letters.split()
    for start in range(len(words) - ngram + 1):
        yield " ".join(words[start : start + ngram])
