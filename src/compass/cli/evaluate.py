"""The command that measures a model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import typer

from compass.cli.flags import MODEL, Config, Json, Verbose, with_options
from compass.cli.printing import print_differences, print_json, print_metrics, print_result, print_table
from compass.cli.process import set_up_logging
from compass.config import TaskOptions, load_options, named_options
from compass.errors import ConfigError

TASKS = "lm-eval tasks"
REFUSED = {"max_retention_rows": "every test that is given is evaluated; write --max-test-rows"}
DATA = ("language", "columns", "usage")


@with_options(
    "run",
    "evaluation",
    "tasks",
    also=(*MODEL, *DATA),
    of=TaskOptions,
    refused=REFUSED,
    basic=("adapter",),
    advanced=("usage",),
    defaults={"language": "default: all rows"},
)
def evaluate(
    data: Annotated[
        list[str] | None, typer.Argument(metavar="[DATA]...", help="Test files with prompts and responses.")
    ] = None,
    tasks: Annotated[
        str, typer.Option("--tasks", rich_help_panel=TASKS, help="Tasks of lm-eval, separated by commas.")
    ] = "",
    config: Config = None,
    json_: Json = False,
    verbose: Verbose = False,
    *,
    options: Any = None,
) -> None:
    """Evaluate a base model, and an adapter against it.

    Give either test files or --tasks.
    """
    set_up_logging(verbose)
    names = [name.strip() for name in tasks.split(",") if name.strip()]
    if bool(names) == bool(data):
        given = "both" if names else "neither"
        raise ConfigError(f"evaluate: give either test files or --tasks with the names of lm-eval's tasks; got {given}")
    if names:
        _evaluate_tasks(load_options(TaskOptions, config, options), names, as_json=json_)
        return
    from compass.recipes.evaluate import evaluate_on

    resolved = load_options(TaskOptions, config, options)
    language = named_options(config, options, TaskOptions, {"language"}).get("language", "")
    folder, evaluations, differences = evaluate_on(resolved.adapt, data or [], language=language)
    metrics = {test: {model: done.metrics for model, done in own.items()} for test, own in evaluations.items()}
    result = {"folder": folder, "evaluations": metrics, "differences": differences}
    print_result(result, json_, lambda: print_differences(differences) if differences else print_metrics(metrics))


def _evaluate_tasks(config: TaskOptions, names: Sequence[str], *, as_json: bool) -> None:
    from compass.recipes.evaluate import evaluate_tasks

    results, differences = evaluate_tasks(config, names)
    if as_json:
        found = {model: [result.to_dict() for result in of_model] for model, of_model in results.items()}
        print_json({"tasks": found, "differences": differences})
        return
    rows = [
        (model, result.task, metric.part or "-", metric.name, f"{metric.value:.4f}", f"{metric.stderr:.4f}")
        for model, of_model in results.items()
        for result in of_model
        for metric in result.metrics
    ]
    print_table(("model", "task", "part", "metric", "value", "stderr"), rows)
    if differences:
        print_differences(differences, title="Base and adapter, paired")
