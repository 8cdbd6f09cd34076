"""A folder with the cells of several comparisons: what is shown together, and what is named and left out."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from compass.config import AdaptConfig, CompareConfig, DataConfig, EvaluationConfig, GridConfig, RunConfig, dump_config
from compass.data.example import Example
from compass.evaluation import write_evaluation
from compass.evaluation.evaluate import assemble
from compass.recipes import compare as module
from compass.recipes.compare import Compared
from compass.recipes.earlier_cells import earlier_cells
from compass.recipes.grid import cells_of, draw_config
from compass.runs import layout
from compass.runs.files import write_json, write_jsonl, write_text
from compass.runs.folder import Run
from compass.steps.comparison import Cell
from compass.steps.read import source_identities
from compass.steps.state import RunData

ROWS = (Example("1", "helo", "x", "cy"),) * 10
DATA = RunData(usage=ROWS, train=ROWS, pool=ROWS, tests={})
COMMANDS = [Example(f"t{i}", f"cywasga {i}", f"tar czf target_{i}.tar.gz path/to/folder_{i}", "cy") for i in range(12)]
ANSWERS = f"{layout.ADAPTER_EVALUATION}/cy.predictions.jsonl"
CLASSES = [Example(f"t{i}", f"pwnc {i}", ("sport", "health")[i % 2], "cy") for i in range(12)]


def config(folder: Path, *strategies: str, budgets: Sequence[int] = (10,), seeds: Sequence[int] = (0, 1, 2),
           languages: Sequence[str] = ("cy",), **data: Any) -> CompareConfig:  # fmt: skip
    usage = folder.parent / "usage.jsonl"
    if not usage.exists():
        usage.write_text('{"prompt": "helo"}\n')
    adapt = AdaptConfig(
        data=DataConfig(language="cy", usage=str(usage), **data),
        evaluation=EvaluationConfig(),
        run=RunConfig(output_dir=str(folder)),
    )
    grid = GridConfig(strategies=strategies, budgets=tuple(budgets), seeds=tuple(seeds), languages=tuple(languages))
    return CompareConfig(adapt, grid)


def cells(wanted: CompareConfig) -> list[Cell]:
    return [
        cell
        for language in wanted.grid.languages
        for seed in wanted.grid.seeds
        for cell in cells_of(wanted, draw_config(wanted, language, seed), DATA, 1.0)
    ]


def make(cell: Cell, test: Sequence[Example] = COMMANDS) -> Cell:
    """Write what a finished cell leaves; the further its strategy's name lies in the alphabet, the worse it is."""
    rng = random.Random(cell.folder.name)
    nats = 20.0 + 5.0 * (ord(cell.strategy[0]) - ord("c")) / 17 + rng.random()
    said = [row.response if rng.random() < 0.02 else row.response[: rng.randint(4, 14)] for row in test]
    test = [replace(row, language=cell.language) for row in test]
    done = assemble(test, said, np.full(len(test), nats) + np.arange(len(test)) / 9, np.full(len(test), 30.0),
                    name=cell.language, language=cell.language, config=cell.config.evaluation, seed=0)  # fmt: skip
    write_evaluation(done, cell.folder / layout.ADAPTER_EVALUATION)
    write_text(cell.folder / layout.CONFIG, dump_config(cell.config))
    write_json(cell.folder / layout.TRAINING_RESULT,
               {"steps": 3, "tokens": 90, "train_seconds": 1.5, "peak_memory_bytes": 10})  # fmt: skip
    write_jsonl(cell.folder / layout.PICKS, [{"id": f"p{i}", "language": "fr", "cluster": i} for i in range(4)])
    with Run(cell.folder).stage("data", {"sources": source_identities(cell.config.data)}, []):
        pass
    record = {"strategy": cell.strategy, "budget": cell.budget, "language": cell.language, "seed": cell.seed}
    write_json(cell.folder / layout.CELL, record)
    return cell


def compare(wanted: CompareConfig, monkeypatch: pytest.MonkeyPatch, test: Sequence[Example] = COMMANDS) -> Compared:
    """Give the command; training a cell is writing what one leaves."""

    def train(cells: Sequence[Cell], *_more: object) -> dict[str, str]:
        for cell in cells:
            if not cell.finished:
                make(cell, test)
        return {}

    monkeypatch.setattr(module, "_prepared", lambda config: (cells(config), {}))
    monkeypatch.setattr(module, "run_cells", train)
    monkeypatch.setattr(module, "_announce", lambda *_: None)
    return module.compare(wanted, permutations=200)


def places(done: Compared) -> set[tuple[str, str, int, int]]:
    return {(cell.language, cell.strategy, cell.budget, cell.seed) for cell in done.cells}


@pytest.mark.parametrize(("losses", "told"), [((3.5, 0.4), "1 of 2 trainings ended before its rows were learned"),
                                              ((3.5, 1.2), "2 of 2 trainings ended before their rows were learned"),
                                              ((0.4, None), "")])  # fmt: skip
def test_trainings_that_ended_too_early_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, losses: Sequence[float | None], told: str
) -> None:
    """Where usage was half covered two more epochs reversed the order, and the page of the first two did not warn."""
    wanted = config(tmp_path / "grid", "compass", "random", seeds=(0,))
    for cell, loss in zip(cells(wanted), losses, strict=True):
        path = make(cell).folder / layout.TRAINING_RESULT
        more = {} if loss is None else {"response_loss": loss}
        write_json(path, json.loads(path.read_text("utf-8")) | more)
    done = compare(wanted, monkeypatch)
    page = done.report.read_text("utf-8")
    assert ("rows were learned" in page) is bool(told)
    assert told in page
    assert [None if math.isnan(cell.response_loss) else cell.response_loss for cell in done.cells] == list(losses)


def test_a_second_comparison_keeps_the_cells_of_the_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A night's work would leave the page, its tables and its curves, because other strategies came after it."""
    folder = tmp_path / "grid"
    compare(config(folder, "compass", "random"), monkeypatch)
    done = compare(config(folder, "compass", "tsds", budgets=(20,), languages=("cy", "ne")), monkeypatch)
    assert len(places(done)) == 6 + 12
    assert done.left_out == ()
    scopes = {(c.budget, c.language, c.strategy, c.against) for c in done.comparisons}
    assert {(10, "cy", "compass", "random"), (20, "cy", "compass", "tsds"), (20, "", "compass", "tsds")} <= scopes
    page = done.report.read_text("utf-8")
    assert "compass − random" in page
    assert len(json.loads((folder / "comparisons.json").read_text("utf-8"))) == len(done.comparisons)


def test_langrank_learns_from_the_cells_of_the_same_grid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would refuse for want of a file that the same command writes, or learn from another comparison's."""
    folder, turns = tmp_path / "grid", []
    results = folder / "transfer_results.jsonl"

    def write_transfers(path: Path, _draws: object, done: Sequence[Any]) -> None:
        path.write_text("".join(f"{cell.strategy} {cell.language}\n" for cell in done))

    def train(new: Sequence[Cell], *_more: object) -> dict[str, str]:
        turns.append({cell.strategy for cell in new})
        if len(turns) == 2:
            assert len(results.read_text("utf-8").splitlines()) == 3 * 4
        return {} if all(make(cell) for cell in new) else {"": ""}

    monkeypatch.setattr(module, "write_transfers", write_transfers)
    monkeypatch.setattr(module, "_prepared", lambda config: (cells(config), {}))
    monkeypatch.setattr(module, "run_cells", train)
    monkeypatch.setattr(module, "_announce", lambda *_: None)
    languages = ("cy", "ne", "el", "ga")
    wanted = config(folder, "compass", "langrank", "only-fr", "only-de", seeds=(0,), languages=languages)
    done = module.compare(wanted, permutations=50)
    learner = f"langrank:transfer_results={results}"
    assert turns == [{"compass", "only-fr", "only-de"}, {learner}]
    assert {cell.strategy for cell in done.cells} == {"compass", learner, "only-fr", "only-de"}
    assert "langrank" in (folder / "compare.yaml").read_text("utf-8")
    assert str(results) not in (folder / "compare.yaml").read_text("utf-8")
    turns.clear()
    module.compare(config(folder, "compass", "langrank", seeds=(0,)), permutations=50)
    assert turns == [{"compass", "langrank"}], "without such cells it takes a file that it is given"


def test_earlier_cells_are_compared_without_the_first_strategy_of_now(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the new first strategy has nothing, the first that was trained there is what others are compared with."""
    folder = tmp_path / "grid"
    compare(config(folder, "nearest", "random"), monkeypatch)
    done = compare(config(folder, "compass", "tsds", budgets=(20,)), monkeypatch)
    assert {(c.budget, c.strategy, c.against) for c in done.comparisons} == {
        (10, "nearest", "random"), (20, "compass", "tsds"),
    }  # fmt: skip


def test_strategies_with_fewer_seeds_are_compared_on_those_that_both_have(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three seeds of before, six of now: the old strategies would be in no comparison at all."""
    folder = tmp_path / "grid"
    compare(config(folder, "random", "nearest"), monkeypatch)
    done = compare(config(folder, "compass", "tsds", seeds=range(6)), monkeypatch)
    runs = {c.against: c.runs for c in done.comparisons if c.metric == "loss"}
    assert runs == {"tsds": 6, "nearest": 3, "random": 3}
    (nearest,) = (c for c in done.comparisons if (c.metric, c.against) == ("loss", "nearest"))
    assert nearest.p_holm >= nearest.p_value
    assert "random lacks 3 of 6 trainings that others have" in done.report.read_text("utf-8")


def test_what_is_not_comparable_is_named_with_its_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Results of another model, other data or another training would stand beside these as if they were alike."""
    folder = tmp_path / "grid"
    first = config(folder, "random")
    compare(first, monkeypatch)
    training = first.adapt.training
    for changed in (
        replace(training, learning_rate=0.5), replace(training, model_name_or_path="org/other"),
        replace(training, max_steps=7),
    ):  # fmt: skip
        adapt = replace(first.adapt, training=changed)
        make(cells(CompareConfig(adapt, replace(first.grid, strategies=("nearest",), seeds=(0,))))[0])
    make(cells(config(folder, "dsir", seeds=(0,), test="other.jsonl"))[0])
    (folder / "cells" / "cy-0-crisp-10-0123456789").mkdir()
    strange = make(cells(config(folder, "rds", seeds=(0,)))[0])
    (strange.folder / layout.CELL).write_text('{"strategy": "rds"')
    done = compare(config(folder, "compass"), monkeypatch)
    assert {strategy for _, strategy, _, _ in places(done)} == {"compass", "random"}
    reasons = sorted(f"{one.folder.rpartition('-')[0]}: {one.reason}" for one in done.left_out)
    assert [reason.partition(".")[0] for reason in reasons[:1]] == ["cy-0-crisp-10: it was not finished"]
    assert reasons[1].startswith("cy-0-dsir-10: it has other options: test was other.jsonl, here")
    found = " ".join(reasons)
    for words in ("learning_rate was 0.5, here", "model_name_or_path was org/other, here", "optimiser steps", "JSON"):
        assert words in found
    page = done.report.read_text("utf-8")
    assert all(one.folder in page for one in done.left_out)
    assert len(done.left_out) == 6


def test_cells_from_files_that_have_changed_since_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same options, and other rows under the same name."""
    folder = tmp_path / "grid"
    compare(config(folder, "random"), monkeypatch)
    (tmp_path / "usage.jsonl").write_text('{"prompt": "rhywbeth arall"}\n')
    wanted = config(folder, "compass")
    found, left_out = earlier_cells(wanted, cells(wanted))
    assert found == []
    assert {one.reason.partition(":")[0] for one in left_out} == {"it was made from other data"}


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda cell: cut(cell.folder / ANSWERS, 300), "JSONL"),
        (
            lambda cell: last_line_off(cell.folder / ANSWERS),
            "11 rows, not 12",
        ),
        (lambda cell: (cell.folder / layout.ADAPTER_EVALUATION / "cy.json").write_text("{}"), "not an evaluation"),
        (lambda cell: (cell.folder / layout.TRAINING_RESULT).unlink(), "can't be read"),
        (lambda cell: (cell.folder / layout.TRAINING_RESULT).write_text("[]"), "damaged"),
        (lambda cell: cut(cell.folder / layout.PICKS, 20), "is not JSON"),
        (lambda cell: make(cell, CLASSES), "tested on other rows: 0 of 12"),
    ],
)
def test_a_damaged_cell_is_named_and_the_others_are_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: Any, said: str
) -> None:
    """One file that a full disk cut would take the page of all others with it."""
    wanted = config(tmp_path / "grid", "compass", "random")
    compare(wanted, monkeypatch)
    damage(cells(wanted)[1])
    done = compare(wanted, monkeypatch)
    assert len(done.cells) == 5
    (one,) = done.left_out
    assert said in one.reason
    assert one.folder in done.report.read_text("utf-8")


def cut(path: Path, size: int) -> None:
    path.write_bytes(path.read_bytes()[:size])


def last_line_off(path: Path) -> None:
    path.write_text("".join(path.read_text("utf-8").splitlines(keepends=True)[:-1]), "utf-8")


def test_the_page_follows_the_shape_of_the_responses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On free text, where all have 2 % of exact matches, the page said that no difference was to be seen."""
    done = compare(config(tmp_path / "grid", "compass", "random"), monkeypatch)
    assert [c.metric for c in done.comparisons] == ["loss", "chrf", "token_f1", "rouge_l", "exact"]
    page = done.report.read_text("utf-8")
    assert "At a budget of 10, in Welsh, loss per byte is " in page
    assert "over 3 pairs of trainings (p " in page
    for title in ("chrF", "Token F1", "ROUGE-L", "Exact match"):
        assert title in page
    assert "Intent accuracy" not in page
    classes = compare(config(tmp_path / "classes", "compass", "random"), monkeypatch, CLASSES)
    page = classes.report.read_text("utf-8")
    assert "At a budget of 10, in Welsh, exact match is " in page
    assert "Intent accuracy" not in page, "no response is a call"
    assert [c.metric for c in classes.comparisons] == ["exact", "intent", "loss"]
