"""The command that updates an adapter."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from compass.cli.flags import Json, Verbose, with_options
from compass.cli.printing import print_differences, print_result
from compass.cli.process import set_up_logging
from compass.cli.project import end_project
from compass.config import (
    UPDATE_METHODS,
    AdaptConfig,
    UpdateOptions,
    WatchOptions,
    as_flags,
    fields_of,
    load_options,
    load_project,
    load_stored,
    named_options,
)
from compass.config.update import OF_THE_PARENT, RETENTION_ROWS, with_retention_rows
from compass.data.languages import normalize_tag
from compass.errors import ConfigError, RunError
from compass.runs import layout

NEW = "New data"
OF_THE_FILE = ("run", "selection", "training", "evaluation", "update", "folder")
"""Sections of a project's file that its updates take options from."""


@with_options(
    "run", "selection", "training", "evaluation", "update", "folder",
    of=UpdateOptions, refused=OF_THE_PARENT, 
    advanced=("seed", "strategy", "model_name_or_path", "lora_r", "per_device_train_batch_size"),
    explained={"Values of --method": {name: method.explanation for name, method in UPDATE_METHODS.items()}},
    defaults={option.name: "default: the parent's" for option in fields_of(AdaptConfig)}
    | {"output_dir": "required", "max_retention_rows": f"default: {RETENTION_ROWS}, or the parent's if larger or 0"},
)  # fmt: skip
def update(
    parent: Annotated[
        Path | None,
        typer.Argument(metavar="[PARENT]", help="Run folder of the adapter that serves; it is only read."),
    ] = None,
    window: Annotated[
        str, typer.Argument(metavar="[WINDOW]", help="New usage: prompts, with responses where there are any.")
    ] = "",
    current: Annotated[
        str, typer.Option("--new-data", rich_help_panel=NEW, help="New training data in the target language.")
    ] = "",
    test: Annotated[
        str, typer.Option("--new-test", rich_help_panel=NEW, help="Held-out new usage with responses.")
    ] = "",
    pool: Annotated[
        list[str] | None,
        typer.Option("--new-pool", rich_help_panel=NEW, help="Pool in place of the parent's. Repeatable."),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option("-c", "--config", metavar="FILE", help="File of a project, whose languages are updated."),
    ] = None,
    languages: Annotated[
        list[str] | None, typer.Option("--language", help="Language of the project to update; all of them if left out.")
    ] = None,
    json_: Json = False,
    verbose: Verbose = False,
    *,
    options: Any = None,
) -> None:
    """Adapt an adapter to new usage without losing the old.

    The update is a run folder of its own. Options that you leave out are the parent's. With the file of a project and
    no PARENT, each language's newest run follows its update_usage.
    """
    set_up_logging(verbose)
    if config is not None:
        if parent or window or current or test or pool:
            raise ConfigError("--config is for all languages of a project: leave out PARENT, WINDOW and new data")
        _update_project(config, languages or (), options, as_json=json_)
        return
    if not parent or not window:
        raise ConfigError("PARENT and WINDOW are missing: give a run folder and new usage, or --config with a project")
    if languages:
        raise ConfigError("--language is for a project: give its file with --config, or leave it out")
    from compass.recipes.update import NewData
    from compass.recipes.update import update as run_update

    if not parent.is_dir():
        raise RunError(f"{parent} is not a run folder: there is no such folder.")
    own = load_options(UpdateOptions, None, options)
    if "output_dir" not in (options or {}):
        raise ConfigError("--output-dir: name a folder for the update; the parent is not written to")
    given = named_options(None, options, UpdateOptions, {option.name for option in fields_of(AdaptConfig)})
    resolved = load_stored(parent / layout.CONFIG, given, allow_endpoint=own.folder.allow_endpoint)
    if "max_retention_rows" not in given:
        resolved = with_retention_rows(resolved)
    new = NewData(window, train=current, test=test, pool=tuple(pool or ()))
    done = run_update(resolved, own.update, parent=parent, new=new)
    result = {
        "run": done.run_dir,
        "adapter": done.adapter,
        "report": done.report,
        "parent": done.parent,
        "differences": done.differences,
    }
    print_result(result, json_, lambda: print_differences(done.differences, title="Parent and update"))


def _update_project(config: Path, only: Sequence[str], options: Any, *, as_json: bool) -> None:
    """Update the languages of a project whose file names their new usage."""
    from compass.recipes.update_project import LanguageUpdate, update_project

    project = load_project(UpdateOptions, config, options, only=only, normal=normalize_tag, also_read=WatchOptions)
    watched = load_project(WatchOptions, config, only=only, log=False)
    if project is None or watched is None:
        raise ConfigError(f"{config} has no `languages`: give PARENT and WINDOW, or the file of a project")
    taken = {o.name for o in fields_of(UpdateOptions) if o.section in OF_THE_FILE} - {"output_dir", *OF_THE_PARENT}
    updates = {}
    for tag, resolved in project.languages.items():
        new = watched.languages[tag].watch
        if not new.update_usage:
            raise ConfigError(f"{project.origins[tag]}: {tag} has no update_usage; name a source of new usage")
        given = named_options(config, options, UpdateOptions, taken, language=tag)
        folder = Path(resolved.adapt.run.output_dir)
        updates[tag] = LanguageUpdate(folder, new.update_usage, new.update_train, new.update_test, as_flags(given))
    end_project(update_project(project.folder, updates, languages=project.origins), as_json=as_json)
