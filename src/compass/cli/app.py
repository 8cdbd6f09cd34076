"""The list of commands, and what every one of them ends with."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from compass.cli.adapt import adapt, prepare, select, train
from compass.cli.compare import compare
from compass.cli.data import data
from compass.cli.evaluate import evaluate
from compass.cli.export import export
from compass.cli.help import HelpCommand
from compass.cli.info import env, report, strategies
from compass.cli.init import init
from compass.cli.inspect import inspect
from compass.cli.label import label
from compass.cli.monitor import monitor, watch
from compass.cli.printing import say
from compass.cli.process import (
    EXIT_BAD_INPUT,
    EXIT_BUG,
    EXIT_FAILED,
    EXIT_INTERRUPTED,
    traceback_of,
    write_error_report,
)
from compass.cli.registry import registry
from compass.cli.serve import dashboard, serve
from compass.cli.update import update
from compass.errors import CompassError, ConfigError, DataError
from compass.runs.files import is_full_disk
from compass.signals import end_with_parent

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["--help", "-h"]},
    help="Adapt an LLM to the languages that its users really speak.",
)
for command in (
    init,
    adapt,
    label,
    select,
    train,
    evaluate,
    compare,
    monitor,
    update,
    watch,
    serve,
    dashboard,
    export,
    inspect,
    report,
    strategies,
    env,
):
    app.command(cls=HelpCommand)(command)
app.command(cls=HelpCommand, hidden=True)(prepare)
app.add_typer(registry, name="registry")
app.add_typer(data, name="data")

NO_SUCH_PLACE = {
    errno.EACCES, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.ENOENT, errno.EPERM, errno.EROFS,
}  # fmt: skip
"""What the system says of a folder that can't be made or a file that can't be written."""


@app.callback(invoke_without_command=True)
def _version(
    version: Annotated[bool, typer.Option("--version", help="Print the version.", is_eager=True)] = False,
) -> None:
    if version:
        from importlib.metadata import version as installed

        say(installed("compass-peft"))
        raise typer.Exit


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with a code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    end_with_parent()
    debug = "--debug" in given
    if debug:
        given.remove("--debug")
    for stream in (sys.stdout, sys.stderr):
        # What a terminal's encoding has no character for is shown as an escape, and stops nothing.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        code = app(args=_with_dashes(given), prog_name="compass", standalone_mode=False)
    except (ConfigError, DataError) as error:
        _fail(str(error))
        code = EXIT_FAILED if is_full_disk(error.__cause__) else EXIT_BAD_INPUT
    except CompassError as error:
        _fail(str(error))
        code = EXIT_FAILED
    except (KeyboardInterrupt, typer.Abort):
        code = EXIT_INTERRUPTED
    except SystemExit as stopped:
        # typer turns Ctrl-C into an exit of its own.
        code = stopped.code
    except BrokenPipeError:
        # Who read the output, as `head`, has gone. Python would complain of it again when it ends.
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = EXIT_FAILED
    except Exception as error:
        if known := _of_the_system(error):
            _fail(known)
            code = EXIT_FAILED
        elif callable(show := getattr(error, "show", None)) and hasattr(error, "exit_code"):
            # click's own usage errors, without depending on its classes: typer may bring its own copy.
            show(text := io.StringIO())
            say(text.getvalue().rstrip("\n"), error=True)
            code = error.exit_code
        else:
            say(traceback_of(error).rstrip("\n"), error=True) if debug else _fail(_unexpected(error, given))
            code = EXIT_BUG
    if code == EXIT_INTERRUPTED:
        # The answers of `init` are written together, at its end.
        at_once = given[:1] == ["init"]
        _fail("Stopped. Nothing was written." if at_once else "Stopped. The same command resumes where it stopped.")
    sys.exit(code if isinstance(code, int) else 0)


def _with_dashes(arguments: Sequence[str]) -> list[str]:
    """Take options in the spelling of transformers too: `--lora_r 8` is `--lora-r 8`."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    spelt = []
    for argument in arguments[:end]:
        name, sign, value = argument.partition("=")
        spelt.append(f"{name.replace('_', '-')}{sign}{value}" if name.startswith("--") else argument)
    return [*spelt, *arguments[end:]]


def _of_the_system(error: Exception) -> str:
    """Return what to say of a full disk or a place that can't be written to; empty for other errors."""
    if is_full_disk(error):
        place = f" ({error.filename})" if isinstance(error, OSError) and error.filename else ""
        return f"The disk is full{place}. Free some space and run the same command again; it skips finished stages."
    if not isinstance(error, OSError):
        return ""
    if error.errno in (errno.EEXIST, errno.ENOTDIR) and error.filename:
        return f"{error.filename}: a folder is needed there, and a file is in its place. Name another."
    if error.errno in NO_SUCH_PLACE and error.filename:
        return f"{error.filename}: {error.strerror}. Choose a place that exists and that you may write to."
    return ""


def _unexpected(error: Exception, given: Sequence[str]) -> str:
    """Say that an error was not expected, and where its traceback is."""
    try:
        path = write_error_report(error, given)
    except OSError as full:
        return (
            f"An unexpected error: {type(error).__name__}. Its details can't be written ({full.strerror}); run the "
            "command again with --debug to see them."
        )
    return (
        f"An unexpected error: {type(error).__name__}. The details are in {path}; they may quote your data. Run the "
        "command again with --debug to see them here, and please report it with what you did."
    )


def _fail(message: str) -> None:
    say(f"compass: {message}", error=True)
