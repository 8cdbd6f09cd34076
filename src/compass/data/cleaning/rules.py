"""The rules of cleaning in their order, and those that look at one row at a time.

To add a rule, write a function `(rows, ...) -> {index: (reason, detail)}` that finds the rows to drop, and give it a
line in the table in `clean`. It must not depend on chance or on the order of the rows: which of several alike rows
stays, decide by tag, text and id.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import lru_cache, partial

from compass.data.cleaning.decontamination import NGRAM, find_overlap
from compass.data.cleaning.duplicates import find_duplicates, find_near_duplicates
from compass.data.cleaning.result import Cleaned, Found, Rule, apply_rules
from compass.data.example import Example
from compass.data.identify import can_identify, language_confidences
from compass.data.languages import UNDETERMINED, same_language
from compass.data.redaction import redact_example

logger = logging.getLogger(__name__)

EMPTY, NO_RESPONSE, OVERSIZE = "empty", "no response", "oversize"
WRONG_LANGUAGE = "wrong language"

LANGUAGE_MIN_LETTERS = 30
LANGUAGE_TOP = 0.95
LANGUAGE_OWN = 0.001
"""A row is in the wrong language if it has this many letters, another language has this much of the confidence or more,
and its own this little or less. Of rows with the right tag that drops 0.2 % in SIB-200 and 1 in 8,000 assistant
commands; of sentences with the tag of another language it finds 97 %, of commands, most of them too short, 13 %."""

CLOSE_LANGUAGES = (
    frozenset({"bs", "hr", "sr"}),
    frozenset({"id", "ms"}),
    frozenset({"da", "nb", "nn", "no"}),
    frozenset({"cs", "sk"}),
    frozenset({"bg", "mk"}),
    frozenset({"xh", "zu"}),
)
"""Languages whose texts trigrams take for one another with full confidence: none of them contradicts another's tag."""


def clean(
    examples: Iterable[Example],
    *,
    max_chars: int = 8000,
    duplicates: bool = True,
    near_duplicates: float = 0.9,
    check_language: bool = True,
    high_accuracy: bool = False,
    require_response: bool = False,
    against: Sequence[Example] = (),
    ngram: int = NGRAM,
    redact: bool = False,
    name: str = "",
) -> Cleaned:
    """Drop the rows that should not be trained on or evaluated with.

    max_chars: longest prompt and response together. duplicates: drop repeats of a row; False keeps them, where they are
    frequencies. near_duplicates: Jaccard similarity of character shingles from which two rows are near duplicates, in
    prompt and in response; 1 is off. check_language: compare tags with what identification finds (high_accuracy: with
    the large models). require_response: drop rows without one. against: held-out examples, and ngram: words of an
    overlap with them, see `decontaminate`. redact: replace private data in the rows that stay, see `redaction`. name:
    what the log calls these rows. Raises LanguageError for an unknown tag, MissingExtraError if redaction is asked for
    and its packages are missing.
    """
    table: list[tuple[bool, Rule]] = [
        (True, partial(find_empty, require_response=require_response)),
        (True, partial(find_oversize, max_chars=max_chars)),
        (check_language, partial(find_wrong_language, high_accuracy=high_accuracy)),
        (duplicates, find_duplicates),
        (near_duplicates < 1.0, partial(find_near_duplicates, threshold=near_duplicates)),
        (bool(against), partial(find_overlap, against=against, ngram=ngram)),
    ]
    cleaned = apply_rules(examples, (rule for wanted, rule in table if wanted), name)
    return _redacted(cleaned) if redact else cleaned


def _redacted(cleaned: Cleaned) -> Cleaned:
    rows = tuple(map(redact_example, cleaned.examples))
    changed = sum(new != old for new, old in zip(rows, cleaned.examples, strict=True))
    logger.info("Private data was replaced in %d rows", changed)
    return replace(cleaned, examples=rows, redacted=changed)


def find_empty(rows: Sequence[Example], *, require_response: bool) -> Found:
    """Find rows without a prompt and, where one is required, without a response."""
    found: Found = {}
    for index, row in enumerate(rows):
        if not row.prompt.strip():
            found[index] = (EMPTY, "the prompt is empty")
        elif require_response and not row.response.strip():
            found[index] = (NO_RESPONSE, "the response is empty")
    return found


def find_oversize(rows: Sequence[Example], *, max_chars: int) -> Found:
    """Find rows whose prompt and response together have more characters than `max_chars`."""
    sizes = ((index, len(row.prompt) + len(row.response)) for index, row in enumerate(rows))
    return {i: (OVERSIZE, f"{size} characters, at most {max_chars}") for i, size in sizes if size > max_chars}


def find_wrong_language(rows: Sequence[Example], *, high_accuracy: bool) -> Found:
    """Find rows whose prompt is clearly in another language than their tag says."""
    judged = [index for index, row in enumerate(rows) if _can_judge(row.language)]
    texts = [rows[index].prompt for index in judged]
    rankings = language_confidences(texts, min_letters=LANGUAGE_MIN_LETTERS, high_accuracy=high_accuracy)
    found: Found = {}
    for index, ranking in zip(judged, rankings, strict=True):
        if not ranking:
            continue
        tag = rows[index].language
        best = max(ranking, key=ranking.__getitem__)
        own = max((share for known, share in ranking.items() if _may_be(tag, known)), default=0.0)
        if ranking[best] >= LANGUAGE_TOP and own <= LANGUAGE_OWN:
            found[index] = (WRONG_LANGUAGE, f"tagged {tag}, identified as {best} ({ranking[best]:.2f})")
    return found


@lru_cache(maxsize=4096)
def _may_be(tag: str, known: str) -> bool:
    """Say whether what identification found does not contradict a tag."""
    close = {tag.split("-")[0], known.split("-")[0]}
    return same_language(tag, known) or any(close <= group for group in CLOSE_LANGUAGES)


def _can_judge(tag: str) -> bool:
    """Say whether identification can contradict a tag: a language it knows, in the language's usual script."""
    has_script = tag.count("-") > 0 and len(tag.split("-")[1]) == 4 and not tag.startswith("zh")
    return tag != UNDETERMINED and not has_script and can_identify(tag)
