"""What commands share that take the file of a project: its languages, and how they end."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from compass.cli.printing import print_result, print_table
from compass.cli.process import EXIT_FAILED
from compass.config import Options, Project, load_project
from compass.errors import ConfigError

if TYPE_CHECKING:
    from compass.recipes.project import ProjectDone


def project_of(kind: type[Options], config: Path | None, options: Mapping[str, Any]) -> Project[Options] | None:
    """Return the project that a command's file is of, with the languages that its flags name; None if it is of none.

    Raises ConfigError for several languages without a project.
    """
    named = options.get("language", ())
    only = [named] if isinstance(named, str) else list(named)
    project = load_project(kind, config, options, only=only)
    if project is None and len(only) > 1:
        raise ConfigError(
            f"--language: {', '.join(only)} are several languages, which need a file with `languages`; make one with "
            "compass init, and give it with --config"
        )
    return project


def end_project(done: ProjectDone, *, as_json: bool) -> None:
    """Print what became of a project's languages. Exits with an error if one failed."""
    lines = [(one.language, *one.shown(), one.state, one.message) for one in done.languages]
    names = ("language", "picked", "metric", "before", "after", "difference", "state", "message")
    result = {"project": done.folder, "page": done.page, "languages": [one.to_dict() for one in done.languages]}
    print_result(result, as_json, lambda: print_table(names, lines, title="Languages"))
    if done.failed:
        raise typer.Exit(EXIT_FAILED)
