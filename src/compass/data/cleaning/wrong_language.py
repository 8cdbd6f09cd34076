"""Rows that are in another language than their tag says.

Precision comes before recall: a wrong row costs little, and a whole script's translation prompts cost much. So the
script is looked at first, code, links, quotations and names are left aside (`prose`), and a row stays where any run of
words in it speaks for its tag. Thresholds are nats of evidence (see `identify`), set on half of the pages of
tldr-pages, EXAMS' training part and half of SIB-200's languages; LOG.md has what they do on the others [ours].
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from functools import lru_cache, partial
from typing import NamedTuple

import regex

from compass.data.byte_ngrams import TEXTS_AT_ONCE
from compass.data.cleaning.result import Found, found_in_blocks
from compass.data.example import Example
from compass.data.identify import (
    MAX_CHARS,
    NO_LANGUAGE,
    Evidence,
    close_languages,
    evidence,
    evidence_of_all,
    identified_as,
    scripts_of,
    supported_languages,
)
from compass.data.languages import UNDETERMINED
from compass.data.prose import prose
from compass.data.scripts import letters_by_script, script_of_letter
from compass.data.stored_rows import column
from compass.reuse import reused

WRONG_LANGUAGE = "wrong language"

FEWEST_LETTERS = 10
"""Letters that a text has to have to be judged."""
MARGIN = 18.0
"""Nats by which another language of the run has to be ahead of the tag's."""
MARGIN_OUTSIDE = 40.0
"""The same for a language that no row is tagged with: a rare guess."""
MARGIN_OTHER_SCRIPT = 8.0
"""Nats by which a language has to be ahead of no language at all, where the script is not the tag's."""
RUN = 3.0
"""Nats by which a run of words speaks for the tag's language, so that the row stays."""
RUN_WORDS, RUN_LETTERS = 8, 8
"""Words of a run at most, letters at least."""
OTHER_SCRIPT_SHARE = 0.4
"""Share of the letters in another script, from which a row tagged with a language in Latin may be in another one:
names and commands are in Latin everywhere."""

FEWEST_BESIDE = 4
"""Letters of a run that stands beside another script, at least."""

_LATIN = "Latn"
_EAST_ASIAN = frozenset({"Hang", "Hani", "Kana"})
"""Scripts that share Han characters: what is beside them tells the languages apart."""
_BREAKS = regex.compile(r"[.:;!?()\[\]\n\"«»“”„。！？：；（）、—–]+")
_PARENTHESES = regex.compile(r"\([^()]*\)|（[^（）]*）")


def find_wrong_language(rows: Sequence[Example], *, languages: Collection[str] = ()) -> Found:
    """Find rows whose prompt is clearly in another language than their tag says.

    languages: those of the run; the rows' tags and English are always among them. A row whose tag identification does
    not know, or which states another script than the language's usual one, is not judged.
    """
    tags = {*languages, *column(rows, "language"), "en"} - {UNDETERMINED}
    return _found_in(rows, frozenset(identified_as(tag) for tag in tags) - {UNDETERMINED})


@reused
def _found_in(rows: Sequence[Example], run: frozenset[str]) -> Found:
    return found_in_blocks(partial(_found_in_block, run=run), rows)


def _found_in_block(rows: Sequence[Example], run: frozenset[str]) -> Found:
    judged = [
        (index, row.prompt, identified_as(row.language))
        for index, row in enumerate(rows)
        if row.language != UNDETERMINED and not _states_script(row.language)
    ]
    found: Found = {}
    for start in range(0, len(judged), TEXTS_AT_ONCE):
        part = [entry for entry in judged[start : start + TEXTS_AT_ONCE] if entry[2] != UNDETERMINED]
        others = contradicting_languages([(prompt, own) for _, prompt, own in part], run)
        for (index, _, _), other in zip(part, others, strict=True):
            if other != UNDETERMINED:
                found[index] = (WRONG_LANGUAGE, f"tagged {rows[index].language}, reads as {other}")
    return found


def contradicting_language(prompt: str, own: str, run: Collection[str]) -> str:
    """Return the language that a prompt is in although it is tagged `own`, `und` if nothing contradicts the tag.

    own, run: tags of `supported_languages`.
    """
    return contradicting_languages([(prompt, own)], run)[0]


def contradicting_languages(prompts: Sequence[tuple[str, str]], run: Collection[str]) -> list[str]:
    """Return the same for each of several prompts with their tags."""
    cases = _cases(prompts)
    found = iter(evidence_of_all([case.text for case in cases if case is not None]))
    return [UNDETERMINED if case is None else _judge(case, next(found), frozenset(run)) for case in cases]


@reused
def _cases(prompts: Sequence[tuple[str, str]]) -> list[_Case | None]:
    return [_case(prompt, own) for prompt, own in prompts]


class _Case(NamedTuple):
    """A text that may be in another language than its tag says."""

    own: str
    text: str
    """What is judged: its letters in the scripts of its tag, or all that are in others."""
    script: str
    in_own_script: bool
    beside: str = ""
    """What is in the scripts of the tag, where the text is in others."""


def _case(prompt: str, own: str) -> _Case | None:
    """Return what of a prompt is to be judged; None where there is too little."""
    text = prose(prompt, names=False)[:MAX_CHARS]
    letters = letters_by_script(text)
    if letters.total() < FEWEST_LETTERS:
        return None
    own_scripts = scripts_of(own)
    in_own = sum(letters[script] for script in own_scripts)
    if _LATIN not in own_scripts:
        # Letters of a script that only some languages use are no names and commands: two of them are a word.
        judge_own = in_own >= 2
    else:
        judge_own = letters.total() - in_own < OTHER_SCRIPT_SHARE * letters.total()
    if judge_own and in_own == letters.total() and "Hani" not in own_scripts:
        # Nothing to leave out.
        return _Case(own, " ".join(text.split()), letters.most_common(1)[0][0], True)
    if judge_own:
        kept = _letters_of(text, _EAST_ASIAN if "Hani" in own_scripts else own_scripts)
        return _Case(own, kept, letters_by_script(kept).most_common(1)[0][0], True)
    others = Counter({script: n for script, n in letters.items() if script not in own_scripts})
    script, _ = others.most_common(1)[0]
    foreign = _letters_of(_PARENTHESES.sub(" ", text) if script == _LATIN else text, others)
    if letters_by_script(foreign).total() < FEWEST_LETTERS:
        return None
    beside = _letters_of(_PARENTHESES.sub(" ", prose(prompt)[:MAX_CHARS]), own_scripts)
    return _Case(own, foreign, script, False, beside)


def _judge(case: _Case, found: Evidence, run: frozenset[str]) -> str:
    """Return the language that a text is in, by its evidence; `und` if nothing contradicts its tag."""
    tag, margin = _rival(found, case.own, case.script, run, against_own=case.in_own_script)
    inside = MARGIN if case.in_own_script else MARGIN_OTHER_SCRIPT
    if margin < (inside if tag in run else MARGIN_OUTSIDE):
        return UNDETERMINED
    close = set(_close_to(case.own))
    if case.in_own_script:
        rivals = {NO_LANGUAGE, tag, *run} - close
        speaks = any(_speaks_for(case.own, words, rivals) for words in _runs(case.text))
    else:
        speaks = _speaks_for(case.own, case.beside, {NO_LANGUAGE, *run} - close, fewest=FEWEST_BESIDE)
    return UNDETERMINED if speaks else tag


def _rival(
    found: Evidence, own: str, script: str, run: Collection[str], *, against_own: bool = True
) -> tuple[str, float]:
    """Return the language written in a script that a text speaks for, and by how many nats against own or no language.

    A language of the run comes first where it has its margin.
    """
    in_run, others = _written_in(script, own, frozenset(run))
    floor, _ = found.of((NO_LANGUAGE, *_close_to(own)) if against_own else (NO_LANGUAGE,))
    inside, tag = found.of(in_run)
    if inside - floor >= (MARGIN if against_own else MARGIN_OTHER_SCRIPT):
        return tag, inside - floor
    outside, tag = found.of(others)
    return tag, outside - floor


def _speaks_for(own: str, words: str, rivals: Collection[str], fewest: int = RUN_LETTERS) -> bool:
    if letters_by_script(words).total() < fewest:
        return False
    found = evidence(words)
    return found.of(_close_to(own))[0] - found.of(rivals)[0] >= RUN


@lru_cache(maxsize=1024)
def _close_to(own: str) -> tuple[str, ...]:
    return tuple(tag for tag in supported_languages() if close_languages(tag, own))


@lru_cache(maxsize=4096)
def _written_in(script: str, own: str, run: frozenset[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the languages that are written in a script and are not close to a language: those of the run, others."""
    found = [tag for tag in supported_languages() if script in scripts_of(tag) and tag not in _close_to(own)]
    return tuple(tag for tag in found if tag in run), tuple(tag for tag in found if tag not in run)


def _runs(text: str) -> Iterator[str]:
    """Yield what stands between punctuation, and windows of it where that is long."""
    for part in _BREAKS.split(text):
        words = part.split()
        for start in range(0, max(1, len(words) - RUN_WORDS // 2), RUN_WORDS // 2):
            yield " ".join(words[start : start + RUN_WORDS])


def _letters_of(text: str, scripts: Collection[str]) -> str:
    """Return a text with the letters of other scripts left out."""
    return " ".join(text.translate(_only(frozenset(scripts))).split())


class _Only(dict[int, int]):
    """A table for `str.translate`: letters of other scripts become spaces."""

    def __init__(self, scripts: frozenset[str]) -> None:
        super().__init__()
        self._scripts = scripts

    def __missing__(self, code: int) -> int:
        character = chr(code)
        kept = not character.isalpha() or script_of_letter(character) in self._scripts
        self[code] = code if kept else ord(" ")
        return self[code]


@lru_cache(maxsize=1024)
def _only(scripts: frozenset[str]) -> _Only:
    return _Only(scripts)


def _states_script(tag: str) -> bool:
    return tag.count("-") > 0 and len(tag.split("-")[1]) == 4 and not tag.startswith("zh")
