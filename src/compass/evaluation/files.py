"""Evaluations on disk: `<name>.json` with the summary, `<name>.predictions.jsonl` with the rows."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from compass.data.example import Example
from compass.errors import DataError
from compass.evaluation.evaluate import Evaluation, intervals, items
from compass.evaluation.lm_eval.bridge import TaskMetric, TaskResult, TaskSample
from compass.evaluation.metrics import ratios, score_rows
from compass.records import ClusterScore, Difference, Interval
from compass.runs.files import write_text
from compass.stats import BOOTSTRAP_DRAWS

PREDICTIONS = ".predictions.jsonl"
"""End of the name of a file with an evaluation's rows."""


def write_evaluation(evaluation: Evaluation, folder: Path) -> Path:
    """Write summary and rows into `folder`; return the path of the summary.

    The rows go first, so that a summary is only ever found beside its rows. Raises DataError if the evaluation's name
    cannot be a file name.
    """
    name = evaluation.name
    if not name or name != Path(name).name or name in (".", ".."):
        raise DataError(f"the test set's name {name!r} must serve as a file name; give it one without slashes")
    folder.mkdir(parents=True, exist_ok=True)
    _write_lines(folder / f"{name}{PREDICTIONS}", _rows(evaluation))
    path = folder / f"{name}.json"
    write_text(path, json.dumps(evaluation.to_dict(), ensure_ascii=False, indent=2, allow_nan=False) + "\n")
    return path


def read_evaluation(path: Path) -> Evaluation:
    """Read back what `write_evaluation` wrote, given the summary's path.

    Row scores are taken anew from the answers; values and intervals come from the file. Metrics that the file lacks,
    as one of version 0.1 does for free text, are taken from the answers too. Raises DataError if a file is missing or
    is not one that `write_evaluation` wrote.
    """
    rows_path = path.with_name(path.name.removesuffix(".json") + PREDICTIONS)
    summary = _read_json(path)
    rows = _read_lines(rows_path)
    try:
        if len(rows) != int(summary["rows"]):
            raise ValueError(f"{rows_path.name} has {len(rows)} rows, not {summary['rows']}")
        examples = tuple(Example.from_dict(row) for row in rows)
        predictions = tuple(str(row["prediction"]) for row in rows)
        clusters = [row.get("cluster") for row in rows]
        seen_labels = tuple(str(label) for label in summary["seen_labels"])
        scores = score_rows([example.response for example in examples], predictions, seen_labels)
        nats = np.array([row["nats"] for row in rows], np.float64)
        n_bytes = np.array([row["bytes"] for row in rows], np.float64)
        draws, confidence, seed = (
            int(summary["bootstrap_draws"]), float(summary["confidence"]), int(summary["seed"]),
        )  # fmt: skip
        known = {str(name): Interval.from_dict(value) for name, value in summary["metrics"].items()}
        found = ratios(scores, nats, n_bytes)
        without = {*known, *(() if seen_labels else ("seen_label_share",))}
        missing = intervals(
            found, units=items(examples), draws=draws, confidence=confidence, seed=seed, without=without
        )
        every = {**known, **missing}
        return Evaluation(
            name=str(summary["name"]),
            language=str(summary["language"]),
            examples=examples,
            predictions=predictions,
            scores=scores,
            nats=nats,
            n_bytes=n_bytes,
            clusters=None if None in clusters else np.array(clusters, np.int64),
            metrics={name: every[name] for name in dict.fromkeys((*found, *known)) if name in every},
            by_cluster=tuple(ClusterScore.from_dict(score) for score in summary["by_cluster"]),
            rows_left_out=int(summary["rows_left_out"]),
            seen_labels=seen_labels,
            bootstrap_draws=draws,
            confidence=confidence,
            seed=seed,
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(
            f"{path} and {rows_path.name} are not an evaluation that compass wrote ({type(error).__name__}: {error}); "
            "evaluate again"
        ) from error


def lacks_metrics(path: Path, evaluation: Evaluation) -> bool:
    """Say whether a summary was written before metrics that `evaluation`, read from it, has."""
    return not evaluation.metrics.keys() <= _read_json(path)["metrics"].keys()


def draws_behind(folder: Path) -> int:
    """Return the bootstrap draws behind the intervals of a folder's evaluations; today's where none can be read."""
    for summary in sorted(folder.glob("*.json")):
        with contextlib.suppress(DataError, KeyError, TypeError, ValueError):
            return int(_read_json(summary)["bootstrap_draws"])
    return BOOTSTRAP_DRAWS


def drop_others(folder: Path, names: Collection[str]) -> None:
    """Remove the evaluations of a folder that are not of these names."""
    for summary in folder.glob("*.json"):
        name = summary.name.removesuffix(".json")
        if name not in names:
            summary.unlink()
            (folder / f"{name}{PREDICTIONS}").unlink(missing_ok=True)


def write_differences(differences: Sequence[Difference], path: Path) -> None:
    """Write paired differences as a JSON list; a difference that cannot be told (nan) is left out."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [difference.to_dict() for difference in differences if math.isfinite(difference.interval.low)]
    write_text(path, json.dumps(rows, ensure_ascii=False, indent=2, allow_nan=False) + "\n")


def read_differences(path: Path) -> list[Difference]:
    """Read back what `write_differences` wrote. Raises DataError if it is missing or not such a file."""
    rows = _read_json(path)
    try:
        return [Difference.from_dict(row) for row in rows]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(f"{path} is not a list of differences that compass wrote ({error}); evaluate again") from error


def write_task(result: TaskResult, folder: Path) -> Path:
    """Write the result of an lm-eval task with its samples' scores as `TASK.json`; return the path."""
    folder.mkdir(parents=True, exist_ok=True)
    # A task that was given as a file has that path for a name.
    path = folder / f"{Path(result.task).name}.json"
    write_text(path, json.dumps(result.to_dict(), ensure_ascii=False, indent=1, allow_nan=False) + "\n")
    return path


def read_task(path: Path) -> TaskResult:
    """Read back what `write_task` wrote. Raises DataError if it is missing or not such a file."""
    found = _read_json(path)
    try:
        metrics = tuple(TaskMetric(**_with_nan(metric)) for metric in found.pop("metrics"))
        samples = tuple(
            TaskSample(**sample | {"scores": _with_nan(sample["scores"])}) for sample in found.pop("samples")
        )
        return TaskResult(metrics=metrics, samples=samples, **found)
    except (AttributeError, KeyError, TypeError) as error:
        raise DataError(f"{path} is not a task's result that compass wrote ({error}); evaluate again") from error


def _with_nan(figures: dict[str, Any]) -> dict[str, Any]:
    return {name: math.nan if value is None else value for name, value in figures.items()}


def _rows(evaluation: Evaluation) -> Iterable[dict[str, Any]]:
    for i, (example, prediction) in enumerate(zip(evaluation.examples, evaluation.predictions, strict=True)):
        row = example.to_dict() | {
            "prediction": prediction,
            "exact": bool(evaluation.scores.exact[i]),
            "nats": float(evaluation.nats[i]),
            "bytes": float(evaluation.n_bytes[i]),
        }
        if evaluation.scores.is_text[i]:
            row["chrf"] = float(evaluation.scores.chrf[i])
        if evaluation.clusters is not None:
            row["cluster"] = int(evaluation.clusters[i])
        yield row


def _write_lines(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    write_text(path, "".join(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in rows))


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path} cannot be read as JSON ({error}); evaluate again to write it") from error


def _read_lines(path: Path) -> list[dict[str, Any]]:
    try:
        # Not splitlines: it also splits at U+2028 and others, which JSON strings may hold as they are.
        return [json.loads(line) for line in path.read_text("utf-8").split("\n") if line]
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path} cannot be read as JSONL ({error}); evaluate again to write it") from error
