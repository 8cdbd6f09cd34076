"""What a comparison makes of the answers of its cells."""

from __future__ import annotations

import itertools
import random
from pathlib import Path
from statistics import mean
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from scipy.stats import ttest_rel

from compass.config import AdaptConfig, CompareConfig, EvaluationConfig, GridConfig, RunConfig
from compass.data.example import Example
from compass.data.readers import write_jsonl
from compass.errors import DataError, LanguageError, RunError
from compass.evaluation import write_evaluation
from compass.evaluation.evaluate import assemble
from compass.recipes import compare as module
from compass.recipes.compare import compare, grid
from compass.steps import transfers
from compass.steps.comparison import answer_rows, paired_comparisons
from compass.steps.features import read_transfer_results
from compass.steps.state import RunData

LANGUAGES, SEEDS, BUDGETS, ITEMS = ("cy", "ne"), (0, 1, 2), (100, 200), range(20)


def answers(*strategies: str) -> list[dict[str, Any]]:
    rng = random.Random(0)
    return [
        {"language": language, "seed": seed, "budget": budget, "strategy": strategy}
        | {"id": str(i), "item": f"{language}/{seed}/{i}"}
        | {"exact": float(rng.random() < 0.5), "intent": float(rng.random() < 0.7), "loss": rng.random()}
        for language, seed, budget, strategy, i in itertools.product(LANGUAGES, SEEDS, BUDGETS, strategies, ITEMS)
    ]


def config(*strategies: str, budgets: tuple[int, ...] = BUDGETS) -> CompareConfig:
    return CompareConfig(
        AdaptConfig(evaluation=EvaluationConfig()),
        grid=GridConfig(strategies=strategies, budgets=budgets),
    )


def test_budgets_are_also_compared_together() -> None:
    """A pair of language and seed counts once over all budgets, by the mean of its trainings; the test is scipy's."""
    rows = answers("ours", "theirs")
    found = paired_comparisons(config("ours", "theirs"), rows, draws=100)
    scopes = itertools.product((None, *BUDGETS), ("", *LANGUAGES), ("exact", "intent", "loss"))
    assert [(c.budget, c.language, c.metric) for c in found] == list(scopes)
    (together,) = (c for c in found if (c.budget, c.language, c.metric) == (None, "", "loss"))
    pairs = [
        [mean(row["loss"] for row in rows if key == (row["strategy"], row["language"], row["seed"]))
         for key in itertools.product((strategy,), LANGUAGES, SEEDS)]
        for strategy in ("ours", "theirs")
    ]  # fmt: skip
    assert (together.rows, together.units, together.runs) == (240, 120, 6)
    assert together.value == pytest.approx(mean(pairs[0]))
    assert together.runs_p_value == pytest.approx(ttest_rel(*pairs).pvalue)


def test_one_budget_is_compared_once_and_a_strategy_that_lacks_a_language_is_left_out_of_the_whole() -> None:
    rows = [row for row in answers("ours", "theirs", "only-ne") if row["budget"] == 100]
    rows = [row for row in rows if (row["strategy"], row["language"]) != ("only-ne", "ne")]
    found = paired_comparisons(config("ours", "theirs", "only-ne", budgets=(100,)), rows)
    assert {c.budget for c in found} == {100}
    assert {c.against for c in found if c.language in ("", "ne")} == {"theirs"}
    assert {c.against for c in found if c.language == "cy"} == {"theirs", "only-ne"}


def test_a_strategy_that_lacks_a_seed_does_not_shrink_the_comparison_of_the_others() -> None:
    """Breaks if rows are cut to what all strategies share: one training less of one would halve the evidence of all."""
    rows = [row for row in answers("ours", "theirs", "other") if (row["strategy"], row["seed"]) != ("other", 2)]
    with_it, without = (
        [c for c in paired_comparisons(config("ours", "theirs", *more), rows, draws=100) if c.against == "theirs"]
        for more in (("other",), ())
    )
    assert repr(with_it) == repr(without)
    assert {c.runs for c in without if c.budget is None and not c.language} == {6}


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
    data = RunData(usage=(), train=(), pool=(), tests={"english": ()})
    monkeypatch.setattr(module, "run_draws", lambda *_: None)
    monkeypatch.setattr(module, "prepare", lambda *_: SimpleNamespace(data=data))
    wanted = CompareConfig(
        AdaptConfig(run=RunConfig(output_dir=str(tmp_path))), GridConfig(strategies=("random",), languages=("npi",))
    )
    with pytest.raises(DataError, match="can't be compared in ne: there is no test data"):
        compare(wanted)
    assert not (tmp_path / "cells").exists()


def test_cells_that_fail_do_not_take_the_results_of_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A strategy that can never be had, as `family` for a language without relatives, would hold back all tables."""
    wanted = CompareConfig(
        AdaptConfig(run=RunConfig(output_dir=str(tmp_path))),
        GridConfig(strategies=("compass", "random"), seeds=(0, 1)),
    )
    cells = [
        SimpleNamespace(
            strategy=name,
            budget=1,
            language="cy",
            seed=seed,
            finished=(name, seed) != ("random", 1),
            folder=tmp_path / f"{name}-{seed}",
            config=AdaptConfig(),
        )
        for name in ("compass", "random")
        for seed in (0, 1)
    ]
    shown: list[tuple[str, int]] = []
    monkeypatch.setattr(module, "_prepared", lambda config: (cells, {}))
    monkeypatch.setattr(module, "run_cells", lambda *_: {"cy-1-random": "no relative of cy"})

    def write_results(run, config, cells, draws, permutations, left_out):
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


def test_translations_of_one_item_are_one_unit(tmp_path: Path) -> None:
    """Whoever knows the answer knows it in several languages: four translations are no four independent rows."""
    examples = [
        Example(f"{tag}-{i}", f"{tag} {i}", "yes", tag, parallel_id=str(i)) for tag in ("cy", "ne") for i in "12"
    ]
    rows = []
    for tag in ("cy", "ne"):
        own = [example for example in examples if example.language == tag]
        done = assemble(own, ["yes", "no"], np.ones(2), np.ones(2), name=tag, language=tag,
                        config=EvaluationConfig(), seed=0)  # fmt: skip
        write_evaluation(done, tmp_path / tag / "eval" / "adapter")
        cell = SimpleNamespace(folder=tmp_path / tag, language=tag, seed=0, budget=1, strategy="ours")
        rows += answer_rows(cell)
    assert len({row["item"] for row in rows}) == 2
    wanted = CompareConfig(grid=GridConfig(strategies=("ours", "theirs"), budgets=(1,)))
    found = paired_comparisons(wanted, [*rows, *({**row, "strategy": "theirs", "exact": 0.0} for row in rows)])
    assert [(c.language, c.rows, c.units) for c in found if c.metric == "exact"] == [
        ("", 4, 2), ("cy", 2, 2), ("ne", 2, 2),
    ]  # fmt: skip


def test_the_mean_of_trainings_stands_beside_their_interval() -> None:
    """With tests of other sizes the mean over rows can lie outside of an interval that is about trainings."""
    rows = [
        {"language": tag, "seed": seed, "budget": 1, "strategy": name, "id": str(i), "item": f"{tag}{seed}{i}",
         "intent": 0.0, "loss": 0.0, "exact": float(i < share * n)}
        for tag, n, share_of in (("cy", 40, {"ours": 0.5, "theirs": 0.25}), ("ne", 4, {"ours": 0.5, "theirs": 0.75}))
        for name, share in share_of.items() for seed in (0, 1) for i in range(n)
    ]  # fmt: skip
    found = paired_comparisons(config("ours", "theirs", budgets=(1,)), rows)
    (exact,) = (c for c in found if (c.language, c.metric) == ("", "exact"))
    assert exact.interval.value == pytest.approx((80 * 0.25 - 8 * 0.25) / 88)
    assert exact.between_runs.value == pytest.approx(0.0)
    assert exact.between_runs.low == pytest.approx(-exact.between_runs.high)


def test_transfer_is_measured_where_all_languages_of_a_target_were_trained(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A failed cell would put a mean over small budgets beside one over large ones, and turn the order round."""
    pytest.importorskip("urielplus")
    draws = {(target, 0): tmp_path / target for target in ("cy", "ne")}
    for (target, _), folder in draws.items():
        write_jsonl(folder / "data" / "usage.jsonl", [Example("u", "golau ymlaen", language=target)])
        write_jsonl(folder / "data" / "current.jsonl", [])
        pool = [Example(tag, f"lampe {tag}", "x", language=tag) for tag in ("de", "fr")]
        write_jsonl(folder / "data" / "pool.jsonl", pool)
    cells = [("cy", "de", 100, 0.3), ("cy", "de", 1000, 0.6), ("cy", "fr", 1000, 0.5), ("ne", "de", 100, 0.1),
             ("ne", "fr", 1000, 0.2)]  # fmt: skip
    figures = [SimpleNamespace(language=target, strategy=f"only-{source}", seed=0, budget=budget, exact=exact)
               for target, source, budget, exact in cells]  # fmt: skip
    transfers.write_transfers(tmp_path / "transfer_results.jsonl", draws, figures)
    written = read_transfer_results(tmp_path / "transfer_results.jsonl")
    assert {(one.target, one.source): one.score for one in written} == {("cy", "de"): 0.6, ("cy", "fr"): 0.5}
    assert "No transfer results for ne" in caplog.text
