"""Strategies against each other, on the same data, budget and optimiser steps, with paired statistics.

draws (data, space, base model, once for each language and seed) -> cells (one run of `adapt` for each strategy and
budget) -> rows -> comparisons -> report. Every cell is a run folder with a report of its own. A comparison that was
killed goes on with the cells that are missing, and a strategy that is added costs its own cells alone. Cells of
`only-XX` strategies, which draw from one language, give the transfer results that `langrank` learns from: its own cells
come last where both are in one grid.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from compass.config import AdaptConfig, CompareConfig, dump_config
from compass.config.strategy import strategy_text
from compass.data.languages import normalize_tag
from compass.errors import ConfigError, DataError, RunError, check_all
from compass.progress import duration
from compass.recipes.adapt import prepare
from compass.recipes.earlier_cells import earlier_cells
from compass.recipes.grid import cells_of, draw_config, run_cells, run_draws, seconds_needed
from compass.recipes.workers import workers_at_once
from compass.records import CellResult, Comparison, LeftOut
from compass.report.comparison import Curves, build_comparison
from compass.runs.files import write_json, write_parquet, write_text
from compass.runs.folder import Run
from compass.selection import get_strategy
from compass.selection.strategies.langrank import LangRank
from compass.selection.strategies.one_language import PREFIX as ONE_LANGUAGE
from compass.selection.strategies.one_language import OneLanguage, is_in
from compass.steps.comparison import (
    PERMUTATIONS,
    Cell,
    budget_curves,
    cell_result,
    paired_comparisons,
    partial_comparisons,
    pick_overlaps,
    read_cells,
    shown_metrics,
    whole_and_parts,
    with_all_columns,
)
from compass.steps.resources import Resources
from compass.steps.state import RunData
from compass.steps.transfers import write_transfers

logger = logging.getLogger(__name__)

COMPARISON = "compare.yaml"
TRANSFERS = "transfer_results.jsonl"


@dataclass(frozen=True)
class Compared:
    """Where a finished comparison keeps its results."""

    folder: Path
    report: Path
    cells: tuple[CellResult, ...]
    comparisons: tuple[Comparison, ...]
    """The first strategy against each other one, by language and budget, and over all languages."""
    left_out: tuple[LeftOut, ...] = ()
    """Cells in the folder that are not shown, and why."""


def grid(config: CompareConfig) -> list[dict[str, Any]]:
    """Return the cells that a comparison has, without reading anything.

    Raises ConfigError for unknown strategies, LanguageError for tags that are none.
    """
    strategies = (partial(get_strategy, strategy) for strategy in config.grid.strategies)
    check_all([*strategies, *(partial(normalize_tag, language) for language in config.grid.languages)])
    return [
        {"language": language, "seed": seed, "budget": budget, "strategy": strategy}
        for language in _languages(config)
        for seed in config.grid.seeds
        for budget in config.grid.budgets
        for strategy in config.grid.strategies
    ]


def compare(config: CompareConfig, *, permutations: int = PERMUTATIONS) -> Compared:
    """Run every cell of the grid that is missing, compare the strategies row by row, and write the report.

    Raises ConfigError before any work for a strategy that does not exist, DataError before any training for a language
    without a test, and RunError for cells that failed, after the results of the others were written.
    """
    grid(config)
    run = Run(Path(config.adapt.run.output_dir))
    with run.locked():
        write_text(run.path(COMPARISON), dump_config(config))

        cells: list[Cell] = []
        draws: dict[tuple[str, int], Path] = {}
        failures: dict[str, str] = {}
        config, turns = _in_turn(config, run.path(TRANSFERS))
        for turn in turns:
            if cells:
                _write_transfers(run, draws, cells)

            # 1. What all strategies of a language and seed share: data, space, and the base model's answers.
            own, draws = _prepared(turn)

            # 2. One run of `adapt` for each cell that is not there yet.
            _announce(own, config.grid.workers)
            failures |= run_cells(own, draws, config.grid.workers)
            cells += own

        # 3. One row for each answer, one for each cell, one for each comparison, and a report of those that are there,
        # with the comparable ones of earlier comparisons in this folder.
        finished = [cell for cell in cells if cell.finished]
        if not finished:
            raise _failed(failures, cells, "None is finished.")
        earlier, left_out = earlier_cells(config, cells)
        compared = _write_results(
            run, _with_earlier(config, earlier), [*finished, *earlier], draws, permutations, left_out
        )
        if failures:
            raise _failed(failures, cells, f"{compared.report} shows the {len(finished)} that are finished.")
    return compared


def _in_turn(config: CompareConfig, results: Path) -> tuple[CompareConfig, list[CompareConfig]]:
    """Return the comparison with its strategies named in full, and what of it is to be run one after the other.

    `langrank` without a file of its own learns from the `only-XX` cells of the same grid, so it comes after them.
    results: the file of what they measured.
    """
    strategies = config.grid.strategies
    if LangRank.name not in strategies or not any(name.startswith(ONE_LANGUAGE) for name in strategies):
        return config, [config]
    learner = strategy_text(f"{LangRank.name}:transfer_results={results}")
    whole = tuple(learner if name == LangRank.name else name for name in strategies)
    parts = (tuple(name for name in whole if name != learner), (learner,))

    def of(part: tuple[str, ...]) -> CompareConfig:
        return dataclasses.replace(config, grid=dataclasses.replace(config.grid, strategies=part))

    return of(whole), [of(part) for part in parts]


def _write_transfers(run: Run, draws: Mapping[tuple[str, int], Path], cells: Sequence[Cell]) -> None:
    measured, _ = read_cells([cell for cell in cells if cell.finished])
    results = [cell_result(one.cell, one.answers, one.picked) for one in measured]
    write_transfers(run.path(TRANSFERS), draws, results)


def _prepared(config: CompareConfig) -> tuple[list[Cell], dict[tuple[str, int], Path]]:
    """Prepare all draws; return the cells, and (language, seed) -> the folder of the draw."""
    shared = {
        (language, seed): draw_config(config, language, seed)
        for language in _languages(config)
        for seed in config.grid.seeds
    }
    run_draws(list(shared.values()), config.grid.workers)
    cells: list[Cell] = []
    for draw in shared.values():
        resources = Resources(draw)
        data = prepare(draw, resources).data
        _check_test(draw, data)
        languages = {row.language for row in data.pool}
        own = cells_of(config, draw, data, _mean_cost(resources, data))
        cells += [cell for cell in own if _has_source(cell, languages)]
    if not cells:
        raise ConfigError(["strategies: no pool has a row in the languages that they draw from, so no cell is left"])
    return cells, {place: Path(draw.run.output_dir) for place, draw in shared.items()}


def _with_earlier(config: CompareConfig, earlier: Sequence[Cell]) -> CompareConfig:
    """Return the grid of a comparison with the strategies and budgets of earlier cells behind its own."""
    own = config.grid
    strategies = dict.fromkeys((*own.strategies, *sorted({cell.strategy for cell in earlier})))
    new = {cell.budget for cell in earlier} - set(own.budgets)
    budgets = sorted({*own.budgets, *new}) if new else own.budgets
    return dataclasses.replace(
        config, grid=dataclasses.replace(own, strategies=tuple(strategies), budgets=tuple(budgets))
    )


def _write_results(
    run: Run,
    config: CompareConfig,
    cells: Sequence[Cell],
    draws: Mapping[tuple[str, int], Path],
    permutations: int,
    left_out: Sequence[LeftOut],
) -> Compared:
    measured, damaged = read_cells(cells)
    left_out = [*damaged, *left_out]
    for one in left_out:
        logger.warning("Not shown: %s: %s", one.folder, one.reason)
    if not measured:
        raise RunError(f"No finished cell in {run.folder} can be read. The first: {left_out[0].reason}")
    cells, picks = [one.cell for one in measured], [one.picked for one in measured]
    rows = with_all_columns([row for one in measured for row in one.answers])
    results = [cell_result(one.cell, one.answers, one.picked) for one in measured]
    comparisons = paired_comparisons(config, rows, draws=permutations)
    comparisons += partial_comparisons(config, rows, comparisons, draws=permutations)
    metrics = shown_metrics(rows)
    write_parquet(run.path("rows.parquet"), rows)
    write_parquet(run.path("cells.parquet"), [_columns(cell) for cell in results])
    write_json(run.path("comparisons.json"), [comparison.to_dict() for comparison in comparisons])
    report = build_comparison(
        run.folder,
        config.grid.strategies,
        results,
        comparisons,
        pick_overlaps(cells, picks),
        _curves(config, rows, metrics),
        metrics=metrics,
        budget_unit=config.adapt.selection.budget_unit,
        confidence=config.adapt.evaluation.confidence,
        gaps=_gaps(config.grid.strategies, cells),
        left_out=left_out,
    )
    drawn = {language for language, _ in draws}
    write_transfers(run.path(TRANSFERS), draws, [result for result in results if result.language in drawn])
    return Compared(run.folder, report, tuple(results), tuple(comparisons), tuple(left_out))


def _curves(
    config: CompareConfig, rows: Sequence[dict[str, Any]], metrics: Sequence[str]
) -> dict[tuple[str, str], Curves]:
    """Return curves by language and metric: every metric over all languages, the first one in each of them."""
    whole, *parts = whole_and_parts({row["language"] for row in rows})
    curves = {(whole, metric): budget_curves(config, rows, metric, [whole])[whole] for metric in metrics}
    return curves | {(part, metrics[0]): budget_curves(config, rows, metrics[0], [part])[part] for part in parts}


def _columns(cell: CellResult) -> dict[str, Any]:
    """Return a row of `cells.parquet`, where a mapping is JSON."""
    return {**cell.to_dict(), "languages_picked": json.dumps(cell.languages_picked)}


def _languages(config: CompareConfig) -> tuple[str, ...]:
    """Return the tags of the target languages, each once, as data and results write them."""
    return tuple(dict.fromkeys(map(normalize_tag, config.grid.languages or (config.adapt.data.language,))))


def _check_test(draw: AdaptConfig, data: RunData) -> None:
    language = draw.data.language
    if language not in data.tests:
        raise DataError(
            f"Strategies can't be compared in {language}: there is no test data. Give held-out rows with "
            "responses with --test, or responses to the usage rows, of which half are held out then."
        )


def _failed(failures: Mapping[str, str], cells: Sequence[Cell], rest: str) -> RunError:
    logs = "\n".join(f"{name}:\n{text}" for name, text in failures.items())
    return RunError(
        f"{len(failures)} of {len(cells)} cells failed. {rest} The same command tries the failed ones again; "
        f"--strategies and --languages leave out what can't be had.\n{logs}"
    )


def _gaps(strategies: Sequence[str], cells: Sequence[Cell]) -> list[str]:
    """Say which strategies lack trainings that others have, and what that means for the comparison."""
    trained = {s: {(c.language, c.seed, c.budget) for c in cells if c.strategy == s} for s in strategies}
    whole = set().union(*trained.values())
    gaps = []
    for strategy in strategies:
        if missing := len(whole - trained[strategy]):
            where = "what it has" if strategy == strategies[0] else "where it has them all"
            gaps.append(f"{strategy} lacks {missing} of {len(whole)} trainings that others have: compared only {where}")
            logger.warning("%s", gaps[-1])
    return gaps


def _has_source(cell: Cell, languages: set[str]) -> bool:
    """Say whether a pool in these languages has what a cell draws from; a target's own language is often not in it."""
    strategy = get_strategy(cell.strategy)
    if not isinstance(strategy, OneLanguage) or any(is_in(tag, strategy.tag) for tag in languages):
        return True
    logger.warning("No cell %s for %s: its pool has no row in %s", cell.strategy, cell.language, strategy.tag)
    return False


def _mean_cost(resources: Resources, data: RunData) -> float:
    """Return what a pool row costs of the budget on average."""
    if resources.config.selection.budget_unit == "examples":
        return 1.0
    from compass.training import token_counts

    return float(np.mean(token_counts(resources.tokenizer, data.pool)))


def _announce(cells: Sequence[Cell], workers: int) -> None:
    waiting = [cell for cell in cells if not cell.finished]
    at_a_time = workers_at_once(workers)
    seconds = seconds_needed(cells, at_a_time)
    estimate = "their time is known after the first" if math.isnan(seconds) else duration(seconds)
    logger.info("%d of %d cells to run, %d at a time: %s", len(waiting), len(cells), at_a_time, estimate)
