"""What the process of a command sets up and ends with: its log and its exit code."""

from __future__ import annotations

import logging
import os
import shlex
import sys
import tempfile
import traceback
import warnings
from collections.abc import Sequence

from compass.sanitize import arguments_without_secrets, printable, without_secrets

EXIT_FAILED, EXIT_BAD_INPUT, EXIT_DRIFT, EXIT_BUG, EXIT_INTERRUPTED = 1, 2, 3, 70, 130
"""Exit codes: something failed; the options or the data are wrong; a drift test is in alarm, or the gate did not
pass a version; an error that COMPASS did not expect; stopped by Ctrl-C (the same command resumes)."""
NOISY = ("ContinuousBatchingLogger", "transformers", "trl", "peft", "datasets", "accelerate", "bitsandbytes", "httpx")
"""Libraries that log errors alone, unless --verbose asks for more."""


class _Safe(logging.Formatter):
    """Writes a record as one line that a terminal only shows, without secrets; lines after the first are indented."""

    def format(self, record: logging.LogRecord) -> str:
        return printable(without_secrets(super().format(record)), line=True)


def set_up_logging(verbose: bool) -> None:
    """Log to stderr: for people in a terminal, with times elsewhere."""
    handler: logging.Handler
    if sys.stderr.isatty():
        from rich.console import Console
        from rich.logging import RichHandler

        handler = RichHandler(console=Console(stderr=True), show_path=False, show_level=False)
        handler.setFormatter(_Safe("%(message)s"))
    else:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(_Safe("%(asctime)s %(levelname)s %(message)s", "%H:%M:%S"))
    logger = logging.getLogger("compass")
    logger.handlers = [handler]
    logger.setLevel(logging.DEBUG if verbose else logging.INFO)
    logger.propagate = False
    if not verbose:
        warnings.simplefilter("ignore")
        for noisy in NOISY:
            logging.getLogger(noisy).setLevel(logging.ERROR)


def write_error_report(error: BaseException, arguments: Sequence[str]) -> str:
    """Write an unexpected error with its traceback to a file that only its owner can read; return the file's path.

    Passwords and keys are left out, so that it can be sent on."""
    command = shlex.join(arguments_without_secrets(arguments))
    text = f"compass {command}\nPython {sys.version}\n\n{traceback_of(error)}"
    descriptor, path = tempfile.mkstemp(prefix="compass-error-", suffix=".txt")
    with os.fdopen(descriptor, "w", encoding="utf-8", errors="backslashreplace") as file:
        file.write(text)
    return path


def traceback_of(error: BaseException) -> str:
    """Return an error's traceback without secrets."""
    return without_secrets("".join(traceback.format_exception(error)))
