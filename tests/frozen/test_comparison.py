"""A comparison says of the same answers what it said in version 0.1: tables in papers and reports were made by it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from frozen.near import differ
from frozen.training_cases import VALUES, compared


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    return compared()


@pytest.mark.parametrize("part", ["comparisons", "curves", "overlaps", "gaps"])
def test_a_comparison_is_that_of_version_0_1(found: dict[str, Any], part: str) -> None:
    """Breaks if a difference, an interval, a p-value, a curve or an overlap changes, or a row of the table moves."""
    stored = json.loads((VALUES / "comparison.json").read_text("utf-8"))
    assert differ(found[part], stored[part]) == []


def test_the_stored_table_is_not_empty(found: dict[str, Any]) -> None:
    """Budgets and languages apart and together, three metrics, and each strategy where it has all trainings."""
    stored = json.loads((VALUES / "comparison.json").read_text("utf-8"))
    scopes = {(row["budget"], row["language"], row["metric"], row["against"]) for row in stored["comparisons"]}
    assert len(scopes) == len(stored["comparisons"]) == 42
    assert set(stored["curves"]) == {"", "cy", "ne"}
    assert len(stored["overlaps"]) == 3
    assert len(stored["gaps"]) == 1
