"""The command that measures a model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from compass.cli.flags import MODEL, Config, Json, Verbose, with_options
from compass.cli.printing import print_differences, print_json, print_metrics, print_result, print_table, say
from compass.cli.process import set_up_logging
from compass.config import TaskOptions, load_options, named_options
from compass.errors import ConfigError

if TYPE_CHECKING:
    from compass.recipes.judge import Judgement

TASKS = "lm-eval tasks"
REFUSED = {"max_retention_rows": "every test that is given is evaluated; write --max-test-rows"}
DATA = ("language", "columns", "usage")


@with_options(
    "run",
    "evaluation",
    "tasks",
    "judging",
    also=(*MODEL, *DATA),
    of=TaskOptions,
    refused=REFUSED,
    basic=("adapter",),
    advanced=("usage",),
    defaults={"language": "default: all rows"},
)
def evaluate(
    data: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[DATA]...", help="Test files with prompts and responses; with --judge also a run folder, or two."
        ),
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

    Give either test files or --tasks. With --judge, a model on a server compares the answers in pairs.
    """
    set_up_logging(verbose)
    names = [name.strip() for name in tasks.split(",") if name.strip()]
    if bool(names) == bool(data):
        given = "both" if names else "neither"
        raise ConfigError(f"evaluate: give either test files or --tasks with the names of lm-eval's tasks; got {given}")
    if names:
        _evaluate_tasks(load_options(TaskOptions, config, options), names, as_json=json_)
        return
    from compass.recipes.evaluate import ADAPTER, BASE, evaluate_on
    from compass.recipes.judge import is_measured, judge_pairs, stored_pairs

    resolved = load_options(TaskOptions, config, options)
    judging, sources = resolved.judging, data or []
    output = Path(resolved.adapt.run.output_dir)
    if judging.judge and all(is_measured(Path(source)) for source in sources):
        _print_judgement(judge_pairs(judging, stored_pairs([Path(source) for source in sources]), output), json_)
        return
    if judging.judge and not resolved.adapt.training.adapter:
        raise ConfigError("judge: it compares two models' answers; give --adapter, or run folders that hold them")
    language = named_options(config, options, TaskOptions, {"language"}).get("language", "")
    folder, evaluations, differences = evaluate_on(resolved.adapt, sources, language=language)
    metrics = {test: {model: done.metrics for model, done in own.items()} for test, own in evaluations.items()}
    result = {"folder": folder, "evaluations": metrics, "differences": differences}
    judgement = None
    if judging.judge:
        judgement = judge_pairs(judging, {name: (own[BASE], own[ADAPTER]) for name, own in evaluations.items()}, output)
        result["judgement"] = judgement
    print_result(result, json_, lambda: print_differences(differences) if differences else print_metrics(metrics))
    if judgement and not json_:
        _print_judgement(judgement, json_)


def _print_judgement(judgement: Judgement, as_json: bool) -> None:
    if as_json:
        print_json(judgement)
        return
    if not judgement.judged:
        plans = [
            (name, str(takes.rows), str(takes.same), str(takes.known), str(takes.requests), f"{takes.tokens:,}")
            for name, takes in judgement.plans.items()
        ]
        print_table(("test", "rows", "alike", "known", "requests", "tokens, about"), plans, title="What judging takes")
        needed = sum(takes.requests for takes in judgement.plans.values())
        say(f"Nothing was sent. --judge-requests {needed} lets all of them be sent.")
        return
    rows = []
    for done in judgement.judged:
        counts = (done.rows, done.left, done.wins, done.ties, done.losses, done.contradicted, done.unreadable)
        interval = done.difference.interval if done.difference else None
        shown = f"{interval.value:+.3f} [{interval.low:+.3f}, {interval.high:+.3f}]" if interval else "–"
        rows.append((done.name, *map(str, counts), shown))
    names = ("test", "rows", "left", "wins", "ties", "losses", "contradicted", "unreadable", "wins − losses")
    print_table(names, rows, title="What the judge prefers: the adapter, or the second folder, wins")
    say(f"folder: {judgement.folder.resolve()}")


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
