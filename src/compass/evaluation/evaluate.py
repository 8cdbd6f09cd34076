"""Measure a model on a test set, and two models against each other on the same rows."""

from __future__ import annotations

import logging
from collections.abc import Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from compass.config import EvaluationConfig
from compass.data.example import Example
from compass.errors import DataError, ModelError
from compass.evaluation.metrics import PROPORTIONS, FloatArray64, RowScores, ratios, response_shape, score_rows
from compass.records import ClusterScore, Difference, Interval, Metrics
from compass.stats import BOOTSTRAP_DRAWS, paired_difference, ratio_interval, wilson

logger = logging.getLogger(__name__)

IntArray = npt.NDArray[np.int64]


class TextModel(Protocol):
    """What evaluation needs of a model; it shows its own progress."""

    def generate(self, examples: Sequence[Example], *, max_new_tokens: int, batch_size: int) -> list[str]:
        """Return one greedy answer for each example, in their order."""
        ...

    def loss(self, examples: Sequence[Example]) -> tuple[FloatArray64, FloatArray64]:
        """Return nats (n,) and UTF-8 bytes (n,) of each example's response given its prompt."""
        ...


@dataclass(frozen=True, eq=False)
class Evaluation:
    """How one model did on one test set, row by row and in sum."""

    name: str
    language: str
    examples: tuple[Example, ...]
    """The n rows that were measured, in their order."""
    predictions: tuple[str, ...]
    """(n,) the model's answers."""
    scores: RowScores
    nats: FloatArray64
    """(n,) loss of each response in nats."""
    n_bytes: FloatArray64
    """(n,) UTF-8 bytes of each response."""
    clusters: IntArray | None
    """(n,) cluster of each row, where clusters were handed in."""
    metrics: Metrics
    """Value and interval by name, those that suit the responses first; what nothing in the test bears on is left out.
    """
    by_cluster: tuple[ClusterScore, ...]
    rows_left_out: int
    """Rows of the test set beyond `max_test_rows`."""
    seen_labels: tuple[str, ...]
    """Labels of the training data, sorted, behind `seen_label_share`."""
    bootstrap_draws: int
    confidence: float
    seed: int

    @property
    def responses(self) -> str:
        """What the expected responses are: `function calls`, `short answers` or `free text`."""
        return response_shape([example.response for example in self.examples])

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form of the summary; the rows are kept apart (see `files`)."""
        return {
            "name": self.name,
            "language": self.language,
            "responses": self.responses,
            "rows": len(self.examples),
            "rows_left_out": self.rows_left_out,
            "confidence": self.confidence,
            "bootstrap_draws": self.bootstrap_draws,
            "seed": self.seed,
            "seen_labels": list(self.seen_labels),
            "metrics": {name: value.to_dict() for name, value in self.metrics.items()},
            "by_cluster": [score.to_dict() for score in self.by_cluster],
        }


def evaluate(
    model: TextModel,
    examples: Sequence[Example],
    *,
    name: str,
    language: str,
    config: EvaluationConfig,
    seed: int,
    clusters: Sequence[int] | IntArray | None = None,
    seen_labels: Collection[str] = (),
    draws: int = BOOTSTRAP_DRAWS,
) -> Evaluation:
    """Let `model` answer a test set and score the answers.

    At most `config.max_test_rows` rows are measured; the seed alone chooses them, so every model meets the same ones.
    clusters: (n,) semantic cluster of each example, for the scores by cluster. seen_labels: labels of the data at
    hand; a small model that has learnt "this language means these labels" shows it in `seen_label_share`. draws: of the
    bootstrap behind each interval.
    Raises DataError if there is no row or one has no response, ModelError if the model's answers do not fit the rows
    or a loss is not finite, ValueError if clusters do not fit the rows.
    """
    if clusters is not None and len(clusters) != len(examples):
        raise ValueError(f"clusters must name each of the {len(examples)} rows; got {len(clusters)}")
    _check_examples(examples, name)
    rows = sample_rows(len(examples), config.max_test_rows, seed)
    chosen = tuple(examples[i] for i in rows)
    logger.info("evaluating %s: %d of %d rows", name, len(chosen), len(examples))
    predictions = model.generate(
        chosen, max_new_tokens=config.max_new_tokens, batch_size=config.per_device_eval_batch_size
    )
    nats, n_bytes = model.loss(chosen)
    return assemble(
        chosen,
        predictions,
        np.asarray(nats, np.float64),
        np.asarray(n_bytes, np.float64),
        name=name,
        language=language,
        config=config,
        seed=seed,
        clusters=None if clusters is None else np.asarray(clusters, np.int64)[rows],
        seen_labels=seen_labels,
        rows_left_out=len(examples) - len(chosen),
        draws=draws,
    )


def assemble(
    examples: Sequence[Example],
    predictions: Sequence[str],
    nats: FloatArray64,
    n_bytes: FloatArray64,
    *,
    name: str,
    language: str,
    config: EvaluationConfig,
    seed: int,
    clusters: IntArray | None = None,
    seen_labels: Collection[str] = (),
    rows_left_out: int = 0,
    draws: int = BOOTSTRAP_DRAWS,
) -> Evaluation:
    """Score answers that are already there; arguments as in `evaluate`, n_bytes (n,) beside nats (n,).

    Raises ModelError if the lengths differ or a loss is not finite.
    """
    n = len(examples)
    if not len(predictions) == len(nats) == len(n_bytes) == n:
        raise ModelError(
            f"test set {name!r} has {n} rows, but the model gave {len(predictions)} answers, {len(nats)} losses and "
            f"{len(n_bytes)} byte counts; a model must give one of each for every row"
        )
    broken = np.flatnonzero(~np.isfinite(nats))
    if len(broken):
        raise ModelError(
            f"test set {name!r}: the loss of row {examples[int(broken[0])].id!r} is {nats[broken[0]]} "
            f"({len(broken)} such rows); a model must give finite losses. Train with a lower learning_rate, "
            "or load it with dtype: float32"
        )
    scores = score_rows([example.response for example in examples], predictions, seen_labels)
    metrics = intervals(
        ratios(scores, nats, n_bytes),
        units=items(examples),
        draws=draws,
        confidence=config.confidence,
        seed=seed,
        without=() if seen_labels else ("seen_label_share",),
    )
    return Evaluation(
        name=name,
        language=language,
        examples=tuple(examples),
        predictions=tuple(predictions),
        scores=scores,
        nats=nats,
        n_bytes=n_bytes,
        clusters=clusters,
        metrics=metrics,
        by_cluster=() if clusters is None else _by_cluster(scores, clusters, config.confidence),
        rows_left_out=rows_left_out,
        seen_labels=tuple(sorted(seen_labels)),
        bootstrap_draws=draws,
        confidence=config.confidence,
        seed=seed,
    )


def intervals(
    metrics: Mapping[str, tuple[FloatArray64, FloatArray64]],
    *,
    units: Sequence[Hashable] | None,
    draws: int,
    confidence: float,
    seed: int,
    without: Collection[str] = (),
) -> dict[str, Interval]:
    """Return value and interval of each metric that some row bears on; metrics as from `ratios`, units from `items`."""
    return {
        name: ratio_interval(
            top, bottom, draws=draws, confidence=confidence, seed=seed, units=units, proportion=name in PROPORTIONS
        )
        for name, (top, bottom) in metrics.items()
        if bottom.any() and name not in without
    }


def compare(base: Evaluation, adapter: Evaluation, *, units: Sequence[Hashable] | None = None) -> list[Difference]:
    """Return adapter − base for every metric that both have, each with a paired bootstrap interval.

    units: (n,) labels of rows that belong together (one item in several languages): these are resampled whole. None:
    rows of one item do, see `items`.
    Draws, level and seed are the base evaluation's. Raises DataError if the two were not measured on the same rows.
    """
    check_same_rows(base, adapter)
    ours = ratios(base.scores, base.nats, base.n_bytes)
    theirs = ratios(adapter.scores, adapter.nats, adapter.n_bytes)
    differences = []
    for metric in base.metrics:
        if metric not in adapter.metrics:
            continue
        interval = paired_difference(
            ours[metric],
            theirs[metric],
            draws=base.bootstrap_draws,
            confidence=base.confidence,
            seed=base.seed,
            units=items(base.examples) if units is None else units,
            proportion=metric in PROPORTIONS,
        )
        differences.append(
            Difference(
                name=base.name,
                metric=metric,
                base=base.metrics[metric].value,
                adapter=adapter.metrics[metric].value,
                interval=interval,
            )
        )
    return differences


def compare_by_cluster(base: Evaluation, adapter: Evaluation) -> list[Difference]:
    """Return adapter − base in exact match for each cluster, by cluster number, with paired bootstrap intervals.

    Both evaluations need clusters. An interval of a cluster of a few rows is rough; `Evaluation.by_cluster` has the
    number of rows. Raises DataError if the rows differ or clusters are missing.
    """
    check_same_rows(base, adapter)
    if base.clusters is None:
        raise DataError(f"the evaluation of {base.name!r} has no clusters; hand them to evaluate(clusters=...)")
    differences = []
    for cluster in np.unique(base.clusters):
        rows = base.clusters == cluster
        ones = np.ones(int(rows.sum()))
        before = base.scores.exact[rows].astype(np.float64)
        after = adapter.scores.exact[rows].astype(np.float64)
        interval = paired_difference(
            (before, ones), (after, ones), draws=base.bootstrap_draws, confidence=base.confidence, seed=base.seed,
            units=items([row for row, inside in zip(base.examples, rows, strict=True) if inside]), proportion=True,
        )  # fmt: skip
        differences.append(
            Difference(
                name=base.name,
                metric="exact_match",
                base=float(before.mean()),
                adapter=float(after.mean()),
                interval=interval,
                cluster=int(cluster),
            )
        )
    return differences


def items(examples: Sequence[Example]) -> list[str] | None:
    """Return the item of each row, its `parallel_id` or else its prompt; None where no item repeats."""
    labels = [row.parallel_id or row.prompt for row in examples]
    return labels if len(set(labels)) < len(labels) else None


def sample_rows(n: int, limit: int, seed: int) -> list[int]:
    """Return at most `limit` of the row numbers 0..n−1, ascending, chosen by the seed alone."""
    if n <= limit:
        return list(range(n))
    return sorted(int(i) for i in np.random.default_rng(seed).choice(n, size=limit, replace=False))


def _by_cluster(scores: RowScores, clusters: IntArray, confidence: float) -> tuple[ClusterScore, ...]:
    out = []
    for cluster in np.unique(clusters):
        exact = scores.exact[clusters == cluster]
        successes, rows = int(exact.sum()), len(exact)
        low, high = wilson(successes, rows, confidence)
        out.append(ClusterScore(int(cluster), rows, Interval(successes / rows, low, high)))
    return tuple(out)


def _check_examples(examples: Sequence[Example], name: str) -> None:
    if not examples:
        raise DataError(f"test set {name!r} has no rows; a test needs at least one row with a prompt and a response")
    empty = [example.id for example in examples if not example.response.strip()]
    if empty:
        raise DataError(
            f"test set {name!r}: {len(empty)} of {len(examples)} rows have no response, the first is {empty[0]!r}; "
            "a test row needs the expected response. Add it or drop the row"
        )


def check_same_rows(base: Evaluation, adapter: Evaluation) -> None:
    """Raise DataError if two evaluations are not of the same rows in the same order."""
    ours = [(example.id, example.prompt, example.response) for example in base.examples]
    theirs = [(example.id, example.prompt, example.response) for example in adapter.examples]
    if ours != theirs:
        raise DataError(
            f"{base.name!r} and {adapter.name!r} were measured on different rows ({len(ours)} and {len(theirs)}); "
            "a paired comparison needs the same rows in the same order. Evaluate both with the same file and seed"
        )
