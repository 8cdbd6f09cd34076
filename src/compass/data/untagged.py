"""The language of rows that have no tag."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import partial

from compass.data.example import Example
from compass.data.identify import can_identify, identify_languages, neighbours
from compass.data.languages import UNDETERMINED, language_name
from compass.data.stored_rows import column, kept
from compass.engines import each_block
from compass.reuse import reused

logger = logging.getLogger(__name__)

ROWS_FOR_NEIGHBOURS = 500
"""Rows of a language that identification does not know, by which its neighbours are found, at most."""


def with_identified_languages(
    pool: Sequence[Example], target_rows: Sequence[Example], language: str
) -> Sequence[Example]:
    """Return the pool, each row without a tag under the language that it is found to be in; unsure ones stay `und`.

    target_rows: rows in the target language. A language that identification does not know reads as its neighbours: rows
    that read as one of these stay `und`, and a warning says so.
    """
    if UNDETERMINED not in column(pool, "language"):
        return pool
    known_rows: dict[str, list[str]] = {language: [row.prompt for row in target_rows]}
    for row in pool:
        if row.language != UNDETERMINED:
            known_rows.setdefault(row.language, []).append(row.prompt)
    reserved = set()
    for tag in (tag for tag in known_rows if not can_identify(tag)):
        taken = neighbours(known_rows[tag][:ROWS_FOR_NEIGHBOURS])
        reserved |= set(taken)
        logger.warning(
            "Language identification does not know %s (%s). Rows of the pool without a tag stay `und`%s. Tag the "
            "pool's rows to use those in %s by their language.", language_name(tag), tag,
            f" where they read as {', '.join(taken)}, as rows in {tag} do" if taken else " where they are in it", tag,
        )  # fmt: skip
    return _tagged(pool, frozenset(reserved))


@reused
def _tagged(pool: Sequence[Example], reserved: frozenset[str]) -> Sequence[Example]:
    untagged = [i for i, tag in enumerate(column(pool, "language")) if tag == UNDETERMINED]
    prompts = [pool[i].prompt for i in untagged]
    tags = (tag for _, part in each_block(partial(identify_languages, reserved=reserved), prompts) for tag in part)
    found = dict(zip(untagged, tags, strict=True))
    unsure = sum(tag == UNDETERMINED for tag in found.values())
    logger.info(
        "Rows of the pool without a language tag: %d; their language stays unknown (`und`) in %d", len(untagged), unsure
    )
    return kept(row.with_language(found[i]) if i in found else row for i, row in enumerate(pool))
