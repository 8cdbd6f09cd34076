"""What commands share that take the file of a project: its languages, and how they end."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from compass.cli.printing import print_json, print_result, print_steps, print_table, say
from compass.cli.process import EXIT_FAILED
from compass.config import AdaptConfig, Options, Project, load_project
from compass.data.languages import normalize_tag
from compass.errors import CompassError, ConfigError

if TYPE_CHECKING:
    from compass.recipes.project import ProjectDone
    from compass.steps.plan import Step


def project_of(kind: type[Options], config: Path | None, options: Mapping[str, Any]) -> Project[Options] | None:
    """Return the project that a command's file is of, with the languages that its flags name; None if it is of none.

    Raises ConfigError for several languages without a project.
    """
    named = options.get("language", ())
    only = [named] if isinstance(named, str) else list(named)
    project = load_project(kind, config, options, only=only, normal=normalize_tag)
    if project is None and len(only) > 1:
        raise ConfigError(
            f"--language: {', '.join(only)} are several languages, which need a file with `languages`; make one with "
            "compass init, and give it with --config"
        )
    return project


def print_plans(project: Project[AdaptConfig], *, as_json: bool) -> None:
    """Print what the runs of a project would do, language by language. Exits with an error if one can't be planned."""
    from compass.reuse import reusing
    from compass.steps.plan import plan

    plans: dict[str, list[Step]] = {}
    failures: dict[str, str] = {}
    with reusing():
        for tag, config in project.languages.items():
            try:
                plans[tag] = plan(config)
            except (CompassError, OSError) as error:
                failures[tag] = str(error)
    if as_json:
        told = {tag: [step.to_dict() for step in steps] for tag, steps in plans.items()}
        print_json(told | {tag: {"error": why} for tag, why in failures.items()})
    else:
        for tag, steps in plans.items():
            say(f"{tag}:")
            print_steps(steps)
    for tag, why in failures.items():
        say(f"{project.origins[tag]}: {tag} would fail: {why}", error=True)
    if failures:
        raise typer.Exit(EXIT_FAILED)


def end_project(done: ProjectDone, *, as_json: bool) -> None:
    """Print what became of a project's languages. Exits with an error if one failed."""
    lines = [(one.language, *one.shown(), one.state, one.message) for one in done.languages]
    names = ("language", "picked", "metric", "before", "after", "difference", "state", "message")
    result = {"project": done.folder, "page": done.page, "languages": [one.to_dict() for one in done.languages]}
    print_result(result, as_json, lambda: print_table(names, lines, title="Languages"))
    if done.failed:
        raise typer.Exit(EXIT_FAILED)
