"""Work in processes of their own that need not load the libraries again.

torch, transformers and trl take seconds of a core to load: one process loads them, and each of these is a fork of it.
"""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

LOADED = (
    "compass.cli.app", "compass.recipes.adapt", "compass.training.trainer", "trl.trainer.sft_trainer",
    "transformers.models.llama.modeling_llama", "transformers.models.gemma3.modeling_gemma3",
)  # fmt: skip
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(list(LOADED))


class Forked:
    """A function of ours at work in a process of its own, to be killed as one of `subprocess` is."""

    def __init__(self, target: Callable[..., object], *arguments: object, **options: object) -> None:
        self._process = FORKS.Process(target=target, args=arguments, kwargs=options)
        self._process.start()
        assert self._process.pid is not None
        self.pid = self._process.pid

    def poll(self) -> int | None:
        """Return the exit code, None while the process runs."""
        return self._process.exitcode

    def wait(self) -> int:
        """Wait for the end and return the exit code."""
        self._process.join()
        assert self._process.exitcode is not None
        return self._process.exitcode


def run_command(arguments: Sequence[str], environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Run `compass` with these arguments and wait for its end."""
    with tempfile.TemporaryDirectory() as folder:
        out, error = Path(folder, "stdout"), Path(folder, "stderr")
        code = Forked(_command, arguments, dict(environment), out, error).wait()
        return subprocess.CompletedProcess(arguments, code, out.read_text("utf-8"), error.read_text("utf-8"))


def _command(arguments: Sequence[str], environment: Mapping[str, str], out: Path, error: Path) -> None:
    os.environ.clear()
    os.environ.update(environment)
    for number, path in ((1, out), (2, error)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    from compass.cli import main

    main(arguments)
