"""A run folder, whole or partial, read into frozen records. Nothing is computed here."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from compass.data.label_list import LabelList
from compass.errors import RunError
from compass.found_budget import FoundBudget
from compass.records import ClassScore, Cluster, ClusterScore, Difference, Interval, Metrics, Picked
from compass.runs import layout
from compass.runs.files import read_json, read_jsonl, read_options

Row = TypeVar("Row")
Record = TypeVar("Record")


@dataclass(frozen=True, slots=True)
class Point:
    """One row on the 2-D map; `set` is usage, current, pool or picked."""

    x: float
    y: float
    set: str
    language: str
    cluster: int
    text: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What one model said to one test row."""

    id: str
    language: str
    prompt: str
    expected: str
    prediction: str
    exact: bool
    label: str = ""
    chrf: float | None = None
    """Of an answer in free text."""


@dataclass(frozen=True, slots=True)
class TestScores:
    """One model on one test set."""

    name: str
    language: str
    rows: int
    rows_left_out: int
    metrics: Metrics
    by_cluster: tuple[ClusterScore, ...]
    seen_labels: tuple[str, ...]
    answers: tuple[Answer, ...]
    responses: str = ""
    """What the expected responses are: function calls, short answers or free text; empty in folders of version 0.1."""


@dataclass(frozen=True, slots=True)
class Cleaning:
    """What cleaning kept of one set, and what it dropped for which reason."""

    name: str
    kept: int
    dropped: Mapping[str, int]
    redacted: int = 0
    """Rows kept with private data replaced."""


@dataclass(frozen=True, slots=True)
class Fertility:
    """Tokens that the base model's tokenizer spends on one language; `relative_to_english` 1 is as many as English."""

    language: str
    tokens_per_word: float
    tokens_per_byte: float
    relative_to_english: float | None
    """None where words do not compare: scripts without spaces, or no English text."""


@dataclass(frozen=True, slots=True)
class Stage:
    """What one stage of the run cost."""

    stage: str
    seconds: float
    peak_memory_bytes: float
    skipped: bool


@dataclass(frozen=True)
class Run:
    """Everything that a report shows. What the folder lacks is empty here."""

    folder: Path
    options: Mapping[str, Any] = field(default_factory=dict)
    lock: Mapping[str, Any] = field(default_factory=dict)
    cleaning: tuple[Cleaning, ...] = ()
    lists_dropped: bool = False
    """Whether each dropped row is named in a file: version 0.1 kept counts alone."""
    fertility: tuple[Fertility, ...] = ()
    clusters: tuple[Cluster, ...] = ()
    too_long: Mapping[str, int] = field(default_factory=dict)
    """Rows that are longer than `max_length` and were left out, by set."""
    classes: tuple[ClassScore, ...] = ()
    """Empty where the budget was not split over classes."""
    diagnostics: Mapping[str, Any] = field(default_factory=dict)
    picks: tuple[Picked, ...] = ()
    how_many: FoundBudget | None = None
    """Where the budget comes from; None where it was given."""
    selection_notes: Mapping[str, int] = field(default_factory=dict)
    """What the selection passed over, took all the same or did without: what happened -> rows."""
    points: tuple[Point, ...] = ()
    training_log: tuple[Mapping[str, float], ...] = ()
    training_result: Mapping[str, Any] = field(default_factory=dict)
    base: Mapping[str, TestScores] = field(default_factory=dict)
    adapter: Mapping[str, TestScores] = field(default_factory=dict)
    differences: tuple[Difference, ...] = ()
    labels: LabelList | None = None
    """The prompts that a person should answer first; None where no list was made."""
    stages: tuple[Stage, ...] = ()


def load_run(folder: Path) -> Run:
    """Read a run folder; stages that have not run are left empty.

    Raises RunError if there is no run in `folder` or if a file in it cannot be read (names the file).
    """
    if not (folder / layout.CONFIG).is_file() and not (folder / layout.SELECTION).is_dir():
        raise RunError(
            f"{folder} is not a run folder: it has neither compass.yaml nor selection/. "
            "Give the output_dir of a `compass adapt` or `compass select` run."
        )
    lock = _json(folder / layout.LOCK, {})
    # An adapter in this folder was trained on other picks than these: its results are not theirs.
    trained = not str(lock.get("command", "")).startswith("compass select")
    measured = folder if trained else folder / "none"

    def parquet(path: str, build: Callable[[dict[str, Any]], Record]) -> tuple[Record, ...]:
        return _build(folder / path, _parquet(folder / path), build)

    def listed(root: Path, path: str, build: Callable[[dict[str, Any]], Record]) -> tuple[Record, ...]:
        return _build(root / path, _json(root / path, []), build)

    return Run(
        folder=folder,
        options=_options(folder / layout.CONFIG),
        lock=lock,
        lists_dropped=(folder / layout.DROPPED).is_file(),
        cleaning=_build(folder / layout.CLEANING, _json(folder / layout.CLEANING, {}).items(), _cleaning),
        fertility=listed(folder, layout.FERTILITY, _fertility),
        clusters=_clusters(folder),
        too_long=_too_long(folder / layout.LENGTHS),
        classes=parquet(layout.CLASSES, ClassScore.from_dict),
        diagnostics=_json(folder / layout.DIAGNOSTICS, {}),
        picks=_picks(folder),
        how_many=_one(folder / layout.HOW_MANY, FoundBudget.from_dict),
        selection_notes=_notes(folder / layout.SELECTION_SUMMARY),
        points=parquet(layout.MAP, _point),
        training_log=tuple(_jsonl(measured / layout.TRAINING_LOG)),
        training_result=_json(measured / layout.TRAINING_RESULT, {}),
        base=_tests(measured / layout.BASE_EVALUATION),
        adapter=_tests(measured / layout.ADAPTER_EVALUATION),
        differences=listed(measured, layout.DIFFERENCES, Difference.from_dict),
        labels=_one(folder / layout.LABEL_LIST, LabelList.from_dict),
        stages=_last_of_each(_build(folder / layout.STAGE_LOG, _jsonl(folder / layout.STAGE_LOG), _stage)),
    )


def load_scores(folder: Path, language: str) -> Run:
    """Read what a run measured and nothing else, without its answers; raises RunError as `load_run` does."""
    differences = folder / layout.DIFFERENCES
    return Run(
        folder=folder,
        options={"language": language},
        base=_tests(folder / layout.BASE_EVALUATION, answers=False),
        adapter=_tests(folder / layout.ADAPTER_EVALUATION, answers=False),
        differences=_build(differences, _json(differences, []), Difference.from_dict),
    )


def load_map(folder: Path) -> tuple[tuple[Point, ...], tuple[Cluster, ...]]:
    """Read the points of a run's map, and its clusters; raises RunError as `load_run` does."""
    return _build(folder / layout.MAP, _parquet(folder / layout.MAP), _point), _clusters(folder)


def _build(path: Path, rows: Iterable[Row], build: Callable[[Row], Record]) -> tuple[Record, ...]:
    """Turn the rows of `path` into records; a row that lacks a field or holds the wrong type names the file."""
    records = []
    for number, row in enumerate(rows, start=1):
        try:
            records.append(build(row))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            what = f"lacks the field {error}" if isinstance(error, KeyError) else f"does not fit ({error})"
            raise RunError(f"{path}: row {number} {what}; run its stage again") from error
    return tuple(records)


def _one(path: Path, build: Callable[[dict[str, Any]], Record]) -> Record | None:
    if not path.is_file():
        return None
    (found,) = _build(path, [_json(path, {})], build)
    return found


def _cleaning(item: tuple[str, dict[str, Any]]) -> Cleaning:
    name, row = item
    dropped = {str(k): int(v) for k, v in row.get("dropped", {}).items()}
    return Cleaning(name, int(row.get("kept", 0)), dropped, int(row.get("redacted", 0)))


def _fertility(row: dict[str, Any]) -> Fertility:
    return Fertility(
        str(row["language"]),
        float(row["tokens_per_word"]),
        float(row["tokens_per_byte"]),
        None if row["relative_to_english"] is None else float(row["relative_to_english"]),
    )


def _point(row: dict[str, Any]) -> Point:
    return Point(
        float(row["x"]),
        float(row["y"]),
        str(row["set"]),
        str(row.get("language") or "und"),
        _cluster_id(row.get("cluster")),
        str(row.get("text") or ""),
    )


def _stage(row: dict[str, Any]) -> Stage:
    return Stage(
        str(row["stage"]),
        float(row.get("seconds") or 0.0),
        float(row.get("peak_memory_bytes") or 0.0),
        bool(row.get("skipped", False)),
    )


def _last_of_each(stages: Sequence[Stage]) -> tuple[Stage, ...]:
    """Keep one entry a stage: the last time it really ran. The log goes on when a run is resumed."""
    kept: dict[str, Stage] = {}
    for stage in stages:
        if stage.stage not in kept or not stage.skipped:
            kept[stage.stage] = stage
    return tuple(kept.values())


def _options(path: Path) -> dict[str, Any]:
    """Read the resolved options flat: sections are unfolded, `columns` and other mappings of values are kept."""
    document = read_options(path) if path.is_file() else {}
    sections = {"run", "data", "encoder", "space", "selection", "training", "evaluation"}
    flat: dict[str, Any] = {}
    for key, value in document.items():
        # `encoder` is both a section and an option: as an option it is a string.
        if key in sections and isinstance(value, dict):
            flat.update(value)
        else:
            flat[str(key)] = value
    return flat


def _clusters(folder: Path) -> tuple[Cluster, ...]:
    names = folder / layout.CLUSTER_NAMES
    descriptions = dict(_build(names, _json(names, []), lambda row: (int(row["cluster"]), row)))

    def cluster(row: dict[str, Any]) -> Cluster:
        described = descriptions.get(int(row["cluster"]), {})
        return Cluster.from_dict(described | row | {"name": row.get("name") or described.get("name")})

    path = folder / layout.CLUSTERS
    return _build(path, _parquet(path), cluster)


def _picks(folder: Path) -> tuple[Picked, ...]:
    """Read the picked rows in order of rank: with texts where they are kept, else from the audit."""
    path = folder / layout.PICKS
    rows = _jsonl(path)
    if not rows:
        path = folder / layout.AUDIT
        rows = _parquet(path)
    return tuple(sorted(_build(path, rows, Picked.from_dict), key=lambda pick: pick.rank))


def _notes(path: Path) -> dict[str, int]:
    def notes(summary: dict[str, Any]) -> dict[str, int]:
        return {str(what): int(rows) for what, rows in summary.get("notes", {}).items()}

    (found,) = _build(path, [_json(path, {})], notes)
    return found


def _too_long(path: Path) -> dict[str, int]:
    def counts(stored: dict[str, Any]) -> dict[str, int]:
        return {str(name): len(of_set["places"]) for name, of_set in stored.get("sets", {}).items()}

    (found,) = _build(path, [_json(path, {})], counts)
    return found


def _tests(folder: Path, *, answers: bool = True) -> dict[str, TestScores]:
    tests = {}
    for path in sorted(folder.glob("*.json")):
        (scores,) = _build(path, [_json(path, {})], partial(_test, path, answers=answers))
        tests[scores.name] = scores
    return tests


def _test(path: Path, summary: dict[str, Any], *, answers: bool) -> TestScores:
    language = str(summary.get("language", "und"))
    file = path.with_name(path.name.removesuffix(".json") + ".predictions.jsonl")
    return TestScores(
        name=str(summary.get("name", path.stem)),
        language=language,
        rows=int(summary["rows"]),
        rows_left_out=int(summary.get("rows_left_out", 0)),
        metrics={str(name): Interval.from_dict(value) for name, value in summary["metrics"].items()},
        by_cluster=tuple(ClusterScore.from_dict(row) for row in summary.get("by_cluster", ())),
        seen_labels=tuple(str(label) for label in summary.get("seen_labels", ())),
        answers=_build(file, _jsonl(file), lambda row: _answer(row, language)) if answers else (),
        responses=str(summary.get("responses", "")),
    )


def _answer(row: dict[str, Any], language: str) -> Answer:
    return Answer(
        id=str(row["id"]),
        language=str(row.get("language") or language),
        prompt=str(row["prompt"]),
        expected=str(row.get("response") or ""),
        prediction=str(row.get("prediction") or ""),
        exact=bool(row["exact"]),
        label=str(row.get("label") or ""),
        chrf=None if row.get("chrf") is None else float(row["chrf"]),
    )


def _cluster_id(value: Any) -> int:
    return -1 if value is None else int(value)


def _json(path: Path, default: Any) -> Any:
    return read_json(path, type(default)) if path.is_file() else default


def _jsonl(path: Path) -> list[dict[str, Any]]:
    return read_jsonl(path) if path.is_file() else []


def _parquet(path: Path) -> list[dict[str, Any]]:
    if not path.is_file():
        return []
    import pyarrow
    import pyarrow.parquet

    try:
        rows: list[dict[str, Any]] = pyarrow.parquet.read_table(path).to_pylist()
    except (OSError, pyarrow.ArrowInvalid) as error:
        raise RunError(f"{path} cannot be read as Parquet ({error}); run its stage again") from error
    return rows
