"""The command that begins a project: five questions, or flags, and a file."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from compass.cli.flags import Verbose, with_options
from compass.cli.printing import say
from compass.cli.process import set_up_logging
from compass.config import AdaptConfig
from compass.errors import CompassError, ConfigError
from compass.runs import layout

if TYPE_CHECKING:
    from compass.recipes.init import Answers

Answer = TypeVar("Answer")
NO_DEFAULT = ""


@with_options(
    also=("language", "usage", "train", "pool", "model_name_or_path", "output_dir", "columns"),
    repeatable=("language", "usage"),
    defaults={"language": "required without a terminal", "output_dir": "default: runs"},
)
def init(
    file: Annotated[Path, typer.Argument(metavar="[FILE]", help="File to write.")] = Path(layout.CONFIG),
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Ask nothing; use defaults for the rest.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Overwrite an existing file.")] = False,
    verbose: Verbose = False,
    *,
    options: Any = None,
) -> None:
    """Write the file of a project, and check its sources.

    Asks five questions on a terminal: languages, usage, training data, pool and base model. Flags answer them, too. A
    source for one language of several is written cy=FILE; {language} in a source stands for the tag.
    """
    set_up_logging(verbose)
    asks = sys.stdin.isatty() and not yes
    _check_place(file, force=force, asks=asks)
    from compass.recipes.init import write_project

    write_project(file, _answers(options, asks=asks))
    say(f"Written: {file.resolve()}")
    say(f"Next: compass adapt --config {shlex.quote(str(file))}")


def _check_place(file: Path, *, force: bool, asks: bool) -> None:
    """Raise ConfigError for a file that is there, unless it may be written over."""
    if not file.exists() or force:
        return
    if not asks or not typer.confirm(f"{file} is there. Write over it?"):
        raise ConfigError(f"{file} already exists, and nothing was written; name another file, or give --force")


def _answers(options: Any, *, asks: bool) -> Answers:
    """Put the questions that no flag answers, and check each answer before the next question."""
    from compass.recipes import init as recipe

    plain = AdaptConfig()

    def languages(said: Sequence[str]) -> tuple[str, ...]:
        return recipe.languages_of(said)

    tags = _asked(options, "language", "1. Languages, as tags (cy, el, pt-BR)", NO_DEFAULT, languages, asks=asks)
    known = recipe.Answers(tags, {}, {}, (), "", options.get("output_dir", "runs"), options.get("columns"))

    def set_of(part: str) -> Callable[[Sequence[str]], dict[str, str]]:
        def checked(said: Sequence[str]) -> dict[str, str]:
            found = recipe.sources_of(part, said, tags)
            _tell(recipe.look_at_sets(part, found, known))
            return found

        return checked

    def pool(said: Sequence[str]) -> tuple[str, ...]:
        _tell(recipe.look_at_pool(said, known))
        return tuple(said)

    def model(said: Sequence[str]) -> str:
        _tell([recipe.look_at_model(said[0])])
        return said[0]

    usage = _asked(
        options, "usage", "2. Usage: what your users ask, for example logs/{language}.jsonl", plain.data.usage,
        set_of("usage"), asks=asks,
    )  # fmt: skip
    train = _asked(
        options, "train", "3. Training data there is, or none", plain.data.train[0], set_of("train"), asks=asks
    )
    sources = _asked(
        options, "pool", "4. Pool: examples in many languages to pick from", plain.data.pool[0], pool, asks=asks
    )
    base = plain.training.model_name_or_path
    name = _asked(options, "model_name_or_path", "5. Base model", base, model, asks=asks)
    return replace(known, usage=usage, train=train, pool=sources, model_name_or_path=name)


def _asked(
    options: Any,
    name: str,
    question: str,
    default: str,
    check: Callable[[Sequence[str]], Answer],
    *,
    asks: bool,
) -> Answer:
    """Return a flag's value, an answer, or the default, once it holds; an answer that does not is asked for again."""
    if name in options or not asks:
        said = options.get(name, default)
        return check([said] if isinstance(said, str) else said)
    while True:
        said = str(typer.prompt(question, default=default or None))
        try:
            return check([part.strip() for part in said.split(",") if part.strip()])
        except CompassError as error:
            say(f"  {error}")


def _tell(lines: Sequence[str]) -> None:
    for line in lines:
        say(f"  {line}")
