"""The rules of cleaning in their order, and those that look at one row at a time.

To add a rule, write a function `(rows, ...) -> {index: (reason, detail)}` that finds the rows to drop, and give it a
line in the table in `clean`. It must not depend on chance or on the order of the rows: which of several alike rows
stays, decide by tag, text and id.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial

from compass.data.cleaning.decontamination import NGRAM, find_overlap
from compass.data.cleaning.duplicates import find_duplicates, find_near_duplicates
from compass.data.cleaning.result import Cleaned, Found, Rule, apply_rules
from compass.data.cleaning.wrong_language import find_wrong_language
from compass.data.example import Example
from compass.data.redaction import redact_example
from compass.data.stored_rows import column, kept
from compass.engines import each_block

logger = logging.getLogger(__name__)

EMPTY, NO_RESPONSE, OVERSIZE = "empty", "no response", "oversize"


def clean(
    examples: Iterable[Example],
    *,
    max_chars: int = 8000,
    duplicates: bool = True,
    near_duplicates: float = 0.9,
    check_language: bool = True,
    languages: Sequence[str] = (),
    require_response: bool = False,
    against: Sequence[Example] = (),
    ngram: int = NGRAM,
    redact: bool = False,
    name: str = "",
) -> Cleaned:
    """Drop the rows that should not be trained on or evaluated with.

    max_chars: longest prompt and response together. duplicates: drop repeats of a row; False keeps them, where they are
    frequencies. near_duplicates: Jaccard similarity of character shingles from which two rows are near duplicates, in
    prompt and in response; 1 is off. check_language: drop rows that contradict their tag; languages: those of the
    run, beside the rows' tags. require_response: drop rows without one. against: held-out examples, and ngram: words of
    an overlap with them, see `decontaminate`. redact: replace private data in the rows that stay, see `redaction`.
    name: what the log calls these rows. Raises LanguageError for an unknown tag, MissingExtraError if redaction is
    asked for and its packages are missing.
    """
    table: list[tuple[bool, Rule]] = [
        (True, partial(find_empty, require_response=require_response)),
        (True, partial(find_oversize, max_chars=max_chars)),
        (check_language, partial(find_wrong_language, languages=languages)),
        (duplicates, find_duplicates),
        (near_duplicates < 1.0, partial(find_near_duplicates, threshold=near_duplicates)),
        (bool(against), partial(find_overlap, against=against, ngram=ngram)),
    ]
    cleaned = apply_rules(examples, (rule for wanted, rule in table if wanted), name)
    return _redacted(cleaned) if redact else cleaned


def _redacted(cleaned: Cleaned) -> Cleaned:
    rows = kept(row for _, block in each_block(_redact, cleaned.examples) for row in block)
    changed = sum(new != old for new, old in zip(rows, cleaned.examples, strict=True))
    logger.info("Private data was replaced in %d rows", changed)
    return replace(cleaned, examples=rows, redacted=changed)


def _redact(rows: Sequence[Example]) -> list[Example]:
    return [redact_example(row) for row in rows]


def find_empty(rows: Sequence[Example], *, require_response: bool) -> Found:
    """Find rows without a prompt and, where one is required, without a response."""
    found: Found = {}
    for index, (prompt, response) in enumerate(zip(column(rows, "prompt"), column(rows, "response"), strict=True)):
        if not prompt.strip():
            found[index] = (EMPTY, "the prompt is empty")
        elif require_response and not response.strip():
            found[index] = (NO_RESPONSE, "the response is empty")
    return found


def find_oversize(rows: Sequence[Example], *, max_chars: int) -> Found:
    """Find rows whose prompt and response together have more characters than `max_chars`."""
    texts = zip(column(rows, "prompt"), column(rows, "response"), strict=True)
    sizes = (len(prompt) + len(response) for prompt, response in texts)
    return {i: (OVERSIZE, f"{n} characters, at most {max_chars}") for i, n in enumerate(sizes) if n > max_chars}
