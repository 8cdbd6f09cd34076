"""The command that says what a person should answer first."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from compass.cli.flags import Config, Json, Verbose, with_options
from compass.cli.printing import print_labels, print_result
from compass.cli.process import set_up_logging
from compass.config import AdaptConfig, LabelOptions, load_options
from compass.config.knobs import fields_of, flag_of
from compass.errors import ConfigError

SECTIONS = ("run", "data", "encoder", "space", "label", "folder")
OF_A_NEW_RUN = frozenset(option.name for option in fields_of(AdaptConfig))
"""Options that a run folder has settled already."""


@with_options(*SECTIONS, also=("duplicate_similarity", "database", "retention_days"), of=LabelOptions)
def label(
    run: Annotated[
        Path | None, typer.Argument(metavar="[RUN]", help="Run folder to take the data from, instead of new data.")
    ] = None,
    kept: Annotated[
        bool, typer.Option("--kept", help="Use the prompts that the run's monitor keeps, not the run's usage.")
    ] = False,
    config: Config = None,
    json_: Json = False,
    verbose: Verbose = False,
    *,
    options: Any = None,
) -> None:
    """List the usage prompts that a person should answer first.

    Writes files to answer them in; nothing is trained. What comes back, also from Argilla or Label Studio, is read by
    --train.
    """
    set_up_logging(verbose)
    settled = [flag_of(name) for name in options if run and name in OF_A_NEW_RUN]
    if settled:
        raise ConfigError(
            f"label: {', '.join(settled)} and a run folder don't go together, because the folder has its own data and "
            "options. Leave one of them out"
        )
    if kept and not run:
        raise ConfigError("label: --kept needs the run folder whose monitor keeps the prompts")
    resolved = load_options(LabelOptions, config, options)
    from compass.recipes.label import label as run_label

    done = run_label(
        run or resolved.adapt,
        resolved.label.n,
        label_dir=resolved.label.label_dir,
        kept=resolved.monitor if kept else None,
        allow_endpoint=resolved.folder.allow_endpoint,
    )
    result = {**done.labels.to_dict(), **done.files, **({"report": done.report} if done.report else {})}
    shown = {name: value for name, value in result.items() if json_ or name in (*done.files, "report")}
    print_result(shown, json_, lambda: print_labels(done.labels))
