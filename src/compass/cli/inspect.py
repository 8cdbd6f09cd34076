"""`compass inspect`: how sources are understood, before anything is made of them."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from compass.cli.flags import Config, Json, Verbose, with_options
from compass.cli.printing import print_inspected, print_json
from compass.cli.process import EXIT_BAD_INPUT, set_up_logging
from compass.config import AdaptConfig, load_config, named_options


@with_options(
    also=(
        "columns", "language", "max_chars", "near_duplicates", "identify_languages", "streaming",
        "model_name_or_path", "model_revision", "trust_remote_code", "max_length",
    ),
    basic=("max_length",),
    defaults={"model_name_or_path": "default: none"},
)  # fmt: skip
def inspect(
    sources: Annotated[list[str], typer.Argument(metavar="SOURCE...", help="Files, folders or hub data sets.")],
    config: Config = None,
    json_: Json = False,
    verbose: Verbose = False,
    *,
    options: Any = None,
) -> None:
    """Show how sources are read, and which rows would be dropped. Exit code 2: no row of a source can be used.

    With a model, lengths are in its tokens, and rows above max_length are counted. Without one, they are in words.
    """
    set_up_logging(verbose)
    from compass.steps import inspect as step
    from compass.steps.resources import Resources

    resources, tokenizer = Resources(load_config(config, options)), None
    if named_options(config, options, AdaptConfig, {"model_name_or_path"}):
        tokenizer = resources.tokenizer
    data, longest = resources.config.data, resources.config.training.max_length
    found = []
    for source in sources:
        found.append(step.inspect(source, data, tokenizer=tokenizer, max_length=longest))
        if not json_:
            # At once: a later source that can't be read takes nothing away.
            print_inspected(found[-1])
    if json_:
        print_json(found)
    if not all(one.usable for one in found):
        raise typer.Exit(EXIT_BAD_INPUT)
