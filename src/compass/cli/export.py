"""The command that writes a run in the form that a server loads."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from compass.cli.flags import Config, Json, Verbose, with_options
from compass.cli.printing import print_result
from compass.cli.process import set_up_logging
from compass.config import AdaptConfig, ExportOptions, load_options, named_options
from compass.config.export import EXPORTS
from compass.config.knobs import fields_of
from compass.errors import ConfigError

OF_THE_RUN = ("model_name_or_path", "trust_remote_code", "dtype", "cache_dir")
"""Options of the run that may differ now."""


@with_options(
    "export",
    also=OF_THE_RUN,
    of=ExportOptions,
    advanced=("cache_dir", "model_name_or_path"),
    defaults={"model_name_or_path": "default: the run's", "dtype": "default: the run's"},
    explained={"What it can be exported to": EXPORTS},
)
def export(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Run folder, or the run folder of a registry version.")],
    config: Config = None,
    json_: Json = False,
    verbose: Verbose = False,
    *,
    options: Any = None,
) -> None:
    """Convert a run for vLLM, llama.cpp or transformers.

    Prompts get the token ids that training and evaluation saw. The command that starts a server is printed.
    """
    set_up_logging(verbose)
    resolved = load_options(ExportOptions, config, options)
    if not resolved.export.to:
        raise ConfigError(f"export: say what the run is exported to: --to {', --to '.join(EXPORTS)}")
    names = {option.name for option in fields_of(AdaptConfig)} & set(OF_THE_RUN)
    from compass.recipes.export import export as run_export

    done = run_export(run, resolved.export, overrides=named_options(config, options, ExportOptions, names))
    print_result(asdict(done), json_, lambda: None)
