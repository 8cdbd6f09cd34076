"""The command line in this process. No model is loaded here."""

from __future__ import annotations

import pytest

from commands import Compass
from compass.cli import main
from logging_as_before import logging_as_before

__all__ = ["compass", "logging_as_before"]


@pytest.fixture
def compass(capsys: pytest.CaptureFixture[str]) -> Compass:
    """Run a command; return its exit code, stdout and stderr."""

    def run(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as exit_:
            main(arguments)
        captured = capsys.readouterr()
        return int(exit_.value.code or 0), captured.out, captured.err

    return run
