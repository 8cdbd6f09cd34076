"""Base model and adapter on the same held-out rows: what was won on usage, what was lost elsewhere."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compass.config import AdaptConfig, TrainingConfig
from compass.data.example import Example
from compass.data.fertility import fertility
from compass.evaluation import Answered, Evaluation, compare, evaluate, write_differences, write_evaluation
from compass.evaluation.files import drop_others, read_differences, read_evaluation
from compass.runs.folder import Run, file_hash, fingerprint, write_json

if TYPE_CHECKING:
    from compass.recipes.adapt import Placed, Selected

FERTILITY_ROWS = 200
"""Rows of each language behind its fertility figures."""


def measure(
    run: Run, config: AdaptConfig, base: Any, adapter: Path, selected: Selected, *, base_answers: Path | None = None
) -> tuple[dict[str, dict[str, Any]], tuple[dict[str, Any], ...]]:
    """Evaluate base and adapter on every test set and compare them row by row.

    base_answers: the base model's `eval/base` of an earlier run, whose rows are not asked again.
    Returns the metrics by test and model, and the paired differences. Without a test set both are empty.
    """
    _write_fertility(run, base, selected)
    done = {
        "base": measure_model(run, config, base, "base", None, selected, answers=base_answers),
        "adapter": measure_model(run, config, base, "adapter", adapter, selected),
    }
    evaluations = {name: {model: done[model][name].to_dict()["metrics"] for model in done} for name in done["base"]}
    differences = [
        difference for name in done["base"] for difference in compare(done["base"][name], done["adapter"][name])
    ]
    write_differences(differences, run.path("eval", "differences.json"))
    stored = read_differences(run.path("eval", "differences.json"))
    return evaluations, tuple(difference.to_dict() for difference in stored)


def measure_model(
    run: Run,
    config: AdaptConfig,
    base: Any,
    name: str,
    adapter: Path | None,
    placed: Placed,
    *,
    answers: Path | None = None,
) -> dict[str, Evaluation]:
    """Evaluate one model, `base` or `adapter`, on every test set, or read what was measured before.

    answers: what an earlier run measured of the same model; its rows are scored anew and not asked again. Nor are
    those of this run if only its space has changed.
    """
    inputs = {
        "evaluation": dataclasses.asdict(config.evaluation),
        "seed": config.run.seed,
        "model": [base.name, base.revision],
        "adapter": file_hash(adapter / "adapter_model.safetensors") if adapter else "",
        **precision(config),
        "space": file_hash(run.folder / "space" / "space.safetensors"),
        "tests": fingerprint({name: [row.to_dict() for row in rows] for name, rows in placed.data.tests.items()}),
    }
    stage = f"evaluation-{name}"
    output = run.folder / "eval" / name
    changed = run.changed(stage, inputs)
    if changed == {"space"}:
        # Rows move to other clusters; what the model answers stays what it was.
        answers = output
    if changed == set():
        run.skip(stage)
        return {test: read_evaluation(output / f"{test}.json") for test in _tests(config, placed)}
    with run.stage(stage, inputs, [output]):
        output.mkdir(parents=True, exist_ok=True)
        done = _evaluate_all(config, base, adapter, placed, output, answers)
        # Other tests of an earlier run in this folder are not this one's. They go last: this may be `answers`.
        drop_others(output, done)
        return done


def precision(config: AdaptConfig) -> dict[str, Any]:
    """Return what tells the model's arithmetic from another one's; nothing for the default."""
    plain, training = TrainingConfig(), config.training
    own = {"dtype": training.dtype, "load_in_4bit": training.load_in_4bit}
    return {name: value for name, value in own.items() if value != getattr(plain, name)}


def _evaluate_all(
    config: AdaptConfig, base: Any, adapter: Path | None, selected: Placed, output: Path, answers: Path | None
) -> dict[str, Evaluation]:
    from compass.training import LanguageModel

    def load() -> LanguageModel:
        return LanguageModel(base, adapter, dtype=config.training.dtype, load_in_4bit=config.training.load_in_4bit)

    model = Answered(answers, load) if answers else load()
    done = {}
    for name, rows in _tests(config, selected).items():
        clusters = selected.space.assign(
            selected.encoder.encode([row.prompt for row in rows]), [row.language for row in rows]
        )
        limits = config.evaluation
        if name != config.data.language:
            limits = dataclasses.replace(limits, max_test_rows=limits.max_retention_rows)
        done[name] = evaluate(
            model,
            rows,
            name=name,
            language=rows[0].language,
            config=limits,
            seed=config.run.seed,
            clusters=clusters,
            seen_labels=_labels_beside_the_point(selected, rows),
        )
        write_evaluation(done[name], output)
    return done


def _tests(config: AdaptConfig, placed: Placed) -> dict[str, tuple[Example, ...]]:
    """Return the tests that are measured: the target's, and the others unless `max_retention_rows` is 0."""
    target, others = config.data.language, config.evaluation.max_retention_rows
    return {name: rows for name, rows in placed.data.tests.items() if others or name == target}


def _labels_beside_the_point(selected: Placed, rows: tuple[Example, ...]) -> tuple[str, ...]:
    """Labels of the data at hand that no test row asks for: a model that answers with them repeats what it has seen."""
    asked = {row.label for row in rows}
    return tuple(sorted({row.label for row in selected.data.current if row.label} - asked))


def _write_fertility(run: Run, base: Any, selected: Placed) -> None:
    from compass.training import load_tokenizer

    texts: dict[str, list[str]] = {}
    for row in (*selected.data.usage, *selected.data.current, *selected.data.pool):
        of_language = texts.setdefault(row.language, [])
        if len(of_language) < FERTILITY_ROWS:
            of_language.append(row.prompt)
    tokenizer = load_tokenizer(base)
    rows = fertility(texts, lambda text: tokenizer(text, add_special_tokens=False)["input_ids"])
    write_json(run.path("data", "fertility.json"), [row.to_dict() for row in rows])
