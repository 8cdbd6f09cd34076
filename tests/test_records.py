"""Results as they are written and read back."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import pytest

from compass.records import (
    CellResult,
    ClassScore,
    Cluster,
    ClusterScore,
    Comparison,
    Difference,
    Event,
    Interval,
    Picked,
)

WHOLE = Interval(0.25, 0.1, 0.5)
COMPARISON = Comparison(
    None, "", "exact", "ours", "theirs", 24, 12, 0.5, 0.25, WHOLE, 0.01, 0.02, 0.4, 0.1, 6, WHOLE, 0.03, 0.04
)


@pytest.mark.parametrize(
    "record",
    [
        WHOLE,
        Difference("cy", "exact_match", 0.25, 0.5, WHOLE),
        Difference("cy", "exact_match", 0.25, 0.5, WHOLE, cluster=0),
        ClusterScore(3, 12, WHOLE),
        ClassScore("StartTimer", 0.5, 0.25, 4, 0.25, 300, 20, 19),
        Cluster(3, "timer, set", 9, 4, 0.5, 0.25, 0.25, 12.5, 300, 10, 2.5),
        Picked("a/1", "de", "pool.jsonl", 3, 0.75, 1, "closest to usage row 7"),
        COMPARISON,
    ],
    ids=lambda record: type(record).__name__,
)
def test_what_is_written_is_read_back(record: Any) -> None:
    """A field would be lost, or stand under another one's name, between the code that writes it and the report."""
    assert type(record).from_dict(json.loads(json.dumps(record.to_dict()))) == record


def test_texts_come_with_the_picked_rows_and_not_with_their_audit() -> None:
    """Prompts would be kept where only the account of the picks was wanted."""
    row = Picked("a/1", "de", "", -1, 0.75, 1, "", "Stelle einen Timer", "{}", "StartTimer")
    assert not {"prompt", "response", "label"} & row.to_dict().keys()
    texts = {"prompt": row.prompt, "response": row.response, "label": row.label, "cluster": None}
    assert Picked.from_dict(row.to_dict() | texts) == row


def test_what_could_not_be_computed_is_null_in_json() -> None:
    """JSON has no nan: other readers could not read the file."""
    unknown = Interval(math.nan, math.nan, math.nan)
    row = Comparison(
        100, "cy", "loss", "ours", "theirs", 2, 2, 1.0, 2.0, WHOLE, 0.5, 0.5, math.nan, math.nan, 1, unknown, math.nan,
        math.nan,
    )  # fmt: skip
    text = json.dumps(row.to_dict(), allow_nan=False)
    assert repr(Comparison.from_dict(json.loads(text))) == repr(row)


def test_an_event_is_one_flat_line() -> None:
    """Scripts that read `watch --json` would look for figures where they are not."""
    event = Event("promotion", "v0002 is in production.", "v0002-ab", {"decision": {"verdict": "promote"}})
    assert event.to_dict() == {
        "event": "promotion",
        "summary": "v0002 is in production.",
        "version": "v0002-ab",
        "decision": {"verdict": "promote"},
    }
    assert Event("blocked", "No update yet").to_dict() == {"event": "blocked", "summary": "No update yet"}


def test_a_cells_languages_keep_their_order() -> None:
    """The report names the languages that most rows were picked from, the most frequent first."""
    cell = CellResult("cy", 0, 100, "compass", 40, 0.5, 0.6, 0.3, 5, 3, {"de": 3, "af": 2}, 10, 900, 1.5, 10**9, "runs")
    assert list(cell.to_dict()["languages_picked"].items()) == [("de", 3), ("af", 2)]
    assert cell.to_dict()["response_loss"] is None
    assert replace(cell, response_loss=0.5).to_dict()["response_loss"] == 0.5
