from __future__ import annotations

import json
import math
from datetime import UTC, datetime
from pathlib import Path

import pytest

from compass.data.arrival import seconds, session_of, time_of
from compass.data.readers import read_examples, read_jsonl, write_jsonl

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    "value",
    [
        NOON, int(NOON), str(int(NOON)), int(NOON * 1e3), int(NOON * 1e9), "2026-05-01T12:00:00Z",
        "2026-05-01T14:00:00+02:00", "2026-05-01 12:00:00", datetime(2026, 5, 1, 12),
    ],
)  # fmt: skip
def test_a_time_is_read_however_it_is_written(value: object):
    """Breaks if a log's times are misread: hours would be compared with others, without a word."""
    assert seconds(value) == NOON


@pytest.mark.parametrize("value", [None, True, "", "12:30", "yesterday", 17, -1, 10**40, math.inf, [NOON], {"s": 1}])
def test_what_is_no_time_is_none(value: object):
    """Breaks if a duration or a counter is taken for a time, or an odd value stops the stream."""
    assert math.isnan(seconds(value))


def test_the_first_field_that_holds_a_time_is_taken():
    """Breaks if an unreadable field hides a good one."""
    assert time_of({"timestamp": "soon", "created": NOON}) == NOON
    assert math.isnan(time_of({"prompt": "hello"}))


def test_a_session_is_known_by_its_nearest_id_and_not_kept_as_it_is():
    """Breaks if prompts of one conversation are told apart, those of two are mixed, or an id is stored in clear."""
    one, other = ({"conversation_id": name, "user": "u"} for name in ("a", "b"))
    assert session_of(one) == session_of({**one, "user": "another"}) != session_of(other)
    assert session_of({"session_id": 7}) == session_of({"session_id": "7"}) != session_of({"thread_id": 7})
    assert "secret" not in session_of({"session": "secret"})
    assert session_of({"session": "", "user": None, "thread_id": ["x"]}) == ""
    assert session_of({"user": "What is the time?"}, prompt="What is the time?") == ""


def test_times_and_sessions_stay_with_usage(tmp_path: Path):
    """Breaks if a run forgets when its held-out usage came: its monitor could not compare hours."""
    source = tmp_path / "usage.jsonl"
    source.write_text(json.dumps({"prompt": "hi", "response": "ho", "ts": NOON, "session_id": "s"}), encoding="utf-8")
    rows = read_examples(str(source))
    write_jsonl(tmp_path / "kept.jsonl", rows, arrival=True)
    write_jsonl(tmp_path / "plain.jsonl", rows)
    kept = read_jsonl(tmp_path / "kept.jsonl")
    assert kept == rows
    assert (kept[0].at, kept[0].session) == (NOON, rows[0].session) != (math.nan, "")
    assert read_jsonl(tmp_path / "plain.jsonl")[0].arrival() == {}
