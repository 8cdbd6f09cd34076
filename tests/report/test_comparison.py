"""The page of a comparison says of each number what it is."""

from __future__ import annotations

import dataclasses
import math
import re
from pathlib import Path

import pytest

from compass.records import CellResult, Comparison, Interval
from compass.report.comparison import build_comparison


def cell(strategy: str, seed: int, response_loss: float, peak: int) -> CellResult:
    return CellResult(
        language="cy", seed=seed, budget=16, strategy=strategy, rows=4, exact=0.5, intent=0.5, loss_per_byte=1.0,
        picked=16, clusters_picked=3, languages_picked={"de": 12, "fr": 4}, steps=10 + seed, tokens=2000,
        train_seconds=8.0, peak_memory_bytes=peak, run="run", response_loss=response_loss,
    )  # fmt: skip


def test_costs_are_costs_and_the_loss_stands_by_itself(tmp_path: Path) -> None:
    """A training loss would be read as a cost, and the highest peak of memory as a mean."""
    cells = [cell("compass", 0, 0.5, 10**9), cell("compass", 1, 2.5, 3 * 10**9)]
    page = build_comparison(
        tmp_path, ["compass"], cells, [], {}, {}, metrics=["exact"], budget_unit="examples", confidence=0.95
    ).read_text("utf-8")
    cost, learned = (
        re.sub(r"(\s|<[^>]*>)+", " ", page.split(f'id="{name}"')[1].split("</section>")[0])
        for name in ("cost", "learned")
    )
    assert "compass 10 2,000 8.0 s 3.0 GB" in cost
    assert "Peak memory is the highest of all cells." in cost
    assert "loss" not in cost
    assert "compass 1.50 1 of 2" in learned


@pytest.mark.parametrize("runs", [1, 3])
def test_a_strategy_that_changes_no_row_is_said_to(tmp_path: Path, runs: int) -> None:
    """`0.0 [0.0, 0.0]` reads as a very sure estimate, or as a fault."""
    zero, unknown = Interval(0.0, 0.0, 0.0), math.nan
    over_runs = (zero, 1.0, 1.0) if runs > 1 else (Interval(unknown, unknown, unknown), unknown, unknown)
    same = Comparison(16, "cy", "exact", "compass", "random", 40, 40, 0.5, 0.5, zero, 1.0, 1.0, unknown, unknown, runs,
                      *over_runs)  # fmt: skip
    rows = dataclasses.replace(same, interval=Interval(0.0, -0.1, 0.1))
    cells = [cell(name, 0, 0.5, 1) for name in ("compass", "random")]
    pages = [
        build_comparison(
            tmp_path, ["compass", "random"], cells, [one], {}, {}, metrics=["exact"], budget_unit="examples",
            confidence=0.95,
        ).read_text("utf-8")
        for one in (same, rows)
    ]  # fmt: skip
    assert "0.0 [0.0, 0.0]" not in pages[0]
    assert "no difference in any test item" in pages[0]
    assert ("no difference in any pair of trainings" in pages[0]) is (runs > 1)
    assert "no difference in any test item" not in pages[1]
    assert "0.0 [−10.0, +10.0]" in pages[1]


def test_the_level_of_the_intervals_is_said(tmp_path: Path) -> None:
    """Intervals at 97.5 % would be read as the usual ones, or as those of a rounded level."""
    curves = {("", "exact"): {("compass", 16): Interval(0.5, 0.4, 0.6)}}
    page = build_comparison(
        tmp_path, ["compass"], [cell("compass", 0, 0.5, 1)], [], {}, curves, metrics=["exact"],
        budget_unit="examples", confidence=0.975,
    ).read_text("utf-8")  # fmt: skip
    assert "with 97.5\u00a0% bootstrap intervals over test rows." in page
