"""Language identification by py3langid, whose model ships in its package (139 languages, no download, no pickle).

Naive Bayes over byte n-grams gives each language a log-likelihood. Differences of these, in nats, say how much a text
speaks for one language against another: they grow with the text, so that a short text or a list of names never makes
up for little evidence with a high share of it, as a relative confidence does. A text gets a tag if its language is
ahead of every other one by enough, in total and per byte, and if it looks like that language at all, compared with the
mean of all; everything else stays `und`. Figures: `benchmarks/languages.py`, LOG.md.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from compass.data.byte_ngrams import TEXTS_AT_ONCE, model, scores_by_column
from compass.data.languages import UNDETERMINED, normalize_tag, same_language, script_of
from compass.data.prose import prose, without_code_lines
from compass.data.scripts import letters_by_script

MARGIN = 10.0
"""Nats by which a language has to be ahead of every other one [ours]."""
MARGIN_PER_BYTE = 0.15
LIFT_PER_BYTE = 1.5
"""Nats per byte ahead of the second language, and ahead of the mean of all. A language that the model does not know
reads as a neighbour, but less clearly than the neighbour itself: leaving one language after another out, these two
halve the rows that get a neighbour's tag, for 2 % of the right ones [ours]."""
NEIGHBOUR_SHARE = 0.1
"""Share of a language's own rows that read as another one, from which that one is a neighbour [ours]."""
MAX_CHARS = 500
"""Characters of a text that are looked at: more cost time and change little."""

NO_LANGUAGE = "zxx"
"""The tag of what is no language: numbers, code, identifiers."""
_TAGS = {"no": "nb", "wuu": "zh"}
"""Labels of the model whose texts have another tag: Bokmål, and Wu, which is written as Chinese."""

CLOSE_LANGUAGES = (
    frozenset({"ar", "arz", "ary"}),
    frozenset({"bg", "mk"}),
    frozenset({"bs", "hr", "sr"}),
    frozenset({"cs", "sk"}),
    frozenset({"da", "nb", "nn", "no"}),
    frozenset({"el", "grc"}),
    frozenset({"he", "hbo"}),
    frozenset({"id", "ms"}),
    frozenset({"xh", "zu"}),
    frozenset({"yue", "zh"}),
)
"""Languages whose texts are easily taken for one another: none of them contradicts another's tag [ours]."""

_WRITTEN_WITH = {
    "Jpan": {"Hani", "Kana"}, "Kore": {"Hang", "Hani"}, "Hans": {"Hani"}, "Hant": {"Hani"},
}  # fmt: skip
_ALSO_WRITTEN_WITH = {"az": {"Cyrl"}, "bs": {"Cyrl"}, "ku": {"Arab"}, "sr": {"Latn"}, "uz": {"Cyrl"}}
"""Further scripts in which the model knows a language, or people write it."""


@dataclass(frozen=True, eq=False)
class Evidence:
    """Log-likelihood by language, in nats, of a text of so many bytes; none without letters."""

    scores: npt.NDArray[np.float32]
    """(n,) in the order of `_known_tags`."""
    size: int

    def of(self, languages: Collection[str]) -> tuple[float, str]:
        """Return the best score among languages, and whose it is; minus infinity where none is known."""
        if not len(self.scores):
            return float("-inf"), UNDETERMINED
        key = languages if isinstance(languages, tuple | frozenset) else frozenset(languages)
        places = _places(key)
        if not len(places):
            return float("-inf"), UNDETERMINED
        # Of equal scores that of the last tag counts.
        best = places[int(self.scores[places].argmax())]
        return float(self.scores[best]), _known_tags()[best]


@lru_cache(maxsize=1)
def supported_languages() -> tuple[str, ...]:
    """Return the sorted tags of the languages that can be identified."""
    return tuple(sorted({_tag(label) for label in model().labels} - {NO_LANGUAGE}))


@lru_cache(maxsize=4096)
def identified_as(tag: str) -> str:
    """Return the tag under which identification knows a language (`zh` for `zh-TW`), `und` for one it does not know.

    Raises LanguageError for an unknown tag.
    """
    return next((known for known in supported_languages() if same_language(tag, known)), UNDETERMINED)


def can_identify(tag: str) -> bool:
    """Say whether identification knows a tag's language. Raises LanguageError for an unknown tag."""
    return identified_as(tag) != UNDETERMINED


def evidence(text: str) -> Evidence:
    """Return the evidence of a text as it stands; see `prose` for what should not be in it."""
    return evidence_of_all([text])[0]


def evidence_of_all(texts: Sequence[str]) -> list[Evidence]:
    """Return the evidence of each text; many at once take a fraction of the time."""
    has_letters = [any(map(str.isalpha, text)) for text in texts]
    order, starts = _columns()
    by_column = iter(scores_by_column([text for text, has in zip(texts, has_letters, strict=True) if has]))
    none = Evidence(np.empty(0, dtype=np.float32), 0)
    return [
        Evidence(np.maximum.reduceat(next(by_column)[order], starts), len(text.encode("utf-8", "surrogatepass")))
        if has
        else none
        for text, has in zip(texts, has_letters, strict=True)
    ]


def identify_languages(texts: Sequence[str], *, reserved: Collection[str] = ()) -> list[str]:
    """Return a BCP-47 tag for each text, `und` without enough evidence for one language. Deterministic.

    reserved: languages that are not given as tags, since a language outside the model reads as them (`neighbours`).
    """
    found = _languages_of(texts)
    return [UNDETERMINED if tag in reserved else tag for tag in found]


def neighbours(texts: Sequence[str]) -> tuple[str, ...]:
    """Return the languages that texts of a language outside the model read as: a tenth of those with a tag or more."""
    counts = Counter(tag for tag in _languages_of(texts) if tag != UNDETERMINED)
    return tuple(sorted(tag for tag, count in counts.items() if count >= NEIGHBOUR_SHARE * counts.total()))


@lru_cache(maxsize=65536)
def close_languages(a: str, b: str) -> bool:
    """Say whether two tags of `supported_languages` are one language, or easily taken for one another."""
    return a == b or any({a, b} <= group for group in CLOSE_LANGUAGES)


@lru_cache(maxsize=4096)
def scripts_of(tag: str) -> frozenset[str]:
    """Return the scripts that a language of `supported_languages` is written in, as `letters_by_script` names them."""
    usual = script_of(tag)
    return frozenset(_WRITTEN_WITH.get(usual, {usual}) | _ALSO_WRITTEN_WITH.get(tag, set()))


def _languages_of(texts: Sequence[str]) -> Iterator[str]:
    for start in range(0, len(texts), TEXTS_AT_ONCE):
        plain = [prose(without_code_lines(text))[:MAX_CHARS] for text in texts[start : start + TEXTS_AT_ONCE]]
        yield from map(_language_of, plain, evidence_of_all(plain))


def _language_of(plain: str, found: Evidence) -> str:
    if not len(found.scores):
        return UNDETERMINED
    best, tag = found.of(_known_tags())
    second = float(np.partition(found.scores, -2)[-2])
    mean = float(found.scores.mean(dtype=np.float64))
    script = letters_by_script(plain).most_common(1)[0][0]
    sure = (
        best - second >= max(MARGIN, MARGIN_PER_BYTE * found.size)
        and best - mean >= LIFT_PER_BYTE * found.size
        and tag != NO_LANGUAGE
        and script in scripts_of(tag)
    )
    return tag if sure else UNDETERMINED


@lru_cache(maxsize=256)
def _tag(label: str) -> str:
    if label == NO_LANGUAGE:
        return NO_LANGUAGE
    tag = normalize_tag(label)
    return _TAGS.get(tag, tag)


@lru_cache(maxsize=1)
def _known_tags() -> tuple[str, ...]:
    """Return the sorted tags of all that the model tells apart, `zxx` among them."""
    return tuple(sorted({_tag(label) for label in model().labels}))


@lru_cache(maxsize=1)
def _columns() -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the model's columns in the order of `_known_tags`, and where those of each tag begin."""
    tags = [_known_tags().index(_tag(label)) for label in model().nb_classes]
    order = np.argsort(tags, kind="stable")
    return order, np.searchsorted(np.array(tags)[order], np.arange(len(_known_tags())))


@lru_cache(maxsize=65536)
def _places(languages: tuple[str, ...] | frozenset[str]) -> npt.NDArray[np.int64]:
    """Return the places of languages among `_known_tags`, the last tag first."""
    return np.array([i for i, tag in enumerate(_known_tags()) if tag in languages][::-1], dtype=np.int64)
