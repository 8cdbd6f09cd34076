"""Base model and adapter on the same held-out rows: what was won on usage, what was lost elsewhere."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from compass.config import AdaptConfig, TrainingConfig, recorded
from compass.data.example import Example
from compass.data.fertility import fertility
from compass.evaluation import CachedAnswers, Evaluation, compare, write_differences, write_evaluation
from compass.evaluation import evaluate as evaluate_model
from compass.evaluation.files import draws_behind, drop_others, lacks_metrics, read_differences, read_evaluation
from compass.records import Difference
from compass.runs import layout
from compass.runs.files import file_hash, fingerprint, write_json
from compass.runs.folder import Run
from compass.steps.resources import Resources
from compass.steps.state import Placed, RunData
from compass.steps.stored_data import data_hashes

FERTILITY_ROWS = 200
"""Rows of each language behind its fertility figures."""


@dataclasses.dataclass(frozen=True)
class Evaluated:
    """What base model and adapter did on every test set."""

    base: Mapping[str, Evaluation]
    """By test name."""
    adapter: Mapping[str, Evaluation]
    differences: tuple[Difference, ...]
    """adapter − base for each test and metric, with paired intervals."""


def evaluate(
    run: Run, resources: Resources, adapter: Path, placed: Placed, *, base_answers: Path | None = None
) -> Evaluated:
    """Evaluate base and adapter on every test set and compare them row by row.

    base_answers: the base model's `eval/base` of an earlier run, whose rows are not asked again. Without a test set
    all of it is empty.
    """
    measure_fertility(run, resources, placed.data)
    base = evaluate_one(run, resources, "base", None, placed, answers=base_answers)
    adapted = evaluate_one(run, resources, "adapter", adapter, placed)
    differences = [difference for name in base for difference in compare(base[name], adapted[name])]
    write_differences(differences, run.path(layout.DIFFERENCES))
    return Evaluated(base, adapted, tuple(read_differences(run.path(layout.DIFFERENCES))))


def evaluate_one(
    run: Run, resources: Resources, name: str, adapter: Path | None, placed: Placed, *, answers: Path | None = None
) -> dict[str, Evaluation]:
    """Evaluate one model, `base`, `adapter` or `parent`, on every test set, or read what was measured before.

    answers: what an earlier run measured of the same model; its rows are scored again and not asked again. Nor are
    those of this run if only its space has changed.
    """
    config, base = resources.config, resources.base
    stage = f"evaluation-{name}"
    output = run.folder / layout.EVALUATION / name
    inputs = {
        "evaluation": recorded(config.evaluation),
        "seed": config.run.seed,
        "model": [base.name, base.revision],
        "adapter": file_hash(adapter / layout.WEIGHTS_FILE) if adapter else "",
        **precision(config),
        "space": file_hash(run.folder / layout.SPACE_WEIGHTS),
        "tests": fingerprint({name: [row.to_dict() for row in rows] for name, rows in placed.data.tests.items()}),
    }
    # The draws behind the intervals were an option once: what was measured with others stays as it is.
    as_measured = {**inputs, "evaluation": recorded(config.evaluation) | {"bootstrap_draws": draws_behind(output)}}
    changed = run.changed(stage, as_measured)
    if changed == {"space"}:
        # Rows move to other clusters; what the model answers stays what it was.
        answers = output
    if changed == set():
        run.skip(stage)
        paths = {test: output / f"{test}.json" for test in measured_tests(config, placed.data)}
        stored = {test: read_evaluation(path) for test, path in paths.items()}
        if any(lacks_metrics(paths[test], evaluation) for test, evaluation in stored.items()):
            # A metric that is newer than the folder is counted from its answers; the record knows its files' sizes.
            with run.stage(stage, as_measured, [output]):
                for evaluation in stored.values():
                    write_evaluation(evaluation, output)
        return stored
    with run.stage(stage, inputs, [output]):
        output.mkdir(parents=True, exist_ok=True)
        done = _evaluate_all(resources, adapter, placed, output, answers)
        # Other tests of an earlier run in this folder are not this one's. They go last: this may be `answers`.
        drop_others(output, done)
        return done


def precision(config: AdaptConfig) -> dict[str, Any]:
    """Return what tells the model's arithmetic from another one's; nothing for the default."""
    plain, training = TrainingConfig(), config.training
    own = {"dtype": training.dtype, "load_in_4bit": training.load_in_4bit}
    return {name: value for name, value in own.items() if value != getattr(plain, name)}


def _evaluate_all(
    resources: Resources, adapter: Path | None, placed: Placed, output: Path, answers: Path | None
) -> dict[str, Evaluation]:
    from compass.training import LanguageModel

    config = resources.config

    def load() -> LanguageModel:
        training = config.training
        return LanguageModel(resources.base, adapter, dtype=training.dtype, load_in_4bit=training.load_in_4bit)

    model = CachedAnswers(answers, load) if answers else load()
    done = {}
    for name, rows in measured_tests(config, placed.data).items():
        vectors = resources.encoder.encode([row.prompt for row in rows])
        limits = config.evaluation
        if name != config.data.language:
            limits = dataclasses.replace(limits, max_test_rows=limits.max_retention_rows)
        done[name] = evaluate_model(
            model,
            rows,
            name=name,
            language=rows[0].language,
            config=limits,
            seed=config.run.seed,
            clusters=placed.space.assign(vectors, [row.language for row in rows]),
            seen_labels=_off_topic_labels(placed.data, rows),
        )
        write_evaluation(done[name], output)
    return done


def measured_tests(config: AdaptConfig, data: RunData) -> dict[str, tuple[Example, ...]]:
    """Return the tests that are measured: the target's, and the others unless `max_retention_rows` is 0."""
    target, others = config.data.language, config.evaluation.max_retention_rows
    return {name: rows for name, rows in data.tests.items() if others or name == target}


def _off_topic_labels(data: RunData, rows: tuple[Example, ...]) -> tuple[str, ...]:
    """Return labels of training rows that no test row has: a model that answers with them repeats what it has seen."""
    asked = {row.label for row in rows}
    return tuple(sorted({row.label for row in data.train if row.label} - asked))


def measure_fertility(run: Run, resources: Resources, data: RunData) -> None:
    """Write how many tokens each language costs; once that is known the tokenizer, seconds to load, is left alone."""
    base = resources.base
    inputs = {
        "data": data_hashes(run),
        "model": [base.name, base.revision],
        "max_length": resources.config.training.max_length,
    }
    if run.changed("fertility", inputs) == set():
        run.skip("fertility")
        return
    texts: dict[str, list[str]] = {}
    for row in data.texts():
        of_language = texts.setdefault(row.language, [])
        if len(of_language) < FERTILITY_ROWS:
            of_language.append(row.prompt)
    with run.stage("fertility", inputs, [run.path(layout.FERTILITY)]):
        tokenizer = resources.tokenizer
        rows = fertility(texts, lambda text: tokenizer(text, add_special_tokens=False)["input_ids"])
        write_json(run.path(layout.FERTILITY), [row.to_dict() for row in rows])
