"""What a comparison makes of its cells: a row for each answer, figures for each cell, and paired differences."""

from __future__ import annotations

import dataclasses
import hashlib
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from compass.config import AdaptConfig, CompareConfig
from compass.errors import CompassError, RunError
from compass.evaluation.files import read_evaluation
from compass.records import CellResult, Comparison, Interval, LeftOut
from compass.report.comparison import Curves
from compass.runs import layout
from compass.runs.files import read_json, read_jsonl
from compass.stats import BOOTSTRAP_DRAWS, compare_paired, holm, ratio_interval

PERMUTATIONS = 10_000
"""Draws of the paired permutation tests, as in the paper."""

METRICS = ("exact", "intent", "loss")
"""Scores of a row that are compared: the whole answer is right; its function is; nats per byte of the right answer.

The loss varies least between trainings that differ by chance; lower is better."""

LIKENESS = ("chrf", "token_f1", "rouge_l")
"""Further scores of a row of free text: how alike answer and response are, in [0, 1]."""


def metrics_of(rows: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """Return the scores that rows are compared by, the one that suits their responses best first."""
    texts = sum(math.isfinite(row.get(LIKENESS[0], math.nan)) for row in rows)
    if 2 * texts > len(rows):
        return ("loss", *LIKENESS, "exact")
    return (*METRICS, *LIKENESS) if texts else METRICS


def shown_metrics(rows: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """Return those of `metrics_of` that say something of their own: without calls, intent is exact match again."""
    calls = any(row["intent"] != row["exact"] for row in rows)
    return tuple(metric for metric in metrics_of(rows) if metric != "intent" or calls)


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


@dataclass(frozen=True, slots=True)
class Measured:
    """A finished cell with its rows."""

    cell: Cell
    answers: list[dict[str, Any]]
    picked: list[dict[str, Any]]


def read_cells(cells: Sequence[Cell]) -> tuple[list[Measured], list[LeftOut]]:
    """Read finished cells; one that is damaged, or was tested on other rows than most of its language and seed, is
    left out with the reason."""
    found: list[Measured] = []
    left_out: list[LeftOut] = []
    for cell in cells:
        try:
            measured = Measured(cell, answer_rows(cell), picked_rows(cell))
            cell_result(cell, measured.answers, measured.picked)
            found.append(measured)
        except CompassError as error:
            left_out.append(LeftOut(cell.folder.name, f"{error} Delete the folder to have it made again."))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            reason = f"its files are damaged ({type(error).__name__}: {error})."
            left_out.append(LeftOut(cell.folder.name, f"{reason} Delete the folder to have it made again."))
    tests: dict[tuple[str, int], Counter[frozenset[tuple[str, str]]]] = {}
    for one in found:
        tests.setdefault((one.cell.language, one.cell.seed), Counter())[_tested(one)] += 1
    usual = {draw: counts.most_common(1)[0][0] for draw, counts in tests.items()}
    same: list[Measured] = []
    for one in found:
        wanted, own = usual[one.cell.language, one.cell.seed], _tested(one)
        if own == wanted:
            same.append(one)
        else:
            reason = f"it was tested on other rows: {len(own & wanted)} of {len(own)} are those of the other cells"
            left_out.append(LeftOut(one.cell.folder.name, reason))
    return same, left_out


def _tested(one: Measured) -> frozenset[tuple[str, str]]:
    return frozenset((row["id"], row["item"]) for row in one.answers)


def with_all_columns(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Give every row the columns that one of them has; nan for a score that it lacks."""
    columns = dict.fromkeys(name for row in rows for name in row)
    missing = dict.fromkeys(columns, math.nan)
    return [missing | row for row in rows]


def answer_rows(cell: Cell) -> list[dict[str, Any]]:
    """Return the answers of a cell to its language's test, one row each."""
    evaluation = read_evaluation(cell.folder / layout.ADAPTER_EVALUATION / f"{cell.language}.json")
    scores = evaluation.scores
    likeness: list[dict[str, float]] = [{} for _ in evaluation.examples]
    if scores.is_text.any():
        columns = {name: np.where(scores.is_text, getattr(scores, name), np.nan).tolist() for name in LIKENESS}
        likeness = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
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
            **alike,
        }
        for example, cluster, exact, intent, is_call, nats, n_bytes, alike in zip(
            evaluation.examples,
            clusters,
            scores.exact,
            scores.intent_correct,
            scores.is_call,
            evaluation.nats,
            evaluation.n_bytes,
            likeness,
            strict=True,
        )
    ]


def cell_result(cell: Cell, own: Sequence[dict[str, Any]], picked: Sequence[dict[str, Any]]) -> CellResult:
    """Sum up a cell from its answers and its picks."""
    if not own:
        raise RunError(f"{cell.folder} holds no answers.")
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
        response_loss=float(training.get("response_loss", math.nan)),
    )


def paired_comparisons(
    config: CompareConfig, rows: Sequence[Mapping[str, Any]], *, draws: int = PERMUTATIONS
) -> list[Comparison]:
    """Compare the first strategy with each other one, paired by row, for each budget and language and over all of them.

    Where it has no training, the first that has one in each language takes its place.
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
        for scope in whole_and_parts(languages)
        for comparison in _in_scope(
            config,
            budget,
            scope,
            [row for row in rows if budget in (None, row["budget"]) and scope in ("", row["language"])],
            {scope} if scope else languages,
            draws,
        )
    ]


def partial_comparisons(
    config: CompareConfig,
    rows: Sequence[Mapping[str, Any]],
    whole: Sequence[Comparison],
    *,
    draws: int = PERMUTATIONS,
) -> list[Comparison]:
    """Compare the first strategy with those that lack some of its trainings, on the trainings that both have.

    whole: what `paired_comparisons` gives for the same rows; its p-values count in Holm's correction.
    """
    first = config.grid.strategies[0]
    trained: dict[str, set[tuple[str, int, int]]] = {}
    for row in rows:
        trained.setdefault(row["strategy"], set()).add((row["language"], row["seed"], row["budget"]))
    languages = {language for language, _, _ in trained.get(first, ())}
    found: list[Comparison] = []
    for strategy in config.grid.strategies[1:]:
        shared = trained.get(first, set()) & trained.get(strategy, set())
        if not shared:
            continue
        budgets = tuple(budget for budget in config.grid.budgets if budget in {budget for _, _, budget in shared})
        grid = dataclasses.replace(config.grid, strategies=(first, strategy), budgets=budgets)
        pair = dataclasses.replace(config, grid=grid)
        all_languages = languages == {language for language, _, _ in shared}
        known = {(c.budget, c.language) for c in whole if (c.strategy, c.against) == (first, strategy)}
        of_both = [row for row in rows if (row["language"], row["seed"], row["budget"]) in shared]
        found += [
            comparison
            for comparison in paired_comparisons(pair, of_both, draws=draws)
            if (comparison.budget, comparison.language) not in known and (comparison.language or all_languages)
        ]
    return [_corrected(comparison, [*whole, *found]) for comparison in found]


def _corrected(comparison: Comparison, every: Sequence[Comparison]) -> Comparison:
    """Correct p-values of a comparison by Holm's method for all of its budget, language and metric."""

    def scope(c: Comparison) -> tuple[int | None, str, str]:
        return c.budget, c.language, c.metric

    family = {(c.strategy, c.against): c for c in every if scope(c) == scope(comparison)}
    own = (comparison.strategy, comparison.against)
    of_rows, of_runs = (
        holm({pair: getattr(c, name) for pair, c in family.items()})[own] for name in ("p_value", "runs_p_value")
    )
    return dataclasses.replace(comparison, p_holm=of_rows, runs_p_holm=of_runs)


def whole_and_parts(languages: set[str]) -> list[str]:
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
    own = {strategy: [row for row in rows if row["strategy"] == strategy] for strategy in config.grid.strategies}
    trained = {
        strategy: {(row["language"], row["seed"], row["budget"]) for row in lines} for strategy, lines in own.items()
    }
    whole = [name for name in config.grid.strategies if languages <= {language for language, _, _ in trained[name]}]
    if not whole:
        return
    first = whole[0]
    if budget is None and len({budget for _, _, budget in trained[first]}) < 2:
        return
    strategies = [strategy for strategy in config.grid.strategies if trained[strategy] >= trained[first]]
    if len(strategies) == 1:
        return
    for metric in metrics_of(rows):
        scores = {
            strategy: {
                (row["language"], row["seed"], row["budget"], row["id"], row["item"]): row[metric]
                for row in own[strategy]
                if math.isfinite(row.get(metric, math.nan))
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


def budget_curves(
    config: CompareConfig,
    rows: Sequence[dict[str, Any]],
    metric: str = "exact",
    scopes: Sequence[str] | None = None,
    *,
    draws: int = BOOTSTRAP_DRAWS,
) -> dict[str, Curves]:
    """Return a score with its interval over test rows by strategy and budget, for all languages ("") and for each.

    scopes: only these. draws: behind each interval.
    """
    rows = [row for row in rows if math.isfinite(row.get(metric, math.nan))]
    curves: dict[str, Curves] = {}
    for scope in whole_and_parts({row["language"] for row in rows}) if scopes is None else scopes:
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
                    [row[metric] for row in chosen],
                    np.ones(len(chosen)),
                    draws=draws,
                    confidence=config.adapt.evaluation.confidence,
                    seed=config.adapt.run.seed,
                    units=[row["item"] for row in chosen],
                    proportion=metric in ("exact", "intent"),
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
