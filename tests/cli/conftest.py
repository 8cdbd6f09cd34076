"""The command line in this process. No model is loaded here."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from commands import Compass
from compass.cli import main
from compass.cli.process import NOISY


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    """The command sets up the log of its process: of later tests here, too."""
    logger = logging.getLogger("compass")
    handlers, propagate = logger.handlers, logger.propagate
    levels = {name: logging.getLogger(name).level for name in ("compass", *NOISY)}
    yield
    logger.handlers, logger.propagate = handlers, propagate
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)


@pytest.fixture
def compass(capsys: pytest.CaptureFixture[str]) -> Compass:
    """Run a command; return its exit code, stdout and stderr."""

    def run(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as exit_:
            main(arguments)
        captured = capsys.readouterr()
        return int(exit_.value.code or 0), captured.out, captured.err

    return run
