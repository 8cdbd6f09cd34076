"""What a comparison makes of its cells: a row for each answer, figures for each cell, and paired differences."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from compass.config import AdaptConfig, CompareConfig
from compass.evaluation.files import read_evaluation
from compass.records import CellResult, Comparison, Interval
from compass.report.comparison import Curves
from compass.runs import layout
from compass.runs.files import read_json, read_jsonl
from compass.stats import compare_paired, ratio_interval

PERMUTATIONS = 10_000
"""Draws of the paired permutation tests, as in the paper."""


METRICS = ("exact", "intent", "loss")
"""Scores of a row that are compared: the whole answer is right; its function is; nats per byte of the right answer.

The loss varies least between trainings that differ by chance; lower is better."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One strategy with one budget on one draw."""

    strategy: str
    budget: int
    language: str
    seed: int
    folder: Path
    config: AdaptConfig

    @property
    def finished(self) -> bool:
        """Whether the cell was measured."""
        return (self.folder / layout.CELL).is_file()


def answer_rows(cell: Cell) -> list[dict[str, Any]]:
    """Return the answers of a cell to its language's test, one row each."""
    evaluation = read_evaluation(cell.folder / layout.ADAPTER_EVALUATION / f"{cell.language}.json")
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


def cell_result(cell: Cell, own: Sequence[dict[str, Any]], picked: Sequence[dict[str, Any]]) -> CellResult:
    """Sum up a cell from its answers and its picks."""
    training = read_json(cell.folder / layout.TRAINING_RESULT)
    languages: dict[str, int] = {}
    for row in picked:
        languages[row["language"]] = languages.get(row["language"], 0) + 1
    return CellResult(
        language=cell.language,
        seed=cell.seed,
        budget=cell.budget,
        strategy=cell.strategy,
        rows=len(own),
        exact=float(np.mean([row["exact"] for row in own])),
        intent=float(np.mean([row["intent"] for row in own])),
        loss_per_byte=sum(row["nats"] for row in own) / sum(row["bytes"] for row in own),
        picked=len(picked),
        clusters_picked=len({row["cluster"] for row in picked}),
        languages_picked=dict(sorted(languages.items(), key=lambda item: -item[1])),
        steps=int(training["steps"]),
        tokens=int(training["tokens"]),
        train_seconds=float(training["train_seconds"]),
        peak_memory_bytes=int(training["peak_memory_bytes"]),
        run=str(cell.folder),
    )


def paired_comparisons(
    config: CompareConfig, rows: Sequence[Mapping[str, Any]], *, draws: int = PERMUTATIONS
) -> list[Comparison]:
    """Compare the first strategy with each other one, paired by row, for each budget and language and over all of them.

    A test item that comes back in another seed, budget or, by its `parallel_id`, language is one unit: its rows are
    resampled and swapped together. Where there are several trainings, a mean, an interval and a test over them say what
    another draw or seed may give; over all budgets a pair of language and seed still counts once. `budget` is None
    where it is all, `language` is empty.
    """
    budgets = [*([None] if len(config.grid.budgets) > 1 else []), *config.grid.budgets]
    languages = {row["language"] for row in rows}
    return [
        comparison
        for budget in budgets
        for scope in _scopes(languages)
        for comparison in _in_scope(
            config,
            budget,
            scope,
            [row for row in rows if budget in (None, row["budget"]) and scope in ("", row["language"])],
            {scope} if scope else languages,
            draws,
        )
    ]


def _scopes(languages: set[str]) -> list[str]:
    """Return what figures are given for: all languages, an empty text, if there are several, and each."""
    return [*([""] if len(languages) > 1 else []), *sorted(languages)]


def _in_scope(
    config: CompareConfig,
    budget: int | None,
    scope: str,
    rows: Sequence[Mapping[str, Any]],
    languages: set[str],
    draws: int,
) -> Iterator[Comparison]:
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
            draws=draws,
            confidence=config.adapt.evaluation.confidence,
            seed=config.adapt.run.seed,
            units=[item for _language, _seed, _budget, _id, item in items],
            runs=[(language, seed) for language, seed, _budget, _id, _item in items],
        )
        for result in results:
            yield Comparison(
                budget=budget,
                language=scope,
                metric=metric,
                strategy=first,
                against=result.name,
                rows=len(items),
                units=result.units,
                value=float(np.mean([scores[first][item] for item in items])),
                other=float(np.mean([scores[result.name][item] for item in items])),
                # compare_paired gives the other less the reference.
                interval=_negative(result.difference),
                p_value=result.p_value,
                p_holm=result.p_holm,
                cohens_d=-result.effect.value,
                detectable=result.detectable,
                runs=result.runs,
                between_runs=_negative(result.between_runs),
                runs_p_value=result.runs_p_value,
                runs_p_holm=result.runs_p_holm,
            )


def _negative(interval: Interval) -> Interval:
    # Taken from zero, so that a difference of 0 does not become -0.
    return Interval(0.0 - interval.value, 0.0 - interval.high, 0.0 - interval.low)


def budget_curves(config: CompareConfig, rows: Sequence[dict[str, Any]]) -> dict[str, Curves]:
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
                points[strategy, budget] = interval
        curves[scope] = points
    return curves


def pick_overlaps(cells: Sequence[Cell], picks: Sequence[Sequence[dict[str, Any]]]) -> dict[tuple[str, str], float]:
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


def picked_rows(cell: Cell) -> list[dict[str, Any]]:
    path = cell.folder / layout.PICKS
    return read_jsonl(path) if path.is_file() else []
