"""Rows in a file are what they were, whatever is asked of them."""

from __future__ import annotations

import dataclasses
import math
import pickle
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from compass.data import Example, Message, stored_rows
from compass.data.cleaning import clean
from compass.data.stored_rows import StoredRows, chosen, column, kept, kept_groups, packed, without
from compass.reuse import reused, reusing

ROWS = tuple(
    Example(
        f"id-{i}", f"switch lamp {i % 50} on {'in the hall ' * (i % 3)}é", f"r{i % 10}", ("de", "fr", "und")[i % 3],
        label="l" * (i % 2), source="s", context=(Message("system", f"turn {i % 4}"),) * (i % 2), role="picked",
        parallel_id=str(i % 5), period=i % 3, session="x", at=float(i), place=f"line {i}",
    )
    for i in range(400)
)  # fmt: skip


@pytest.fixture
def stored(monkeypatch: pytest.MonkeyPatch) -> StoredRows:
    monkeypatch.setattr(stored_rows, "IN_MEMORY_ROWS", 10)
    monkeypatch.setattr(stored_rows, "BATCH_ROWS", 64)
    rows = kept(iter(ROWS))
    assert isinstance(rows, StoredRows)
    return rows


def _whole(rows: Iterator[Example] | StoredRows | tuple[Example, ...]) -> list[dict[str, object]]:
    return [dataclasses.asdict(row) for row in rows]


def test_rows_come_back_with_every_field(stored: StoredRows) -> None:
    """A field that is forgotten would change what is trained on, or what a message says."""
    assert _whole(stored) == _whole(ROWS)
    assert (len(stored), stored[0], stored[-1], stored[399]) == (400, ROWS[0], ROWS[-1], ROWS[399])
    with pytest.raises(IndexError):
        stored[400]
    assert math.isnan(kept(iter([dataclasses.replace(ROWS[0], at=math.nan)] * 20))[3].at)


def test_some_rows_are_those_rows(stored: StoredRows) -> None:
    for part in (slice(3, 130), slice(None, None, 7), slice(390, 900), slice(5, 5)):
        assert _whole(stored[part]) == _whole(ROWS[part])
    places = [399, 0, 64, 63, 0]
    some = stored.some(np.array(places))
    assert _whole(some) == _whole(ROWS[i] for i in places)
    assert _whole(some[1:3]) == _whole([ROWS[0], ROWS[64]])
    assert _whole(chosen(stored, places)) == _whole(chosen(ROWS, places))
    for rows in (stored, stored[20:350]):
        assert _whole(without(rows, {1, 5, 200})) == _whole(without(tuple(rows), {1, 5, 200}))
    assert list(column(without(stored, {0}), "prompt")) == [row.prompt for row in ROWS[1:]]
    assert column(stored, "id")[7] == "id-7"


def test_rows_are_sent_without_the_rest_of_their_file(stored: StoredRows) -> None:
    sent = pickle.dumps(stored[10:20])
    assert _whole(pickle.loads(sent)) == _whole(ROWS[10:20])
    assert len(sent) < len(pickle.dumps(stored)) / 5


def test_cleaning_finds_in_a_file_what_it_finds_in_memory(stored: StoredRows) -> None:
    against = [Example("held", "switch lamp 3 on in the hall in the hall é")]
    options = {"check_language": False, "against": against, "max_chars": 60, "near_duplicates": 0.7}
    there, here = clean(stored, **options), clean(ROWS, **options)
    assert isinstance(there.examples, StoredRows)
    assert _whole(there.examples) == _whole(here.examples)
    assert there.dropped == here.dropped
    assert set(here.counts) >= {"duplicate", "near duplicate"}


def test_groups_of_stored_rows_and_of_objects_follow_each_other(stored: StoredRows) -> None:
    renamed = stored.some(np.array([3, 1])).with_ids(["three", "one"])
    assert [(row.id, row.prompt) for row in renamed] == [("three", ROWS[3].prompt), ("one", ROWS[1].prompt)]
    together = kept_groups([stored[:100], iter(ROWS[100:130]), packed(ROWS[130:]), packed([])])
    assert isinstance(together, StoredRows)
    assert _whole(together) == _whole(ROWS)
    few = kept_groups([stored[:4], iter(ROWS[4:6])])
    assert isinstance(few, tuple)
    assert _whole(few) == _whole(ROWS[:6])


def test_work_is_done_once_for_the_same_rows_and_never_for_others(stored: StoredRows) -> None:
    """Rows that are made anew at each look have no identity: a second set would get the first one's result."""

    @reused
    def names(rows: StoredRows) -> list[str]:
        return [row.id for row in rows]

    with reusing():
        first = names(stored)
        assert names(stored) is first
        assert names(without(stored, {0})) == first[1:]
        assert names(without(stored, {1})) == [first[0], *first[2:]]
        assert names(without(stored, {1})) is names(without(stored, {1}))
        assert names(stored[1:]) == first[1:]


def test_no_file_is_left(stored: StoredRows, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Users' texts would lie about after a kill, or an error."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    rows = kept(iter(ROWS))
    assert isinstance(rows, StoredRows)
    assert not list(tmp_path.iterdir())

    def broken() -> Iterator[Example]:
        yield from ROWS
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        kept(broken())
    assert not list(tmp_path.iterdir())


def test_a_name_that_is_not_utf8_is_kept_as_far_as_it_can_be(stored: StoredRows) -> None:
    rows = kept(iter([dataclasses.replace(ROWS[0], place="caf\udce9.jsonl, line 1")] * 20))
    assert rows[0].place == "caf?.jsonl, line 1"
