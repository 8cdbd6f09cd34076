"""What a comparison makes of the answers of its cells."""

from __future__ import annotations

import itertools
import random
from statistics import mean
from typing import Any

import pytest
from scipy.stats import ttest_rel

from compass.config import CompareConfig, EvaluationConfig, GridConfig
from compass.recipes.compare import paired_comparisons

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
