"""lm-eval's tasks on a model: their metrics with standard errors, and the score of every sample.

The model comes as lm-eval's own class (`training.harness_model`). Tasks are lm-eval's names, groups and patterns, and
those of the YAML files in `include_path` (see `local_tasks`).
"""

from __future__ import annotations

import difflib
import importlib.util
import logging
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from compass.errors import ConfigError, DataError, MissingExtraError
from compass.records import Difference
from compass.stats import paired_difference

logger = logging.getLogger(__name__)

PART_FIELD = "cultural_sensitivity_label"
"""Column of Global-MMLU by which its culturally sensitive (CS) and agnostic (CA) rows are told apart."""
PARTS = ("CS", "CA")
SHORTEST_FIELD = 12
"""Characters from which a field of a few-shot row is compared with usage prompts [ours]: subjects are shorter."""


@dataclass(frozen=True, slots=True)
class TaskMetric:
    """One metric of a task. stderr is nan where lm-eval gives none."""

    name: str
    filter: str
    value: float
    stderr: float
    part: str = ""
    """Part of the task's rows, `CS` or `CA`; empty: all of them."""
    rows: int = 0


@dataclass(frozen=True, slots=True)
class TaskSample:
    """The scores of one row under one filter; its text is not kept."""

    doc_id: int
    """Number of the row in the task."""
    id: str
    """The row's own id, where it has one."""
    doc_hash: str
    filter: str
    scores: Mapping[str, float]
    part: str = ""


@dataclass(frozen=True)
class TaskResult:
    """What one task, or a group of tasks, gave on one model. A group's samples are those of its tasks in turn."""

    task: str
    version: str
    num_fewshot: int
    metrics: tuple[TaskMetric, ...]
    samples: tuple[TaskSample, ...] = ()
    lm_eval_version: str = ""

    def metric(self, name: str, *, filter: str = "none", part: str = "") -> TaskMetric:
        """Return one metric. Raises KeyError if there is none of that name, filter and part."""
        for metric in self.metrics:
            if (metric.name, metric.filter, metric.part) == (name, filter, part):
                return metric
        raise KeyError(f"{self.task} has no metric {name},{filter} {part}".rstrip())

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dict; a figure that is no finite number is null."""
        row = asdict(self)
        for figures in (*row["metrics"], *(sample["scores"] for sample in row["samples"])):
            for name, value in figures.items():
                if isinstance(value, float) and not math.isfinite(value):
                    figures[name] = None
        return row


def run_tasks(
    model: Any,
    tasks: Sequence[str],
    *,
    num_fewshot: int | None = 0,
    limit: int | None = None,
    seed: int = 0,
    include_path: Path | Sequence[Path] | None = None,
    apply_chat_template: bool = False,
    bootstrap_draws: int = 1000,
    usage: Collection[str] = (),
) -> list[TaskResult]:
    """Run lm-eval's tasks; return one result for each task, then one for each group of them.

    model: lm-eval's LM, say from `training.harness_model`. num_fewshot: None leaves it to the task; a task whose file
    says 0 keeps 0. limit: rows of each task, at most; the first ones. usage: prompts of the usage sample; a task whose
    few-shot rows hold one of them is refused, for the selection has seen these. bootstrap_draws: behind the standard
    errors of metrics that have no formula.
    Raises MissingExtraError without lm-eval, ConfigError for an unknown task, DataError for data that can't be had or
    few-shot rows out of the usage sample.
    """
    if importlib.util.find_spec("lm_eval") is None:
        raise MissingExtraError("lm_eval", "lm-eval", "An lm-eval task")
    from datasets.exceptions import DatasetsError
    from lm_eval.evaluator import simple_evaluate

    folders = [include_path] if isinstance(include_path, Path) else list(include_path or ())
    for folder in folders:
        if not folder.is_dir():
            raise DataError(f"{folder} is not a folder of tasks. Make one with make_tasks, or leave include_path out.")
    manager = _manager(tasks, folders)
    _check_names(tasks, manager)
    try:
        if usage and num_fewshot != 0:
            _check_fewshot(manager.load(list(tasks))["tasks"], num_fewshot, usage)
        found = simple_evaluate(
            model=model,
            tasks=list(tasks),
            num_fewshot=num_fewshot,
            limit=limit,
            bootstrap_iters=bootstrap_draws,
            apply_chat_template=apply_chat_template,
            task_manager=manager,
            random_seed=seed,
            numpy_random_seed=seed,
            torch_random_seed=seed,
            fewshot_random_seed=seed,
        )
    except (OSError, DatasetsError, RuntimeError) as error:
        # `datasets` has no kind of its own for this one.
        if isinstance(error, RuntimeError) and "Dataset scripts are no longer supported" not in str(error):
            raise
        raise DataError(
            f"The data of {', '.join(tasks)} can't be read ({type(error).__name__}: {error}). Tasks of lm-eval come "
            "from the hub; local files become tasks with make_tasks."
        ) from error
    if found is None:  # not the first process under `accelerate launch`
        return []
    samples = found.get("samples") or {}
    members = found.get("group_subtasks") or {}
    return [
        _result(name, found, _samples(name, samples, members))
        for name in sorted(found["results"], key=lambda name: (name not in samples, name))
    ]


def compare_tasks(
    base: TaskResult, adapter: TaskResult, *, draws: int, confidence: float, seed: int
) -> list[Difference]:
    """Return adapter − base for every score that samples have, with paired bootstrap intervals over rows.

    A metric that is no mean over rows (a corpus score) is left out. Culturally sensitive and agnostic rows are
    compared apart besides, as `TASK CS` and `TASK CA`. Raises DataError if the two were measured on different rows.
    """
    ours = [(sample.doc_id, sample.doc_hash, sample.filter) for sample in base.samples]
    if ours != [(sample.doc_id, sample.doc_hash, sample.filter) for sample in adapter.samples]:
        raise DataError(
            f"{base.task}: base and adapter were measured on different rows ({len(base.samples)} and "
            f"{len(adapter.samples)}). Run both with the same tasks, limit and seed."
        )
    differences = []
    for metric in base.metrics:
        pairs = [
            (before.scores[metric.name], after.scores[metric.name])
            for before, after in zip(base.samples, adapter.samples, strict=True)
            if before.filter == metric.filter
            and metric.part in ("", before.part)
            and metric.name in before.scores
            and metric.name in after.scores
        ]
        if not pairs or not math.isclose(np.mean([before for before, _ in pairs]), metric.value, abs_tol=1e-9):
            continue
        before, after = np.asarray(pairs, np.float64).T
        ones = np.ones(len(pairs))
        interval = paired_difference((before, ones), (after, ones), draws=draws, confidence=confidence, seed=seed)
        name = metric.name if metric.filter == "none" else f"{metric.name} ({metric.filter})"
        differences.append(
            Difference(
                f"{base.task} {metric.part}".rstrip(), name, float(before.mean()), float(after.mean()), interval
            )
        )  # fmt: skip
    return differences


def usage_rows(docs: Iterable[Mapping[str, Any]], usage: Collection[str]) -> list[int]:
    """Return the numbers of the rows that stand in the usage sample: one of their texts begins as a usage prompt does.

    A question comes with its choices in one place and without them in another, so the whole prompt is not compared.
    """
    prompts = [text for prompt in usage if len(text := " ".join(prompt.split())) >= SHORTEST_FIELD]
    found = []
    for number, doc in enumerate(docs):
        fields = [" ".join(value.split()) for value in doc.values() if isinstance(value, str)]
        if any(
            len(text) >= SHORTEST_FIELD
            and any(prompt.startswith(text) or text.startswith(prompt) for prompt in prompts)
            for text in fields
        ):
            found.append(number)
    return found


def _manager(tasks: Sequence[str], folders: Sequence[Path]) -> Any:
    """Return lm-eval's index of tasks. Its own 14,000 files take seconds, so they are left out if they can be."""
    from lm_eval.tasks import TaskManager

    if not folders:
        return TaskManager()
    paths = [str(folder) for folder in folders]
    local = TaskManager(include_path=paths, include_defaults=False)
    if tasks and all(local.match_tasks([name]) for name in tasks):
        return local
    return TaskManager(include_path=paths)


def _check_names(tasks: Sequence[str], manager: Any) -> None:
    if not tasks:
        raise ConfigError("tasks: none was named. Name tasks of lm-eval, or of the folder include_path.")
    problems = []
    for name in tasks:
        if not manager.match_tasks([name]) and not Path(name).is_file():
            close = difflib.get_close_matches(name, manager.all_tasks, n=3)
            hint = f"did you mean {', '.join(close)}?" if close else "`lm_eval ls tasks` lists all"
            problems.append(f"tasks: lm-eval has no task {name!r}; {hint}")
    if problems:
        raise ConfigError(problems)


def _check_fewshot(tasks: Mapping[str, Any], num_fewshot: int | None, usage: Collection[str]) -> None:
    for name, task in tasks.items():
        own = task.get_config("num_fewshot")
        if own == 0 or not (own if num_fewshot is None else num_fewshot):
            continue
        rows = usage_rows(task.fewshot_docs(), usage)
        if rows:
            raise DataError(
                f"{name}: {len(rows)} of its few-shot rows are in the usage sample, the first is number {rows[0]}. "
                "Rows that chose the training data can't be examples in the test too: set num_fewshot to 0, or split "
                "them with split_usage and make a task of the rest."
            )


def _samples(
    name: str, samples: Mapping[str, Sequence[Mapping[str, Any]]], members: Mapping[str, Sequence[str]]
) -> list[Mapping[str, Any]]:
    if name in samples:
        return list(samples[name])
    return [sample for member in members.get(name, ()) for sample in _samples(member, samples, members)]


def _result(name: str, found: Mapping[str, Any], samples: Sequence[Mapping[str, Any]]) -> TaskResult:
    rows = tuple(_sample(sample) for sample in samples)
    figures = found["results"][name]
    metrics = []
    for key, value in figures.items():
        metric, comma, filter_name = key.partition(",")
        if not comma or metric.endswith("_stderr") or not _is_number(value):
            continue
        stderr = figures.get(f"{metric}_stderr,{filter_name}")
        n = sum(row.filter == filter_name and metric in row.scores for row in rows)
        metrics.append(
            TaskMetric(metric, filter_name, float(value), float(stderr) if _is_number(stderr) else math.nan, "", n)
        )
    metrics += [part for metric in metrics for part in _parts(metric, rows)]
    n_shot = found.get("n-shot", {}).get(name, 0)
    return TaskResult(
        task=name,
        version=str(found.get("versions", {}).get(name, "")),
        num_fewshot=int(n_shot) if _is_number(n_shot) else 0,
        metrics=tuple(metrics),
        samples=rows,
        lm_eval_version=version("lm_eval"),
    )


def _parts(metric: TaskMetric, rows: Sequence[TaskSample]) -> list[TaskMetric]:
    """Return the metric over the culturally sensitive and over the agnostic rows, where rows say which they are."""
    parts = []
    for part in PARTS:
        values = [
            row.scores[metric.name]
            for row in rows
            if row.part == part and row.filter == metric.filter and metric.name in row.scores
        ]
        if values:
            n = len(values)
            # lm-eval's standard error of a mean: sample deviation over the root of n.
            stderr = float(np.std(values, ddof=1) / math.sqrt(n)) if n > 1 else math.nan
            parts.append(TaskMetric(metric.name, metric.filter, float(np.mean(values)), stderr, part, n))
    return parts


def _sample(sample: Mapping[str, Any]) -> TaskSample:
    doc = sample["doc"] if isinstance(sample["doc"], Mapping) else {}
    part = str(doc.get(PART_FIELD) or "")
    return TaskSample(
        doc_id=int(sample["doc_id"]),
        id=str(doc.get("id", doc.get("sample_id", ""))),
        doc_hash=str(sample["doc_hash"]),
        filter=str(sample["filter"]),
        scores={name: float(sample[name]) for name in sample["metrics"] if _is_number(sample.get(name))},
        part=part if part in PARTS else "",
    )


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | np.number | np.bool_)
