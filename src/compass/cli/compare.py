"""The command that compares strategies."""

from __future__ import annotations

from typing import Any

from compass.cli.adapt import SECTIONS
from compass.cli.flags import Config, DryRun, Json, Verbose, with_options
from compass.cli.printing import print_comparisons, print_grid, print_result
from compass.cli.process import set_up_logging
from compass.config import CompareConfig, load_options
from compass.errors import ConfigError

REFUSED = {
    name: f"a comparison has several; write --{several}, once for each"
    for name, several in (("strategy", "strategies"), ("budget", "budgets"), ("seed", "seeds"))
}
ADVANCED = ("max_new_tokens", "max_length")


@with_options(*SECTIONS, "grid", of=CompareConfig, refused=REFUSED, advanced=ADVANCED)
def compare(
    config: Config = None,
    json_: Json = False,
    dry_run: DryRun = False,
    verbose: Verbose = False,
    *,
    options: Any = None,
) -> None:
    """Compare selection strategies at equal budget and steps.

    Writes paired statistics and a report. The same command resumes a comparison that was stopped.
    """
    set_up_logging(verbose)
    if (only := (options or {}).get("language")) is not None:
        if "languages" in options:
            raise ConfigError("--language and --languages: give all languages with --languages")
        # As for a project: one of the languages that the file names.
        options = {**options, "languages": [only]}
    resolved = load_options(CompareConfig, config, options)
    from compass.recipes.compare import compare as run_compare
    from compass.recipes.compare import grid

    if dry_run:
        print_grid(grid(resolved), as_json=json_)
        return
    done = run_compare(resolved)
    result = {
        "folder": done.folder,
        "report": done.report,
        "cells": done.cells,
        "comparisons": done.comparisons,
        "left_out": done.left_out,
    }
    print_result(result, json_, lambda: print_comparisons(done.comparisons))
