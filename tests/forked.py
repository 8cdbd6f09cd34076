"""Work in processes of their own that need not load the libraries again.

torch, transformers and trl take eight seconds of a core to load: one process loads them, and each of these is a fork of
it. So are the commands that a command of these starts itself, as `compass compare` its cells: it finds a stand-in for
Python that asks for a fork.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import multiprocessing
import os
import runpy
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

LOADED = (
    "compass.cli.app", "compass.recipes.adapt", "compass.training.trainer", "compass.drift", "compass.registry",
    "sqlalchemy.dialects.sqlite", "trl.trainer.sft_trainer",
    "transformers.models.llama.modeling_llama", "transformers.models.gemma3.modeling_gemma3",
    "sklearn.manifold", "plotly.graph_objects", "pydantic", "py3langid", "rensa", "warm", "settled",
)  # fmt: skip
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(list(LOADED))

STAND_IN = """#!{python} -IS
import json, os, socket, sys
if sys.argv[1:3] != ["-m", "compass.cli"]:
    os.execv({python!r}, [{python!r}, *sys.argv[1:]])
with socket.socket(socket.AF_UNIX) as server:
    server.connect({address!r})
    wanted = {{"arguments": sys.argv[3:], "environment": dict(os.environ), "folder": os.getcwd(), "pid": os.getpid()}}
    server.sendall(json.dumps(wanted).encode() + b"\\n")
    sys.exit(int(server.makefile().read()) % 256)
"""
"""Runs `-m compass.cli ...` as a fork and ends as it does; killed, it takes the fork with it."""


_ONE_AT_A_TIME = threading.Lock()
"""Each start of a process asks what became of the others: two threads must not read one exit code."""


class Forked:
    """A function of ours at work in a process of its own, to be killed as one of `subprocess` is."""

    def __init__(self, target: Callable[..., object], *arguments: object, **options: object) -> None:
        self._process = FORKS.Process(target=target, args=arguments, kwargs=options)
        with _ONE_AT_A_TIME:
            self._process.start()
        assert self._process.pid is not None
        self.pid = self._process.pid

    def poll(self) -> int | None:
        """Return the exit code, None while the process runs."""
        with _ONE_AT_A_TIME:
            return self._process.exitcode

    def wait(self) -> int:
        """Wait for the end and return the exit code."""
        while (code := self.poll()) is None:
            time.sleep(0.01)
        return code


def start_command(
    arguments: Sequence[str], environment: Mapping[str, str], out: Path, error: Path, folder: str = ""
) -> Forked:
    """Start `compass` with these arguments and its output in two files. It leads a process group of its own."""
    return Forked(_command, arguments, dict(environment), out, error, folder or os.getcwd(), _stand_in())


def run_command(arguments: Sequence[str], environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Run `compass` with these arguments and wait for its end."""
    return _finished(arguments, lambda out, error: start_command(arguments, environment, out, error))


def start_script(
    script: Path, arguments: Sequence[str], environment: Mapping[str, str], folder: Path, out: Path, error: Path
) -> Forked:
    """Start a Python file with these arguments in a folder, its output in two files, leading a process group."""
    return Forked(_script, [str(script), *arguments], dict(environment), out, error, str(folder), _stand_in())


def run_script(
    script: Path, arguments: Sequence[str], environment: Mapping[str, str], folder: Path
) -> subprocess.CompletedProcess[str]:
    """Run a Python file with these arguments in a folder and wait for its end."""
    return _finished(
        [str(script), *arguments], lambda out, error: start_script(script, arguments, environment, folder, out, error)
    )


def _finished(arguments: Sequence[str], start: Callable[[Path, Path], Forked]) -> subprocess.CompletedProcess[str]:
    with tempfile.TemporaryDirectory() as folder:
        out, error = Path(folder, "stdout"), Path(folder, "stderr")
        code = start(out, error).wait()
        return subprocess.CompletedProcess(arguments, code, out.read_text("utf-8"), error.read_text("utf-8"))


def _command(arguments: Sequence[str], *surroundings: object) -> None:
    _enter(*surroundings)  # type: ignore[arg-type]
    from compass.cli import main

    main(arguments)


def _script(arguments: Sequence[str], *surroundings: object) -> None:
    _enter(*surroundings)  # type: ignore[arg-type]
    sys.argv = list(arguments)
    sys.path.insert(0, str(Path(arguments[0]).parent))
    runpy.run_path(arguments[0], run_name="__main__")


def _enter(environment: Mapping[str, str], out: Path, error: Path, folder: str, python: str) -> None:
    os.setsid()
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    for number, path in ((1, out), (2, error)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND), number)
    sys.executable = python


_PYTHON: list[str] = []


def _stand_in() -> str:
    """Return the path of the stand-in for Python, whose wishes a thread of this process fulfils."""
    if not _PYTHON:
        folder = Path(tempfile.mkdtemp(prefix="forks-"))
        server = socket.socket(socket.AF_UNIX)
        server.bind(str(folder / "socket"))
        server.listen()
        path = folder / "python"
        path.write_text(STAND_IN.format(python=sys.executable, address=str(folder / "socket")), "utf-8")
        path.chmod(0o700)
        _PYTHON.append(str(path))
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        threading.Thread(target=_serve, args=(server,), daemon=True).start()
    return _PYTHON[0]


def _serve(server: socket.socket) -> None:
    while True:
        asking, _ = server.accept()
        threading.Thread(target=_fulfil, args=(asking,), daemon=True).start()


def _fulfil(asking: socket.socket) -> None:
    with asking, asking.makefile() as lines:
        if not (line := lines.readline()):
            return
        wanted = json.loads(line)
        out, error = (Path(f"/proc/{wanted['pid']}/fd/{number}") for number in (1, 2))
        process = start_command(wanted["arguments"], wanted["environment"], out, error, wanted["folder"])
        while (code := process.poll()) is None:
            if select.select([asking], [], [], 0.02)[0]:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                return
        with contextlib.suppress(BrokenPipeError):
            asking.sendall(str(code).encode())
            asking.shutdown(socket.SHUT_WR)
