"""What pages read of a monitor's database, and the marks that they may set."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from compass.drift.reading import mark, read_kept, read_kept_rows, read_skipped, read_watched
from compass.drift.results import Skipped
from compass.drift.state import MonitorState, NewPrompt
from compass.drift.tables import database_in
from compass.errors import MonitorError
from half_written import half_written

NAMES = ("watch-cy", "monitor")


@pytest.fixture
def url(tmp_path: Path) -> str:
    return database_in(tmp_path / "monitor.db")


def stream(counts: list[list[int]]) -> dict[str, Any]:
    """Return a stream as it is stored, of full blocks."""
    closed = [[block, 0] for block in counts]
    return {"window": {"prompts": sum(map(sum, counts)), "closed": closed, "open": [[0, 0], 0]}, "alarms": {}}


def write(
    state: MonitorState, number: int, *, kept: list[NewPrompt] | None = None, space: str = "a", size: int = 3
) -> None:
    """Write one batch of a block."""
    block = ("cy", {"prompts": 4 * number, "counts": [number, 4 - number], "began": None, "space": space})
    state.write(
        prompts=4, streams={"cy": stream([[number, 4 - number]])}, checks=[], events=[], blocks=[block],
        kept=kept or [], reservoir_size=size, oldest=0.0, at=100.0 + number, batch=str(number), position=None,
        skipped=[],
    )  # fmt: skip


def test_an_address_with_options_is_of_the_same_file(url: str, tmp_path: Path) -> None:
    """Breaks if prompts are not found in a database that is named as the monitor's was, or one is made by reading."""
    state = MonitorState(f"{url}?timeout=5", "monitor")
    state.begin("r", {"window": 4}, restart=False)
    write(state, 1, kept=[NewPrompt("helo", "cy", 0, "full", 0.5)])
    state.close()
    for address in (f"{url}?timeout=5", url.replace("sqlite:", "sqlite+pysqlite:")):
        assert [prompt.text for prompt in read_kept(address, NAMES, "cy", oldest=0.0)] == ["helo"]
    other = url.replace("sqlite:", "sqlite+pysqlite:").replace("monitor.db", "none.db")
    assert read_kept(other, NAMES, "cy", oldest=0.0) == []
    assert not (tmp_path / "none.db").exists()


def test_what_a_killed_writer_left_half_done_is_taken_back(url: str, tmp_path: Path) -> None:
    """Breaks if nothing can be read until the monitor that was killed runs again."""
    state = MonitorState(url, "monitor")
    state.begin("r", {"window": 4}, restart=False)
    write(state, 1, kept=[NewPrompt("helo " * 999, "cy", 0, "full", 0.1 * n) for n in range(9)], size=9)
    state.close()
    half_written(tmp_path / "monitor.db", tmp_path / "killed.db")
    found = read_kept(database_in(tmp_path / "killed.db"), NAMES, "cy", oldest=0.0)
    assert {prompt.text for prompt in found} == {"helo " * 999}


def test_blocks_are_read_as_far_as_their_space_reaches(url: str) -> None:
    """Would break if a plot mixed clusters of another space into the topics of this one, or a restart lost them."""
    state = MonitorState(url, "watch-cy")
    state.begin("r", {"window": 4}, restart=False)
    write(state, 1, space="old")
    write(state, 2)
    state.begin("s", {"window": 4}, restart=True)
    write(state, 3)
    state.close()
    found = read_watched(url, NAMES, "cy")
    assert found is not None
    assert [(block.prompts, block.counts, block.at) for block in found.blocks] == [
        (8, (2, 2), 102.0), (12, (3, 1), 103.0)
    ]  # fmt: skip
    assert (found.full, found.window, found.prompts) == (True, 4, 4)
    assert read_watched(url, NAMES, "el") is None


def test_a_monitor_that_begins_anew_watches_its_language_before_the_next_prompt(url: str) -> None:
    """Would break if a page said after each promotion that nobody watches the language, and forgot its topics."""
    state = MonitorState(url, "watch-cy")
    state.begin("r", {"window": 4}, restart=False)
    write(state, 1)
    state.begin("s", {"window": 4}, restart=True)
    state.close()
    found = read_watched(url, NAMES, "cy")
    assert found is not None
    assert (found.prompts, found.window, found.full, found.full_size) == (0, 0, False, 4)
    assert [block.counts for block in found.blocks] == [(1, 3)]
    assert read_watched(url, NAMES, "el") is None


def test_marked_prompts_stay_and_take_no_place(url: str) -> None:
    """Would break if newer prompts pushed a marked one out before somebody has answered it."""
    state = MonitorState(url, "watch-cy")
    state.begin("r", {}, restart=False)
    write(state, 1, kept=[NewPrompt(f"early {i}", "cy", 0, "redacted", float(i)) for i in range(3)])
    first = read_kept_rows(url, NAMES, "cy", oldest=0.0, most=10)
    assert mark(url, [first[-1].id], "cy", by="anna", at=1.0) == 1
    assert mark(url, [first[0].id], "el", by="anna", at=1.0) == 0
    write(state, 2, kept=[NewPrompt(f"late {i}", "cy", 0, "redacted", 10.0 + i) for i in range(4)])
    found = read_kept_rows(url, NAMES, "cy", oldest=0.0, most=10)
    assert sorted(row.text for row in found) == ["early 0", "late 1", "late 2", "late 3"]
    assert {row.text: row.marked_by for row in found}["early 0"] == "anna"
    assert mark(url, [first[-1].id], "cy", by="", at=1.0) == 1
    assert not any(row.marked_by for row in read_kept_rows(url, NAMES, "cy", oldest=0.0, most=10))
    state.close()


def test_suggestions_replace_those_of_before(url: str) -> None:
    """Would break if a page listed what an earlier drift chose."""
    state = MonitorState(url, "watch-cy")
    state.begin("r", {}, restart=False)
    write(state, 1, kept=[NewPrompt(text, "cy", 0, "redacted", 1.0) for text in ("a", "b")])
    state.suggest("cy", {"a": 3})
    state.suggest("cy", {"b": 2})
    state.close()
    rows = read_kept_rows(url, NAMES, "cy", oldest=0.0, most=10)
    assert {row.text: row.stands_for for row in rows} == {"a": 0, "b": 2}


def test_nothing_is_made_and_damage_is_said(url: str, tmp_path: Path) -> None:
    """Would break if looking at a language made a database, or a file that is none ended in another error."""
    assert read_watched(url, NAMES, "cy") is None
    assert mark(url, [1], "cy", by="anna", at=1.0) == 0
    assert not (tmp_path / "monitor.db").exists()
    (tmp_path / "monitor.db").write_bytes(b"x" * 4096)
    with pytest.raises(MonitorError, match="not a database"):
        read_watched(url, NAMES, "cy")
    state = MonitorState(database_in(tmp_path / "other.db"), "watch-cy")
    state.begin("r", {}, restart=False)
    write(state, 1)
    state.write(
        prompts=0, streams={"cy": {"window": "?"}}, checks=[], events=[], kept=[], reservoir_size=1, oldest=0.0, at=1.0,
        batch="x", position=None, skipped=[],
    )  # fmt: skip
    state.close()
    with pytest.raises(MonitorError, match="damaged"):
        read_watched(database_in(tmp_path / "other.db"), NAMES, "cy")


def test_what_was_skipped_is_read_without_a_write(url: str, tmp_path: Path) -> None:
    """Would break if who may only read a state could not list what was skipped, or an older one was changed by it."""
    assert read_skipped(url, "monitor") is None
    assert not list(tmp_path.iterdir())
    state = MonitorState(url, "monitor")
    state.begin("r", {}, restart=False)
    state.write(
        prompts=0, streams={}, checks=[], events=[], kept=[], reservoir_size=1, oldest=0.0, at=9.0, batch="a",
        position=None, skipped=[Skipped("empty", 1, "here"), Skipped("broken JSON", 2, "there")],
    )  # fmt: skip
    state.close()
    assert read_skipped(url, "another") is None
    assert read_skipped(url, "monitor") == [Skipped("broken JSON", 2, "there", 9.0), Skipped("empty", 1, "here", 9.0)]
    file = tmp_path / "monitor.db"
    with closing(sqlite3.connect(file)) as old:
        for column in ("first_place", "first_at"):
            old.execute(f"ALTER TABLE compass_skipped DROP COLUMN {column}")
    before = file.read_bytes()
    assert [(skip.reason, skip.first) for skip in read_skipped(url, "monitor")] == [("broken JSON", ""), ("empty", "")]
    assert file.read_bytes() == before
