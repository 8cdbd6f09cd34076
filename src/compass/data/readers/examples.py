"""Sources in, `Example`s out: rows of any format and shape, with ids and languages."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice
from sys import intern
from typing import Any

from compass.data.arrival import SESSION_FIELDS, TIME_FIELDS, session_of, time_of
from compass.data.example import Dropped, Example, Message
from compass.data.languages import UNDETERMINED, from_any
from compass.data.readers.accounts import SourceAccount
from compass.data.readers.fields import NO_PROMPT, Fields, UnusableRowError
from compass.data.readers.formats import PlacedRow, Row
from compass.data.readers.hints import listed, nearest
from compass.data.readers.ids import FoundId, FoundIds, Ids, SourceIds, UniqueIds
from compass.data.readers.labelled import COLUMNS, flattened
from compass.data.readers.parts import Part, parts_of
from compass.data.readers.shapes import (
    HISTORY,
    LANGUAGE_FIELDS,
    READ_FIELDS,
    SYSTEM_FIELDS,
    Shape,
    check_columns,
    find_shape,
)
from compass.data.readers.sources import open_source
from compass.data.readers.spelling import Spelling
from compass.data.stored_rows import StoredRows, column, packed
from compass.engines import each, is_elsewhere
from compass.errors import DataError, LanguageError

logger = logging.getLogger(__name__)

UNKNOWN_TAG = "an unknown language tag"
"""Why a row can't be used."""
_PEEK = 100
"""Rows that the shape is found from."""


def read_examples(
    source: str | os.PathLike[str] | Sequence[str],
    *,
    columns: Mapping[str, str] | None = None,
    default_language: str | None = None,
    streaming: bool = False,
    limit: int | None = None,
    require_response: bool = False,
    accounts: list[SourceAccount] | None = None,
) -> list[Example]:
    """Read one source, or several one after another, into Examples in the order of the file.

    columns: ours=theirs (`{"prompt": "question"}`); ours is any column of the shapes, or id, language, label, source,
    parallel_id; `{"id": ""}` leaves the file's ids aside, and likewise for the others. default_language: tag of rows
    that carry none (else `und`). streaming: iterate over a hub data set instead of downloading it. limit: rows of each
    source, at most. require_response: refuse a source without a column for responses; a row whose response is empty
    is kept, and cleaning drops and counts it. accounts: gets one account of each source: which columns were used, and
    which rows were left out: those with tool calls for example, with a number where a text should be, or with an
    unknown language tag. Both are logged. Between sources a repeated id gets `-2`, `-3`. Raises DataError, with file
    and line or record, for a source that is broken, or none of whose rows can be used.
    """
    sources = [source] if isinstance(source, str | os.PathLike) else list(source)
    options: dict[str, Any] = {
        "columns": columns, "default_language": default_language, "streaming": streaming, "limit": limit,
        "require_response": require_response, "accounts": accounts,
    }  # fmt: skip
    return list(chain.from_iterable(iter_sources(sources, **options)))


def iter_sources(sources: Sequence[str | os.PathLike[str]], **options: Any) -> Iterator[Iterable[Example]]:
    """Yield the Examples of several sources, group after group; see `read_examples`.

    What workers read are groups of stored rows; else the group is a source, and a row at a time is in memory.
    """
    if len(sources) == 1:
        yield from _groups(sources[0], **options)
        return
    ids = UniqueIds()
    for group in chain.from_iterable(_groups(one, **options) for one in sources):
        if isinstance(group, StoredRows):
            yield group.with_ids([ids.make(name) for name in column(group, "id")])
        else:
            yield (_renamed(row, ids.make(row.id)) for row in group)


def iter_examples(source: str | os.PathLike[str], **options: Any) -> Iterator[Example]:
    """Yield the Examples of one source, a row in memory at a time (the ids seen are kept); see `read_examples`."""
    return chain.from_iterable(_groups(source, **options))


def _groups(
    source: str | os.PathLike[str],
    *,
    columns: Mapping[str, str] | None = None,
    default_language: str | None = None,
    streaming: bool = False,
    limit: int | None = None,
    require_response: bool = False,
    accounts: list[SourceAccount] | None = None,
) -> Iterator[Iterable[Example]]:
    """Yield the Examples of one source: with an engine, one that can be cut is read in parts by its workers."""
    columns = dict(columns or {})
    check_columns(columns)
    language = from_any(default_language) if default_language else UNDETERMINED
    if limit is not None and limit < 1:
        raise DataError(f"limit must be at least 1, got {limit}.")
    found = open_source(os.fspath(source), wanted=_wanted(columns), streaming=streaming)
    spelling = Spelling(READ_FIELDS, columns.values())
    rows = spelling.respelt(flattened(islice(found.rows, limit)))
    first = list(islice(rows, _PEEK))
    if not first:
        raise DataError(f"{found.name} contains no records.")
    shape = find_shape(found.name, [row for _, row in first], columns, require_response=require_response)
    account = SourceAccount(found.name, shape, theirs=spelling.theirs)
    if accounts is not None:
        accounts.append(account)
    ids = SourceIds(found.name)
    reading = _Reading(found.name, found.short_name, shape, columns, language)
    if is_elsewhere() and limit is None and (parts := parts_of(os.fspath(source))):
        yield from _in_parts(reading, parts, account, ids)
    else:
        yield reading.examples(chain(first, rows), account, ids)
    account.finish()


def _wanted(columns: Mapping[str, str]) -> frozenset[str]:
    return READ_FIELDS.union(COLUMNS, TIME_FIELDS, SESSION_FIELDS, columns.values())


@dataclass(frozen=True)
class _Reading:
    """How the rows of a source become Examples."""

    name: str
    short_name: str
    shape: Shape
    columns: Mapping[str, str]
    language: str
    """Of rows without a tag."""

    def examples(self, rows: Iterable[PlacedRow], account: SourceAccount, ids: Ids) -> Iterator[Example]:
        """Yield the Examples of rows; those that can't be used go to the account."""
        for place, row in rows:
            fields = Fields(row, self.columns, f"{self.name}, {place}", self.short_name, used=account.used)
            account.see(row)
            try:
                example = _example(fields, self.shape, self.language, ids, place)
            except (UnusableRowError, LanguageError) as error:
                reason = error.reason if isinstance(error, UnusableRowError) else UNKNOWN_TAG
                account.leave_out(Dropped(_own_id(fields), reason, "", fields.place), str(error))
            else:
                yield example

    def __call__(self, part: Part) -> tuple[StoredRows, list[int], list[FoundId], SourceAccount]:
        """Read a part: its Examples, for each the place of its id among those found, and its account."""
        spelling, ids = Spelling(READ_FIELDS, self.columns.values()), FoundIds()
        account = SourceAccount(self.name, self.shape, theirs=spelling.theirs)
        rows = spelling.respelt(flattened(part.rows(_wanted(self.columns))))
        examples, places = [], []
        for example in self.examples(rows, account, ids):
            examples.append(example)
            places.append(len(ids.found) - 1)
        return packed(examples), places, ids.found, account


def _in_parts(reading: _Reading, parts: Sequence[Part], account: SourceAccount, ids: SourceIds) -> Iterator[StoredRows]:
    """Yield the Examples of parts that workers read; ids are unique over all of them."""
    for rows, places, found, of_part in each(reading, parts):
        account.add(of_part)
        names = [ids.named(one) for one in found]
        yield rows.with_ids([names[place] for place in places])


def read_row(row: Row, columns: Mapping[str, str] | None = None) -> Example:
    """Read one row by itself, as `read_examples` reads the rows of a file; without a tag its language is `und`.

    Its id says nothing. Raises UnusableRowError or LanguageError.
    """
    place, columns = "row", dict(columns or {})
    row = Spelling(READ_FIELDS, columns.values()).row(row)
    mapped = {ours: theirs for ours, theirs in columns.items() if not theirs or theirs in row}
    try:
        shape = find_shape(place, [row], mapped, require_response=False)
    except DataError as error:
        raise UnusableRowError(NO_PROMPT, str(error)) from None
    fields = Fields(row, mapped, place, place, prompts_only=True)
    return _example(fields, shape, UNDETERMINED, SourceIds(place), place)


def iter_records(source: str | os.PathLike[str], *, streaming: bool = False) -> Iterator[tuple[str, Row]]:
    """Yield (place for errors, fields as they are) for every row of a source. Raises DataError as `read_examples`."""
    found = open_source(os.fspath(source), streaming=streaming)
    for place, row in found.rows:
        yield f"{found.name}, {place}", row


def _example(fields: Fields, shape: Shape, default_language: str, ids: Ids, place: str) -> Example:
    """Return one row as an Example. Raises UnusableRowError or LanguageError, DataError for an id that repeats."""
    column = fields.theirs(shape.prompt)
    if column not in fields.row:
        raise UnusableRowError(
            NO_PROMPT, f"{fields.place}: no {column!r}{nearest(column, fields.row)} Found: {listed(fields.row)}."
        )
    label, parallel_id = fields.name("label"), fields.name("parallel_id")
    content = shape.read(fields, shape)
    context = content.context
    if not any(turn.role == "system" for turn in context):
        context = (*_system_turn(fields), *fields.pairs(HISTORY), *context)
    tag, own_id = _language_tag(fields), _own_id(fields)
    return Example(
        id=ids.check(place, own_id) if own_id else ids.make(content),
        prompt=content.prompt,
        response=content.response,
        language=_language(fields.place, tag) if tag else default_language,
        # Few different ones in many rows: each is kept once.
        label=intern(str(label or content.label)),
        source=intern(str(fields.name("source") or fields.source)),
        parallel_id=parallel_id or content.parallel_id,
        context=context,
        session=session_of(fields.row, content.prompt),
        at=time_of(fields.row),
        place=fields.place,
    )


def _own_id(fields: Fields) -> str:
    return "" if fields.ignored("id") else fields.name("id")


def _system_turn(fields: Fields) -> tuple[Message, ...]:
    """Return the system turn that a column beside the prompt holds, if one does."""
    text = next((text for name in SYSTEM_FIELDS if (text := fields.text(name)).strip()), "")
    return (Message("system", text),) if text else ()


def _language_tag(fields: Fields) -> str:
    """Return the row's language as the file writes it, from mapped columns first; empty if it says none."""
    names = (*(name for name in LANGUAGE_FIELDS if name in fields.columns), *LANGUAGE_FIELDS)
    return next((str(fields.get(name)) for name in names if fields.get(name) not in (None, "")), "")


def _language(place: str, tag: str) -> str:
    try:
        return from_any(tag)
    except LanguageError as error:
        raise LanguageError(f"{place}: {error}") from error


def _renamed(example: Example, name: str) -> Example:
    return example if example.id == name else replace(example, id=name)
