"""Rows in the target language, and those in others, which are left out."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Mapping, Sequence

from compass.data.cleaning.wrong_language import find_wrong_language
from compass.data.example import Dropped, Example
from compass.data.languages import UNDETERMINED, same_language
from compass.errors import DataError

logger = logging.getLogger(__name__)

LOOKED_AT = 500
"""Rows of a set whose language is looked at, at most."""
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


def spread(rows: Sequence[Example]) -> Sequence[Example]:
    """Return at most `LOOKED_AT` rows, from the whole set: files are often in the order of something."""
    return rows[:: -(-len(rows) // LOOKED_AT) or 1]


def warn_of_other_languages(sets: Mapping[str, Sequence[Example]], languages: Collection[str]) -> None:
    """Say which sets read as another language than they are said to be in: one that was named for another."""
    for name, rows in sets.items():
        some = spread(rows)
        if len(wrong := find_wrong_language(some, languages=languages)) > len(some) / 2:
            logger.warning(
                "%d of %d rows of the %s read as another language (%s). Check the source and --language",
                len(wrong), len(some), name, next(iter(wrong.values()))[1],
            )  # fmt: skip
