"""Small real data for the real command: assistant commands, the packaged encoder, Gemma 3 270M."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Callable

import pytest

from small_data import Files


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    from compass.data.assist import load_assist
    from compass.data.readers import write_jsonl

    folder = tmp_path_factory.mktemp("assist")
    data = load_assist("cy")
    write_jsonl(folder / "usage.jsonl", data.usage)
    write_jsonl(folder / "current.jsonl", data.train)
    write_jsonl(folder / "pool.jsonl", random.Random(0).sample(list(data.pool), 700))
    write_jsonl(folder / "test.jsonl", data.tests["cy"][:12])
    write_jsonl(folder / "english.jsonl", data.tests["en"][:6])
    return Files(folder, tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session")
def environment(files: Files) -> dict[str, str]:
    return {**os.environ, "COMPASS_CACHE": str(files.cache), "HF_HUB_OFFLINE": "1"}


@pytest.fixture(scope="session")
def compass(environment: dict[str, str]) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run the command as a user does and return what it printed."""

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "compass.cli", *arguments]
        return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)

    return run
