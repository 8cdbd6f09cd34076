"""Small real data for the real command: assistant commands, the packaged encoder, Gemma 3 270M."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable

import pytest

from forked import run_command
from small_data import Files


@pytest.fixture(scope="session")
def environment(files: Files) -> dict[str, str]:
    return {**os.environ, "COMPASS_CACHE": str(files.cache), "HF_HUB_OFFLINE": "1"}


@pytest.fixture(scope="session")
def compass(environment: dict[str, str]) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run the command in a process of its own and return what it printed."""

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return run_command(arguments, environment)

    return run
