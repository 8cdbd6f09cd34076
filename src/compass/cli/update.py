"""The command that updates an adapter."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from compass.cli.flags import Json, Verbose, with_options
from compass.cli.printing import print_differences, print_result
from compass.cli.process import set_up_logging
from compass.config import (
    UPDATE_METHODS,
    AdaptConfig,
    UpdateOptions,
    fields_of,
    load_options,
    load_stored,
    named_options,
)
from compass.config.update import OF_THE_PARENT
from compass.errors import ConfigError
from compass.runs import layout

NEW = "New data"


@with_options(
    "run", "selection", "training", "evaluation", "update", "folder",
    of=UpdateOptions, refused=OF_THE_PARENT, 
    advanced=("seed", "strategy", "model_name_or_path", "lora_r", "per_device_train_batch_size"),
    explained={"Values of --method": {name: method.explanation for name, method in UPDATE_METHODS.items()}},
    defaults={option.name: "default: the parent's" for option in fields_of(AdaptConfig)} | {"output_dir": "required"},
)  # fmt: skip
def update(
    parent: Annotated[
        Path, typer.Argument(metavar="PARENT", help="Run folder of the adapter that serves; it is only read.")
    ],
    window: Annotated[
        str, typer.Argument(metavar="WINDOW", help="New usage: prompts, with responses where there are any.")
    ],
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
    json_: Json = False,
    verbose: Verbose = False,
    *,
    options: Any = None,
) -> None:
    """Adapt an adapter to new usage without losing the old.

    The update is a run folder of its own. Options that you leave out are the parent's.
    """
    set_up_logging(verbose)
    from compass.recipes.update import NewData
    from compass.recipes.update import update as run_update

    own = load_options(UpdateOptions, None, options)
    if "output_dir" not in (options or {}):
        raise ConfigError("--output-dir: name a folder for the update; the parent is not written to")
    given = named_options(None, options, UpdateOptions, {option.name for option in fields_of(AdaptConfig)})
    resolved = load_stored(parent / layout.CONFIG, given, allow_endpoint=own.folder.allow_endpoint)
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
