"""Strategies against each other, on the same data, budget and optimiser steps, with paired statistics.

draws (data, space, base model, once for each language and seed) -> cells (one run of `adapt` for each strategy and
budget) -> rows -> comparisons -> report. Every cell is a run folder with a report of its own. A comparison that was
killed goes on with the cells that are missing, and a strategy that is added costs its own cells alone. Cells of
`only-XX` strategies, which draw from one language, give the transfer results that `langrank` learns from.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from compass.config import AdaptConfig, CompareConfig, dump_config
from compass.data.example import Example
from compass.data.languages import normalize_tag
from compass.data.readers import read_jsonl
from compass.errors import ConfigError, DataError, MissingExtraError, RunError
from compass.evaluation.files import read_evaluation
from compass.progress import duration
from compass.recipes.adapt import prepare
from compass.recipes.grid import (
    Cell,
    cells_of,
    draw_config,
    run_cells,
    run_draws,
    seconds_needed,
    workers_at_once,
)
from compass.report.comparison import Curves
from compass.runs.folder import Run, write_json, write_text
from compass.selection import get_strategy
from compass.selection.strategies.one_language import PREFIX as ONE_LANGUAGE
from compass.selection.strategies.one_language import OneLanguage, is_in
from compass.stats import compare_paired, ratio_interval
from compass.steps.features import prompts, transfer_result, write_transfer_results
from compass.steps.read import Gathered
from compass.steps.resources import base_model

logger = logging.getLogger(__name__)

METRICS = ("exact", "intent", "loss")
"""Scores of a row that are compared: the whole answer is right; its function is; nats per byte of the right answer.

The loss varies least between trainings that differ by chance; lower is better."""


@dataclass(frozen=True)
class Compared:
    """Where a finished comparison keeps its results."""

    folder: Path
    report: Path
    cells: tuple[dict[str, Any], ...]
    """One row a cell: its metrics, what it picked and what it cost."""
    comparisons: tuple[dict[str, Any], ...]
    """The first strategy against each other one, by language and budget, and over all languages."""


def grid(config: CompareConfig) -> list[dict[str, Any]]:
    """Return the cells that a comparison has, without reading anything.

    Raises ConfigError for unknown strategies, LanguageError for tags that are none.
    """
    for strategy in config.grid.strategies:
        get_strategy(strategy)
    return [
        {"language": language, "seed": seed, "budget": budget, "strategy": strategy}
        for language in _languages(config)
        for seed in config.grid.seeds
        for budget in config.grid.budgets
        for strategy in config.grid.strategies
    ]


def compare(config: CompareConfig) -> Compared:
    """Run every cell of the grid that is missing, compare the strategies row by row, and write the report.

    Raises ConfigError before any work for a strategy that does not exist, DataError before any training for a language
    without a test, and RunError for cells that failed, after the results of the others were written.
    """
    grid(config)
    run = Run(Path(config.adapt.run.output_dir))
    with run.locked():
        write_text(run.path("compare.yaml"), dump_config(config))

        # 1. What all strategies of a language and seed share: data, space, and the base model's answers.
        cells, draws = _prepared(config)

        # 2. One run of `adapt` for each cell that is not there yet.
        _announce(cells, config.grid.workers)
        failures = run_cells(cells, draws, config.grid.workers)

        # 3. One row for each answer, one for each cell, one for each comparison, and a report of those that are there.
        finished = [cell for cell in cells if cell.finished]
        if not finished:
            raise _failed(failures, cells, "None is finished.")
        compared = _write_results(run, config, finished, draws)
        if failures:
            raise _failed(failures, cells, f"{compared.report} shows the {len(finished)} that are finished.")
    return compared


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
        data = prepare(draw).data
        _check_test(draw, data)
        languages = {row.language for row in data.pool}
        own = cells_of(config, draw, data, _mean_cost(draw, data))
        cells += [cell for cell in own if _has_source(cell, languages)]
    if not cells:
        raise ConfigError(["strategies: no pool has a row in a language that they draw from, so no cell is left"])
    return cells, {place: Path(draw.run.output_dir) for place, draw in shared.items()}


def _write_results(
    run: Run, config: CompareConfig, cells: Sequence[Cell], draws: Mapping[tuple[str, int], Path]
) -> Compared:
    from compass.report.comparison import build_comparison

    answers, picks = [_rows(cell) for cell in cells], [_picked(cell) for cell in cells]
    rows = [row for own in answers for row in own]
    figures = [_figures(cell, own, picked) for cell, own, picked in zip(cells, answers, picks, strict=True)]
    comparisons = paired_comparisons(config, rows)
    _write_parquet(run.path("rows.parquet"), rows)
    _write_parquet(run.path("cells.parquet"), figures)
    write_json(run.path("comparisons.json"), comparisons)
    report = build_comparison(
        run.folder,
        config.grid.strategies,
        figures,
        comparisons,
        _overlaps(cells, picks),
        _curves(config, rows),
        budget_unit=config.adapt.selection.budget_unit,
        gaps=_gaps(config.grid.strategies, cells),
    )
    _write_transfers(run, draws, figures)
    return Compared(run.folder, report, tuple(figures), tuple(comparisons))


def _languages(config: CompareConfig) -> tuple[str, ...]:
    """Return the tags of the target languages, each once, as data and results write them."""
    return tuple(dict.fromkeys(map(normalize_tag, config.grid.languages or (config.adapt.data.language,))))


def _check_test(draw: AdaptConfig, data: Gathered) -> None:
    language = draw.data.language
    if language not in data.tests:
        raise DataError(
            f"Strategies can't be compared in {language}: there is nothing to measure them on. Give held-out rows with "
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


def _mean_cost(draw: AdaptConfig, data: Gathered) -> float:
    if draw.selection.budget_unit == "examples":
        return 1.0
    from compass.training import load_tokenizer, token_counts

    return float(np.mean(token_counts(load_tokenizer(base_model(draw)), data.pool)))


def _announce(cells: Sequence[Cell], workers: int) -> None:
    waiting = [cell for cell in cells if not cell.finished]
    at_a_time = workers_at_once(workers)
    seconds = seconds_needed(cells, at_a_time)
    estimate = "their time is known after the first" if math.isnan(seconds) else duration(seconds)
    logger.info("%d of %d cells to run, %d at a time: %s", len(waiting), len(cells), at_a_time, estimate)


def _rows(cell: Cell) -> list[dict[str, Any]]:
    """Return the answers of a cell to its language's test, one row each."""
    evaluation = read_evaluation(cell.folder / "eval" / "adapter" / f"{cell.language}.json")
    clusters = evaluation.clusters if evaluation.clusters is not None else np.full(len(evaluation.examples), -1)
    return [
        {
            "language": cell.language,
            "seed": cell.seed,
            "budget": cell.budget,
            "strategy": cell.strategy,
            "id": example.id,
            # Another seed may draw another row under the same name; the prompt itself is not kept here.
            "item": hashlib.sha256((example.parallel_id or example.prompt).encode("utf-8", "replace")).hexdigest()[:16],
            "cluster": int(cluster),
            "exact": float(exact),
            "intent": float(intent) if is_call else float(exact),
            "nats": float(nats),
            "bytes": float(n_bytes),
            "loss": float(nats) / max(float(n_bytes), 1.0),
        }
        for example, cluster, exact, intent, is_call, nats, n_bytes in zip(
            evaluation.examples,
            clusters,
            evaluation.scores.exact,
            evaluation.scores.intent_correct,
            evaluation.scores.is_call,
            evaluation.nats,
            evaluation.n_bytes,
            strict=True,
        )
    ]


def _figures(cell: Cell, own: Sequence[dict[str, Any]], picked: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Sum up a cell from its answers and its picks."""
    training = json.loads((cell.folder / "training" / "result.json").read_text("utf-8"))
    languages: dict[str, int] = {}
    for row in picked:
        languages[row["language"]] = languages.get(row["language"], 0) + 1
    return {
        "language": cell.language,
        "seed": cell.seed,
        "budget": cell.budget,
        "strategy": cell.strategy,
        "rows": len(own),
        "exact": float(np.mean([row["exact"] for row in own])),
        "intent": float(np.mean([row["intent"] for row in own])),
        "loss_per_byte": sum(row["nats"] for row in own) / sum(row["bytes"] for row in own),
        "picked": len(picked),
        "clusters_picked": len({row["cluster"] for row in picked}),
        "languages_picked": json.dumps(dict(sorted(languages.items(), key=lambda item: -item[1]))),
        "steps": int(training["steps"]),
        "tokens": int(training["tokens"]),
        "train_seconds": float(training["train_seconds"]),
        "peak_memory_bytes": int(training["peak_memory_bytes"]),
        "run": str(cell.folder),
    }


def _write_transfers(run: Run, draws: Mapping[tuple[str, int], Path], figures: Sequence[dict[str, Any]]) -> None:
    """Write how well each language alone served each target, if that was measured.

    The scores of a target are means over the budgets and seeds that all of its languages were trained for.
    """
    found: dict[str, dict[str, dict[tuple[int, int], float]]] = {}
    for cell in figures:
        if cell["strategy"].startswith(ONE_LANGUAGE):
            source = cell["strategy"].removeprefix(ONE_LANGUAGE)
            own = found.setdefault(cell["language"], {}).setdefault(source, {})
            own[cell["seed"], cell["budget"]] = cell["exact"]
    scores: dict[tuple[str, str], list[float]] = {}
    for target, sources in found.items():
        shared = set.intersection(*map(set, sources.values()))
        if not shared:
            logger.warning("No transfer results for %s: no budget and seed has all of its languages", target)
        scores |= {
            (target, source): [own[place] for place in sorted(shared)] for source, own in sources.items() if shared
        }
    if not scores:
        return
    texts: dict[str, tuple[list[str], list[Example]]] = {}
    for (target, _seed), folder in draws.items():
        if target not in texts:
            usage, current, pool = (read_jsonl(folder / "data" / f"{n}.jsonl") for n in ("usage", "current", "pool"))
            texts[target] = prompts([*usage, *current]), pool
    try:
        results = [
            transfer_result(
                target, source, float(np.mean(values)), target_texts=texts[target][0],
                source_texts=prompts(row for row in texts[target][1] if is_in(row.language, source)),
            )
            for (target, source), values in sorted(scores.items())
        ]  # fmt: skip
    except MissingExtraError as error:
        logger.warning("No transfer_results.jsonl, all else is written: %s", error)
        return
    write_transfer_results(run.path("transfer_results.jsonl"), results)


def paired_comparisons(config: CompareConfig, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Compare the first strategy with each other one, paired by row, for each budget and language and over all of them.

    A test item that comes back in another seed, budget or, by its `parallel_id`, language is one unit: its rows are
    resampled and swapped together. Where there are several trainings, a mean, an interval and a test over them say what
    another draw or seed may give; over all budgets a pair of language and seed still counts once. `budget` is None
    where it is all, `language` is empty.
    """
    budgets = [*([None] if len(config.grid.budgets) > 1 else []), *config.grid.budgets]
    languages = {row["language"] for row in rows}
    return [
        {"budget": budget, "language": scope, **found}
        for budget in budgets
        for scope in _scopes(languages)
        for found in _in_scope(
            config,
            [row for row in rows if budget in (None, row["budget"]) and scope in ("", row["language"])],
            {scope} if scope else languages,
        )
    ]


def _scopes(languages: set[str]) -> list[str]:
    """Return what figures are given for: all languages, an empty text, if there are several, and each."""
    return [*([""] if len(languages) > 1 else []), *sorted(languages)]


def _in_scope(
    config: CompareConfig, rows: Sequence[Mapping[str, Any]], languages: set[str]
) -> Iterator[dict[str, Any]]:
    """Compare the strategies that have the trainings of the first in all of these languages, metric by metric.

    One that lacks a few would shrink the comparison of all others to what they share with it.
    """
    first = config.grid.strategies[0]
    own = {strategy: [row for row in rows if row["strategy"] == strategy] for strategy in config.grid.strategies}
    trained = {
        strategy: {(row["language"], row["seed"], row["budget"]) for row in lines} for strategy, lines in own.items()
    }
    strategies = [strategy for strategy in config.grid.strategies if trained[strategy] >= trained[first]]
    if not languages <= {language for language, _, _ in trained[first]} or len(strategies) == 1:
        return
    for metric in METRICS:
        scores = {
            strategy: {
                (row["language"], row["seed"], row["budget"], row["id"], row["item"]): row[metric]
                for row in own[strategy]
                if math.isfinite(row[metric])
            }
            for strategy in strategies
        }
        items = sorted(set.intersection(*(set(values) for values in scores.values())))
        if not items:
            continue
        results = compare_paired(
            {strategy: [values[item] for item in items] for strategy, values in scores.items()},
            first,
            draws=config.grid.permutations,
            confidence=config.adapt.evaluation.confidence,
            seed=config.adapt.run.seed,
            units=[item for _language, _seed, _budget, _id, item in items],
            runs=[(language, seed) for language, seed, _budget, _id, _item in items],
        )
        for result in results:
            between = result.between_runs
            yield {
                "metric": metric,
                "strategy": first,
                "against": result.name,
                "rows": len(items),
                "units": result.units,
                "value": float(np.mean([scores[first][item] for item in items])),
                "other": float(np.mean([scores[result.name][item] for item in items])),
                # compare_paired gives the other less the reference.
                "difference": 0.0 - result.difference.value,
                "low": 0.0 - result.difference.high,
                "high": 0.0 - result.difference.low,
                "p_value": result.p_value,
                "p_holm": result.p_holm,
                "cohens_d": _or_none(-result.effect.value),
                "detectable": _or_none(result.detectable),
                "runs": result.runs,
                "runs_difference": _or_none(-between.value),
                "runs_low": _or_none(-between.high),
                "runs_high": _or_none(-between.low),
                "runs_p_value": _or_none(result.runs_p_value),
                "runs_p_holm": _or_none(result.runs_p_holm),
            }


def _or_none(value: float) -> float | None:
    """JSON has no nan."""
    return None if math.isnan(value) else value


def _curves(config: CompareConfig, rows: Sequence[dict[str, Any]]) -> dict[str, Curves]:
    """Return exact match with its interval over test rows by strategy and budget, for each language and for all."""
    curves: dict[str, Curves] = {}
    for scope in _scopes({row["language"] for row in rows}):
        points = {}
        for strategy in config.grid.strategies:
            for budget in config.grid.budgets:
                chosen = [
                    row
                    for row in rows
                    if (row["strategy"], row["budget"]) == (strategy, budget) and scope in ("", row["language"])
                ]
                if not chosen:
                    continue
                interval = ratio_interval(
                    [row["exact"] for row in chosen],
                    np.ones(len(chosen)),
                    draws=config.adapt.evaluation.bootstrap_draws,
                    confidence=config.adapt.evaluation.confidence,
                    seed=config.adapt.run.seed,
                    units=[row["item"] for row in chosen],
                    proportion=True,
                )
                points[strategy, budget] = (interval.value, interval.low, interval.high)
        curves[scope] = points
    return curves


def _overlaps(cells: Sequence[Cell], picks: Sequence[Sequence[dict[str, Any]]]) -> dict[tuple[str, str], float]:
    """Return the mean Jaccard overlap of what two strategies picked from the same draw at the same budget."""
    by_draw: dict[tuple[str, int, int], dict[str, set[str]]] = {}
    for cell, picked in zip(cells, picks, strict=True):
        ids = {str(row["id"]) for row in picked}
        by_draw.setdefault((cell.language, cell.seed, cell.budget), {})[cell.strategy] = ids
    sums: dict[tuple[str, str], list[float]] = {}
    for chosen in by_draw.values():
        for one, ids in chosen.items():
            for two, other in chosen.items():
                if one < two and (ids or other):
                    sums.setdefault((one, two), []).append(len(ids & other) / len(ids | other))
    return {pair: float(np.mean(values)) for pair, values in sums.items()}


def _picked(cell: Cell) -> list[dict[str, Any]]:
    path = cell.folder / "selection" / "selected.jsonl"
    return [json.loads(line) for line in path.read_text("utf-8").split("\n") if line] if path.is_file() else []


def _write_parquet(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    partial = path.with_name(path.name + ".partial")
    pq.write_table(pa.Table.from_pylist(list(rows)), partial)
    os.replace(partial, path)
