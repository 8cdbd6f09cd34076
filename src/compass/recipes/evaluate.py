"""Evaluation by itself: a base model, and an adapter against it, on given rows or on lm-eval's tasks."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from compass.config import AdaptConfig, TaskOptions
from compass.data.assist import parse_assist
from compass.data.example import Example
from compass.data.languages import normalize_tag
from compass.data.readers import read_examples
from compass.errors import ConfigError, DataError
from compass.evaluation import (
    Evaluation,
    compare,
    evaluate,
    is_oneruler,
    make_oneruler,
    write_differences,
    write_evaluation,
)
from compass.evaluation.files import drop_others, write_task
from compass.evaluation.lm_eval.bridge import TaskResult, compare_tasks, run_tasks
from compass.records import Difference
from compass.runs import layout
from compass.runs.folder import refuse_version
from compass.stats import BOOTSTRAP_DRAWS
from compass.steps.language_rows import in_language
from compass.steps.lengths import check_rows
from compass.steps.read import columns_of, fill_in, filled_in, with_responses
from compass.steps.resources import Resources

logger = logging.getLogger(__name__)

BASE, ADAPTER = "base", "adapter"
"""What is measured, and the folders that it goes to."""

if TYPE_CHECKING:
    from compass.training import BaseModel


def evaluate_on(
    config: AdaptConfig, sources: Sequence[str], *, language: str = ""
) -> tuple[Path, dict[str, dict[str, Evaluation]], list[Difference]]:
    """Evaluate the base model, and with `adapter` the adapter against it, on the rows of each source.

    language: only its rows, those without a tag among them, and what `{language}` in a source stands for; empty: all.
    Returns the folder `output_dir/evaluations`, to which all is written, what was measured by test and model, and
    paired differences (empty without an adapter). Raises DataError for a file without responses, ModelError if adapter
    and model do not fit.
    """
    from compass.training import LanguageModel, load_tokenizer

    language = normalize_tag(language) if language else ""
    tests: dict[str, list[Example]] = {}
    for source in sources:
        if language:
            source = fill_in(source, language=language, seed=config.run.seed)
        name = Path(source).name.split(".")[0]
        if name in tests:
            raise DataError(f"Two test sets are named {name!r}. Rename the file {source}.")
        found = read_examples(source, columns=columns_of(config.data, "test"), require_response=True)
        tests[name] = with_responses(f"test {name}", found)
        if language:
            tests[name] = in_language(f"test {name}", tests[name], language)
    refuse_version(Path(config.run.output_dir), "Choose another --output-dir.")
    base, folders = _models(config)
    for name, rows in tests.items():
        check_rows(load_tokenizer(base), f"test {name}", rows)
    output = Path(config.run.output_dir) / layout.OWN_EVALUATIONS
    output.mkdir(mode=0o700, parents=True, exist_ok=True)
    done: dict[str, dict[str, Evaluation]] = {}
    for model_name, folder in folders.items():
        model = LanguageModel(base, folder, dtype=config.training.dtype, load_in_4bit=config.training.load_in_4bit)
        done[model_name] = {}
        for name, rows in tests.items():
            result = evaluate(
                model, rows, name=name, language=rows[0].language, config=config.evaluation, seed=config.run.seed
            )
            write_evaluation(result, output / model_name)
            done[model_name][name] = result
        drop_others(output / model_name, tests)
    _drop_other_models(output, done)
    by_test = {name: {model: done[model][name] for model in done} for name in tests}
    differences: list[Difference] = []
    if ADAPTER in done:
        differences = [d for name in tests for d in compare(done[BASE][name], done[ADAPTER][name])]
        write_differences(differences, output / layout.DIFFERENCES_FILE)
    return output, by_test, differences


def _drop_other_models(output: Path, done: Collection[str]) -> None:
    """Remove what an earlier evaluation in this folder says of an adapter where there is none now."""
    if ADAPTER not in done:
        shutil.rmtree(output / ADAPTER, ignore_errors=True)
        (output / layout.DIFFERENCES_FILE).unlink(missing_ok=True)


def _models(config: AdaptConfig) -> tuple[BaseModel, dict[str, Path | None]]:
    """Return the base model, and by name what is measured: no adapter, and the adapter if there is one, which fits."""
    from compass.training import check_adapter

    resources = Resources(config)
    base, adapter = resources.base, resources.config.training.adapter
    if not adapter:
        return base, {BASE: None}
    check_adapter(Path(adapter), base)
    return base, {BASE: None, ADAPTER: Path(adapter)}


def evaluate_tasks(
    task_options: TaskOptions, tasks: Sequence[str]
) -> tuple[dict[str, list[TaskResult]], list[Difference]]:
    """Run lm-eval's tasks on the base model, and with `adapter` on the adapter.

    Returns results by model (`base`, `adapter`), and paired differences (empty without an adapter). Also written to
    `output_dir/evaluations/tasks`, with the scores of every sample. Where few-shot examples are asked for, a task that
    would draw them from the rows of `usage` is refused. Raises MissingExtraError without lm-eval, ConfigError for an
    unknown task, DataError for data that can't be had, ModelError if adapter and model do not fit.
    """
    from compass.training import harness_model

    if task_options.adapt.training.load_in_4bit:
        raise ConfigError("load_in_4bit: lm-eval's tasks are run on the model's own weights. Leave it out.")
    options, config = task_options.tasks, task_options.adapt
    refuse_version(Path(config.run.output_dir), "Choose another --output-dir.")
    base, folders = _models(config)
    usage: set[str] = set()
    if options.num_fewshot and not parse_assist(config.data.usage):
        data = filled_in(config.data, config.run.seed)
        usage = {
            row.prompt
            for row in read_examples(data.usage, columns=columns_of(data, "usage"), default_language=data.language)
        }
    output = Path(config.run.output_dir) / layout.OWN_EVALUATIONS / "tasks"
    output.mkdir(mode=0o700, parents=True, exist_ok=True)
    included = [Path(options.include_path)] if options.include_path else []
    if names := [name for name in tasks if is_oneruler(name)]:
        included.append(_oneruler(task_options, names, base, output / "oneruler"))
    done: dict[str, list[TaskResult]] = {}
    for name, folder in folders.items():
        model = harness_model(
            base,
            folder,
            dtype=config.training.dtype,
            batch_size=options.task_batch_size,
            max_length=options.task_max_length,
        )
        done[name] = run_tasks(
            model,
            tasks,
            num_fewshot=None if options.num_fewshot < 0 else options.num_fewshot,
            limit=options.limit or None,
            seed=config.run.seed,
            include_path=included,
            apply_chat_template=options.apply_chat_template,
            bootstrap_draws=BOOTSTRAP_DRAWS,
            usage=usage,
        )
        for result in done[name]:
            write_task(result, output / name)
        drop_others(output / name, {Path(result.task).name for result in done[name]})
    _drop_other_models(output, done)
    if ignored := [r.task for r in done[BASE] if options.num_fewshot > 0 and r.num_fewshot != options.num_fewshot]:
        logger.warning(
            "num_fewshot %d is not what lm-eval took for %s: their files say how many examples they have",
            options.num_fewshot, ", ".join(ignored),
        )  # fmt: skip
    if ADAPTER not in done:
        return done, []
    evaluation = config.evaluation
    differences = [
        difference
        for ours, theirs in zip(done[BASE], done[ADAPTER], strict=True)
        for difference in compare_tasks(
            ours, theirs, draws=BOOTSTRAP_DRAWS, confidence=evaluation.confidence, seed=config.run.seed
        )
    ]
    write_differences(differences, output / layout.DIFFERENCES_FILE)
    return done, differences


def _oneruler(options: TaskOptions, names: Sequence[str], base: BaseModel, folder: Path) -> Path:
    """Make OneRuler's tasks for the base model's tokenizer; return their folder."""
    from compass.training import load_tokenizer

    if not options.tasks.oneruler:
        raise ConfigError(
            ["oneruler: its tasks are made of its own files. Clone github.com/mungg/OneRuler and give the folder"]
        )
    tokenizer = load_tokenizer(base)

    def count(texts: Sequence[str]) -> list[int]:
        return [len(ids) for ids in tokenizer(list(texts), add_special_tokens=False)["input_ids"]]

    source, rows = Path(options.tasks.oneruler), options.tasks.oneruler_rows
    return make_oneruler(source, folder, names, count_tokens=count, rows=rows, seed=options.adapt.run.seed).folder
