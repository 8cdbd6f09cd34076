"""The commands that make a run: adapt, select, train."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from compass.cli.flags import Config, DryRun, Json, Verbose, with_options
from compass.cli.printing import print_differences, print_json, print_plan, print_result, say
from compass.cli.process import set_up_logging
from compass.cli.project import end_project, print_plans, project_of
from compass.config import AdaptConfig, load_config, named_options
from compass.data.languages import language_name
from compass.runs import layout
from compass.runs.files import read_json

logger = logging.getLogger(__name__)

SECTIONS = ("run", "data", "encoder", "space", "selection", "training", "evaluation")


@with_options(*SECTIONS, repeatable=("language",))
def adapt(
    config: Config = None,
    json_: Json = False,
    dry_run: DryRun = False,
    verbose: Verbose = False,
    *,
    options: Any = None,
) -> None:
    """Select rows, train an adapter, evaluate and report.

    The same command resumes a run that was stopped. With the file of a project it runs all of its languages.
    """
    set_up_logging(verbose)
    if project := project_of(AdaptConfig, config, options):
        if dry_run:
            print_plans(project, as_json=json_)
            return
        from compass.recipes.project import adapt_project

        end_project(adapt_project(project), as_json=json_)
        return
    resolved = _resolved(config, options)
    if dry_run:
        print_plan(resolved, as_json=json_)
        return
    from compass.recipes.adapt import adapt as run_adapt

    done = run_adapt(resolved)
    result = {"run": done.run_dir, "adapter": done.adapter, "report": done.report, "differences": done.differences}
    print_result(result, json_, lambda: print_differences(done.differences))


def prepare(config: Config = None, verbose: Verbose = False) -> None:
    """Do what all strategies share, and stop before the selection: `compare` runs it, once for each draw."""
    set_up_logging(verbose)
    from compass.recipes.adapt import prepare as recipe

    recipe(load_config(config))


@with_options(
    "run", "data", "encoder", "space", "selection", "training", advanced=("training",), repeatable=("language",)
)
def select(
    config: Config = None,
    json_: Json = False,
    dry_run: DryRun = False,
    verbose: Verbose = False,
    engine: Annotated[
        str, typer.Option("--engine", help="Where rows are read, cleaned and embedded: local, or ray.")
    ] = "local",
    address: Annotated[
        str, typer.Option("--address", help="Ray cluster, as ray.init takes it; empty: this machine.")
    ] = "",
    *,
    options: Any = None,
) -> None:
    """Select rows of the pool and write the audit, without training.

    Sources and --output-dir may be URLs of object storage, such as s3://bucket/pool.jsonl.
    """
    set_up_logging(verbose)
    if project := project_of(AdaptConfig, config, options):
        if dry_run:
            print_plans(project, as_json=json_)
            return
        from compass.recipes.elsewhere import on_engine
        from compass.recipes.project import select_project

        with on_engine(engine, address):
            done = select_project(project)
        end_project(done, as_json=json_)
        return
    resolved = _resolved(config, options)
    if dry_run:
        print_plan(resolved, as_json=json_)
        return
    from compass.recipes.adapt import select as run_select
    from compass.recipes.elsewhere import on_engine, results_stored, stored_at

    with on_engine(engine, address), results_stored(resolved) as here:
        run_select(here)
        summary = read_json(Path(here.run.output_dir) / layout.SELECTION_SUMMARY, dict)
    files = {"selected": layout.PICKS, "audit": layout.AUDIT, "report": layout.REPORT}
    print_result(summary | {name: stored_at(resolved, file) for name, file in files.items()}, json_)


@with_options("run", "training", also=("columns",))
def train(
    data: Annotated[list[str], typer.Argument(metavar="DATA...", help="Sources of prompts with responses.")],
    config: Config = None,
    json_: Json = False,
    verbose: Verbose = False,
    *,
    options: Any = None,
) -> None:
    """Train an adapter on given rows, without selection."""
    set_up_logging(verbose)
    from compass.recipes.train import train_on

    adapter, result = train_on(load_config(config, options), data)
    if json_:
        print_json({"adapter": str(adapter), **result})
    else:
        say(f"Adapter: {adapter}")


def _resolved(config: Path | None, options: Mapping[str, Any]) -> AdaptConfig:
    """Read the options, with all of their faults in one message; where no source is named, say that it is the demo."""
    from compass.steps.preflight import option_faults

    resolved = load_config(config, options, also=option_faults)
    if not named_options(config, options, AdaptConfig, {"usage", "train", "pool", "test"}):
        # It may be that they were forgotten, and it takes minutes.
        logger.info(
            "No data were given, so this is the demo: %s commands for a smart home, which are packaged. For your own "
            "data give --language, --usage, --train and --pool; compass init asks for them.",
            language_name(resolved.data.language),
        )
    return resolved
