"""Rows in the target language, and those in others, which are left out."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence

from compass.data.example import Dropped, Example
from compass.data.languages import UNDETERMINED, same_language
from compass.errors import DataError

logger = logging.getLogger(__name__)

OTHER_LANGUAGE = "other language"
"""Why rows of usage and of the target's test are left out."""


def in_language(what: str, rows: Sequence[Example], language: str) -> list[Example]:
    """Return the rows of a language, and those without a tag as such. Raises DataError if there are none."""
    kept = [row for row in rows if is_in(row, language)]
    if rows and not kept:
        found = ", ".join(sorted({row.language for row in rows})[:8])
        raise DataError(f"The {what} has no row in {language}: its rows are tagged {found}. Check --language.")
    if len(kept) < len(rows):
        logger.warning("The %s: %d rows in other languages than %s are left out", what, len(rows) - len(kept), language)
    return [row.with_language(language) for row in kept]


def in_others(rows: Iterable[Example], language: str) -> list[Dropped]:
    """Return the rows that are in another language, as rows that are left out."""
    others = (row for row in rows if not is_in(row, language))
    return [Dropped(row.id, OTHER_LANGUAGE, f"tagged {row.language}", row.place) for row in others]


def is_in(row: Example, language: str) -> bool:
    """Whether a row is in a language, as far as its tag says."""
    return row.language == UNDETERMINED or same_language(row.language, language)
