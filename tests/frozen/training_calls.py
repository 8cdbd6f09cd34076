"""All that the frozen tests of training, evaluation and comparison call of compass, in one place.

Where a function is renamed, moved or takes other arguments, this file changes and the tests do not.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from compass.config import (
    AdaptConfig,
    CompareConfig,
    EvaluationConfig,
    GridConfig,
    RunConfig,
    TrainingConfig,
    UpdateConfig,
)
from compass.data.example import Example
from compass.evaluation import compare, compare_by_cluster, evaluate
from compass.evaluation.evaluate import Evaluation, assemble
from compass.recipes.compare import _gaps
from compass.steps.comparison import budget_curves, paired_comparisons, pick_overlaps
from compass.training import BaseModel, LanguageModel, adapter_fisher, train, update_adapter
from compass.training.balance import class_repeats
from compass.training.soup import train_averaged

GONE = ("current_weight",)
RENAMED = {"answer_balance": "class_balance"}

Row = Mapping[str, str]
"""`id`, `prompt`, `response`, `language`, and `label` or `parallel_id` where there is one."""


def _training(options: Mapping[str, Any]) -> TrainingConfig:
    """Return options of version 0.1 as they are now; those that are gone were at their defaults.

    `auto` was float32 on every CPU.
    """
    return TrainingConfig(
        dtype="float32", **{RENAMED.get(name, name): value for name, value in options.items() if name not in GONE}
    )


def base_at(folder: Path) -> BaseModel:
    """Return a model folder as a base model."""
    return BaseModel(str(folder), str(folder), "local", "")


def train_plain(rows: Sequence[Row], base: BaseModel, folder: Path, *, seed: int, options: Mapping[str, Any]) -> Path:
    """Train one adapter and return its folder."""
    done = train(examples(rows), base=base, config=_training(options), output_dir=folder, seed=seed)
    return done.adapter


def train_several(rows: Sequence[Row], base: BaseModel, folder: Path, *, seed: int, options: Mapping[str, Any]) -> Path:
    """Train the adapters of `averaged_trainings`, average them and return the folder of the average."""
    config = _training(options)
    return train_averaged(
        examples(rows), base=base, config=config, output_dir=folder, seed=seed, payload={"options": dict(options)}
    ).adapter


def measure_fisher(rows: Sequence[Row], base: BaseModel, adapter: Path, *, options: Mapping[str, Any]) -> Any:
    """Return the Fisher information of an adapter, ready to hand to `update_from`."""
    return adapter_fisher(examples(rows), base=base, adapter=adapter, config=_training(options))


def tensors_of(fisher: Any) -> Mapping[str, Any]:
    """Return the diagonal of a Fisher information by weight."""
    return fisher.diagonal


def stronger(fisher: Any, factor: float) -> Any:
    """Return a Fisher information times a factor, so that a penalty is felt in a step or two."""
    return dataclasses.replace(fisher, diagonal={name: factor * value for name, value in fisher.diagonal.items()})


def update_from(
    adapter: Path, new: Sequence[Row], base: BaseModel, folder: Path, *, seed: int, options: Mapping[str, Any],
    method: Mapping[str, Any], old: Sequence[Row], anchors: Sequence[Row], fisher: Any,
) -> Path:  # fmt: skip
    """Update an adapter by a method and return the folder of the new one."""
    done = update_adapter(
        examples(new), adapter=adapter, base=base, config=_training(options), options=UpdateConfig(**method),
        output_dir=folder, seed=seed, history=examples(old), anchors=examples(anchors), fisher=fisher,
    )  # fmt: skip
    return done.adapter


def repeats(rows: Sequence[Row], options: Mapping[str, Any]) -> list[int]:
    """Return how often an epoch sees each training row; the weight that version 0.1 put on all of them is gone."""
    weight = options.get("current_weight", 1)
    return [weight * times for times in class_repeats(examples(rows), _training(options).class_balance)]


def answer(
    base: BaseModel, adapter: Path | None, rows: Sequence[Row], *, name: str, clusters: Sequence[int],
    seen: Sequence[str], options: Mapping[str, Any], seed: int,
) -> Evaluation:  # fmt: skip
    """Let a model answer a test and score it."""
    config, draws = _evaluation(options)
    return evaluate(
        LanguageModel(base, adapter, dtype="float32"), examples(rows), name=name, language="cy", config=config,
        seed=seed, clusters=clusters, seen_labels=seen, draws=draws,
    )  # fmt: skip


def answered(
    rows: Sequence[Row], predictions: Sequence[str], nats: Sequence[float], *, name: str, clusters: Sequence[int],
    seen: Sequence[str], options: Mapping[str, Any], seed: int,
) -> Evaluation:  # fmt: skip
    """Score answers that are given."""
    given = examples(rows)
    config, draws = _evaluation(options)
    return assemble(
        given, predictions, np.array(nats), np.array([len(row.response.encode()) for row in given], dtype=np.float64),
        name=name, language="cy", config=config, seed=seed, clusters=np.array(clusters), seen_labels=seen, draws=draws,
    )  # fmt: skip


def _evaluation(options: Mapping[str, Any]) -> tuple[EvaluationConfig, int]:
    """Return the options, and the bootstrap draws, which were one of them."""
    rest = dict(options)
    draws = rest.pop("bootstrap_draws")
    return EvaluationConfig(**rest), draws


def account(evaluation: Evaluation) -> dict[str, Any]:
    """Return all of an evaluation, JSON-ready: answers and loss of each row, metrics with intervals, clusters."""
    return {
        "answers": list(evaluation.predictions),
        "nats": evaluation.nats.tolist(),
        "bytes": evaluation.n_bytes.tolist(),
        "metrics": {name: [value.value, value.low, value.high] for name, value in evaluation.metrics.items()},
        "by_cluster": [
            [s.cluster, s.rows, s.exact_match.value, s.exact_match.low, s.exact_match.high]
            for s in evaluation.by_cluster
        ],
        "rows_left_out": evaluation.rows_left_out,
    }


def differences(before: Evaluation, after: Evaluation) -> list[dict[str, Any]]:
    """Return the paired differences of two evaluations, whole and by cluster."""
    return [found.to_dict() for found in (*compare(before, after), *compare_by_cluster(before, after))]


def comparison(
    answers: Sequence[dict[str, Any]],
    picks: Mapping[tuple[str, int, int, str], Sequence[str]],
    *,
    strategies: Sequence[str],
    budgets: Sequence[int],
    draws: int,
    permutations: int,
    seed: int,
) -> dict[str, Any]:
    """Return what a comparison says of answers and picks, JSON-ready.

    answers: rows with language, seed, budget, strategy, id, item, exact, intent and loss. picks: (language, seed,
    budget, strategy) -> ids.
    """
    config = CompareConfig(
        adapt=AdaptConfig(run=RunConfig(seed=seed)),
        grid=GridConfig(strategies=tuple(strategies), budgets=tuple(budgets)),
    )
    cells: list[Any] = [
        SimpleNamespace(language=language, seed=of, budget=budget, strategy=strategy)
        for language, of, budget, strategy in picks
    ]
    rows = [[{"id": id} for id in ids] for ids in picks.values()]
    return {
        "comparisons": [found.to_dict() for found in paired_comparisons(config, answers, draws=permutations)],
        "curves": {
            scope: [
                [strategy, budget, point.value, point.low, point.high] for (strategy, budget), point in points.items()
            ]
            for scope, points in budget_curves(config, answers, draws=draws).items()
        },
        "overlaps": [[one, two, value] for (one, two), value in pick_overlaps(cells, rows).items()],
        "gaps": _gaps(strategies, cells),
    }


def examples(rows: Sequence[Row]) -> list[Example]:
    """Return rows as compass takes them."""
    return [Example(**row) for row in rows]
