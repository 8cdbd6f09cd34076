"""The list of commands, and what every one of them ends with."""

from __future__ import annotations

import errno
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from compass.cli.adapt import adapt, prepare, select, train
from compass.cli.compare import compare
from compass.cli.evaluate import evaluate
from compass.cli.help import HelpCommand
from compass.cli.info import env, report, strategies
from compass.cli.monitor import monitor, watch
from compass.cli.process import EXIT_BAD_INPUT, EXIT_FAILED, EXIT_INTERRUPTED
from compass.cli.registry import registry
from compass.cli.update import update
from compass.errors import CompassError, ConfigError, DataError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Adapt an LLM to the languages that its users really speak.",
)
for command in (adapt, select, train, evaluate, compare, monitor, update, watch, report, strategies, env):
    app.command(cls=HelpCommand)(command)
app.command(cls=HelpCommand, hidden=True)(prepare)
app.add_typer(registry, name="registry")

NO_SUCH_PLACE = {
    errno.EACCES, errno.EEXIST, errno.EISDIR, errno.ENOENT, errno.ENOTDIR, errno.EPERM, errno.EROFS
}  # fmt: skip
"""What the system says of a folder that can't be made or a file that can't be written."""


@app.callback(invoke_without_command=True)
def _version(
    version: Annotated[bool, typer.Option("--version", help="Print the version.", is_eager=True)] = False,
) -> None:
    if version:
        from importlib.metadata import version as installed

        print(installed("compass-peft"))
        raise typer.Exit


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with a code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        code = app(args=_with_dashes(given), prog_name="compass", standalone_mode=False)
    except (ConfigError, DataError) as error:
        _fail(str(error))
        code = EXIT_BAD_INPUT
    except CompassError as error:
        _fail(str(error))
        code = EXIT_FAILED
    except (KeyboardInterrupt, typer.Abort):
        code = EXIT_INTERRUPTED
    except SystemExit as stopped:
        # typer turns Ctrl-C into an exit of its own.
        code = stopped.code
    except OSError as error:
        if error.errno == errno.ENOSPC:
            _fail(f"The disk is full{f' ({error.filename})' if error.filename else ''}. Free some space and run the "
                  "same command again; it skips finished stages.")  # fmt: skip
        elif error.errno in NO_SUCH_PLACE and error.filename:
            _fail(f"{error.filename}: {error.strerror}. Choose a place that exists and that you may write to; "
                  "finished stages are kept.")  # fmt: skip
        else:
            raise
        code = EXIT_FAILED
    except Exception as error:
        # click's own usage errors, without depending on its classes: typer may bring its own copy.
        show, exit_code = getattr(error, "show", None), getattr(error, "exit_code", None)
        if show is None or exit_code is None:
            raise
        show()
        code = exit_code
    if code == EXIT_INTERRUPTED:
        _fail("Stopped. The same command resumes where it stopped.")
    sys.exit(code if isinstance(code, int) else 0)


def _with_dashes(arguments: Sequence[str]) -> list[str]:
    """Take options in the spelling of transformers too: `--lora_r 8` is `--lora-r 8`."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    spelt = []
    for argument in arguments[:end]:
        name, sign, value = argument.partition("=")
        spelt.append(f"{name.replace('_', '-')}{sign}{value}" if name.startswith("--") else argument)
    return [*spelt, *arguments[end:]]


def _fail(message: str) -> None:
    print(f"compass: {message}", file=sys.stderr)
