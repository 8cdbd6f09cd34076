"""What a comparison makes of the answers of its cells."""

from __future__ import annotations

import itertools
import random
from pathlib import Path
from statistics import mean
from types import SimpleNamespace
from typing import Any

import pytest
from scipy.stats import ttest_rel

from compass.config import CompareConfig, EvaluationConfig, GridConfig, RunConfig
from compass.errors import DataError, LanguageError, RunError
from compass.recipes import compare as module
from compass.recipes.compare import compare, grid, paired_comparisons
from compass.recipes.gather import Gathered

LANGUAGES, SEEDS, BUDGETS, ITEMS = ("cy", "ne"), (0, 1, 2), (100, 200), range(20)


def answers(*strategies: str) -> list[dict[str, Any]]:
    rng = random.Random(0)
    return [
        {"language": language, "seed": seed, "budget": budget, "strategy": strategy}
        | {"id": str(i), "item": f"{seed}/{i}"}
        | {"exact": float(rng.random() < 0.5), "intent": float(rng.random() < 0.7), "loss": rng.random()}
        for language, seed, budget, strategy, i in itertools.product(LANGUAGES, SEEDS, BUDGETS, strategies, ITEMS)
    ]


def config(*strategies: str, budgets: tuple[int, ...] = BUDGETS) -> CompareConfig:
    return CompareConfig(
        evaluation=EvaluationConfig(bootstrap_draws=100),
        grid=GridConfig(strategies=strategies, budgets=budgets, permutations=100),
    )


def test_budgets_are_also_compared_together() -> None:
    """A pair of language and seed counts once over all budgets, by the mean of its trainings; the test is scipy's."""
    rows = answers("ours", "theirs")
    found = paired_comparisons(config("ours", "theirs"), rows)
    scopes = itertools.product((None, *BUDGETS), ("", *LANGUAGES), ("exact", "intent", "loss"))
    assert [(c["budget"], c["language"], c["metric"]) for c in found] == list(scopes)
    (together,) = (c for c in found if (c["budget"], c["language"], c["metric"]) == (None, "", "loss"))
    pairs = [
        [mean(row["loss"] for row in rows if key == (row["strategy"], row["language"], row["seed"]))
         for key in itertools.product((strategy,), LANGUAGES, SEEDS)]
        for strategy in ("ours", "theirs")
    ]  # fmt: skip
    assert (together["rows"], together["units"], together["runs"]) == (240, 120, 6)
    assert together["value"] == pytest.approx(mean(pairs[0]))
    assert together["runs_p_value"] == pytest.approx(ttest_rel(*pairs).pvalue)


def test_one_budget_is_compared_once_and_a_strategy_that_lacks_a_language_is_left_out_of_the_whole() -> None:
    rows = [row for row in answers("ours", "theirs", "only-ne") if row["budget"] == 100]
    rows = [row for row in rows if (row["strategy"], row["language"]) != ("only-ne", "ne")]
    found = paired_comparisons(config("ours", "theirs", "only-ne", budgets=(100,)), rows)
    assert {c["budget"] for c in found} == {100}
    assert {c["against"] for c in found if c["language"] in ("", "ne")} == {"theirs"}
    assert {c["against"] for c in found if c["language"] == "cy"} == {"theirs", "only-ne"}


def test_a_strategy_that_lacks_a_seed_does_not_shrink_the_comparison_of_the_others() -> None:
    """Breaks if rows are cut to what all strategies share: one training less of one would halve the evidence of all."""
    rows = [row for row in answers("ours", "theirs", "other") if (row["strategy"], row["seed"]) != ("other", 2)]
    with_it, without = (
        [c for c in paired_comparisons(config("ours", "theirs", *more), rows) if c["against"] == "theirs"]
        for more in (("other",), ())
    )
    assert with_it == without
    assert {c["runs"] for c in without if c["budget"] is None and not c["language"]} == {6}


def test_languages_are_tags_as_the_data_has_them() -> None:
    """`npi` is written `ne` in all that a cell leaves: under the other name, a night's work is lost."""
    named = CompareConfig(grid=GridConfig(strategies=("random",), languages=("npi", "ne", "CY"), seeds=(0,)))
    assert [cell["language"] for cell in grid(named)] == ["ne", "cy"]
    with pytest.raises(LanguageError):
        grid(CompareConfig(grid=GridConfig(strategies=("random",), languages=("not a tag",))))


def test_a_language_without_a_test_is_refused_before_any_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Usage without responses, and nothing held out: every cell would be trained, and none measured."""
    data = Gathered(usage=(), current=(), pool=(), tests={"english": ()})
    monkeypatch.setattr(module, "run_draws", lambda *_: None)
    monkeypatch.setattr(module, "prepare", lambda draw: SimpleNamespace(data=data))
    wanted = CompareConfig(
        run=RunConfig(output_dir=str(tmp_path)), grid=GridConfig(strategies=("random",), languages=("npi",))
    )
    with pytest.raises(DataError, match="can't be compared in ne: there is nothing to measure them on"):
        compare(wanted)
    assert not (tmp_path / "cells").exists()


def test_cells_that_fail_do_not_take_the_results_of_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A strategy that can never be had, as `family` for a language without relatives, would hold back all tables."""
    wanted = CompareConfig(
        run=RunConfig(output_dir=str(tmp_path)), grid=GridConfig(strategies=("compass", "random"), seeds=(0, 1))
    )
    cells = [
        SimpleNamespace(strategy=name, budget=1, language="cy", seed=seed, finished=(name, seed) != ("random", 1))
        for name in ("compass", "random")
        for seed in (0, 1)
    ]
    shown: list[tuple[str, int]] = []
    monkeypatch.setattr(module, "_prepared", lambda config: (cells, {}))
    monkeypatch.setattr(module, "run_cells", lambda *_: {"cy-1-random": "no relative of cy"})

    def write_results(run, config, cells, draws):
        shown.extend((cell.strategy, cell.seed) for cell in cells)
        return SimpleNamespace(report="report.html")

    monkeypatch.setattr(module, "_write_results", write_results)
    monkeypatch.setattr(module, "_announce", lambda *_: None)
    with pytest.raises(
        RunError, match=r"1 of 4 cells failed.*report.html shows the 3 that are finished(.|\n)*no relative of cy"
    ):
        compare(wanted)
    assert shown == [("compass", 0), ("compass", 1), ("random", 0)]


def test_what_is_missing_is_said_of_the_first_strategy_too() -> None:
    """A first strategy without trainings leaves no comparison, and nobody would know why."""
    cells = [SimpleNamespace(strategy="b", budget=1, language="cy", seed=seed) for seed in (0, 1)]
    cells += [SimpleNamespace(strategy="c", budget=1, language="cy", seed=0)]
    assert module._gaps(("a", "b", "c"), cells) == [
        "a lacks 2 of 2 trainings that others have: compared only what it has",
        "c lacks 1 of 2 trainings that others have: compared only where it has them all",
    ]
    assert module._gaps(("b",), cells) == []
