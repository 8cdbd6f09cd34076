"""What the crash tests run in processes of their own: `python driver.py TASK ROOT ...`."""

from __future__ import annotations

import io
import itertools
import os
import resource
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from compass.errors import RegistryError
from compass.registry import Registry

TOUCHES_DISK = {
    "open", "replace", "rename", "mkdir", "chmod", "write", "flush", "close", "truncate", "ftruncate",
    "unlink", "rmdir", "link",
}  # fmt: skip

# Kills spare what the kernel holds: waiting for the disk changes nothing that they leave.
os.fsync = os.fstat  # type: ignore[assignment]

BESIDE = ("data/*", "eval/*", "selection/*", "logs/*", "space/*.p*")
"""What a version can do without: fewer files are fewer calls to be killed at."""


def kill_at(step: int) -> None:
    """Have the kernel kill this process right before its step-th call that can change the disk."""
    count = 0

    def watch(_frame: object, event: str, called: Any) -> None:
        nonlocal count
        if event != "c_call" or called.__name__ not in TOUCHES_DISK:
            return
        owner = called.__self__
        if getattr(owner, "__name__", "") in ("posix", "io", "_io") or isinstance(owner, io.IOBase):
            count += 1
            if count == step:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.setprofile(watch)


def other(registry: Registry) -> str:
    """Return the number, 1 or 2, that is not in production."""
    return "2" if registry.aliases("cy").current.startswith("v0001") else "1"


def crash(root: Path, operation: str, run: Path) -> None:
    """Kill the operation before each of its calls to the disk, and see after each kill that all is well."""
    # Reading YAML takes most of the time of a process whose calls are counted: the fewest options that make a run.
    (run / "compass.yaml").write_text("data:\n  language: cy\nevaluation:\n  confidence: 0.95\n", "ascii")
    step = 0
    survived = False
    while not survived:
        step += 1
        pid = os.fork()
        if pid == 0:
            work = prepare(root, operation, run, step)
            kill_at(step)
            work()
            os._exit(0)
        _pid, status = os.waitpid(pid, 0)
        survived = os.WIFEXITED(status) and os.WEXITSTATUS(status) == 0
        if not survived and not (os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL):
            sys.exit(f"{operation} failed at step {step} by itself")
        inspect(root, step)
        if operation in ("register", "prune"):
            # Every step begins with as many versions, or the calls to be killed at would grow faster than the steps.
            Registry(root, lock_timeout=5.0).prune("cy", keep=0)
    print(step - 1)


def prepare(root: Path, operation: str, run: Path, step: int) -> Callable[[], object]:
    """Return the operation to be killed."""
    registry = Registry(root, lock_timeout=5.0)
    if operation == "promote":
        name = other(registry)
        return lambda: registry.promote("cy", name)
    if operation == "rollback":
        registry.promote("cy", other(registry))
        return lambda: registry.rollback("cy")
    if operation == "register":
        # Another content each time, or a run that made it in would not be taken in again.
        (run / "training").mkdir(exist_ok=True)
        (run / "training" / "step.txt").write_text(str(step), "ascii")
        return lambda: registry.register(run, leave_out=BESIDE)
    if operation == "prune":
        (run / "training").mkdir(exist_ok=True)
        (run / "training" / "step.txt").write_text(f"prune {step}", "ascii")
        registry.register(run, candidate=False, leave_out=BESIDE)
        return lambda: registry.prune("cy", keep=0)
    raise ValueError(operation)


def inspect(root: Path, step: int) -> None:
    """Exit with a message unless production is whole, every visible version too, and the history without a gap."""
    registry = Registry(root, lock_timeout=5.0)
    production = registry.get("cy", "production")
    problems = [problem for check in registry.verify("cy") for problem in check.problems]
    history = registry.history("cy")
    if [move.sequence for move in history] != list(range(1, len(history) + 1)):
        problems.append("the history has a gap")
    moves = [move for move in history if move.action in ("promote", "rollback")]
    problems += [
        f"move {b.sequence} starts from {b.before}, not from {a.after}"
        for a, b in itertools.pairwise(moves)
        if a.after != b.before
    ]
    if moves[-1].after != production.id:
        problems.append("the history says another production than the alias")
    if problems:
        sys.exit(f"after a kill at step {step}: {problems}")


def promote_often(root: Path, times: int) -> None:
    """Promote whichever version is not in production, `times` times, against others who do the same."""
    registry = Registry(root, lock_timeout=60.0)
    done = 0
    while done < times:
        try:
            registry.promote("cy", other(registry))
            done += 1
        except RegistryError as error:
            if "already" not in str(error):
                raise


def promote_forever(root: Path) -> None:
    """Promote in turns until killed."""
    registry = Registry(root)
    print("ready", flush=True)
    while True:
        registry.promote("cy", other(registry))


def promote_over(root: Path, name: str, over: str, start: float) -> None:
    """Promote one version over another at a given time; print what became of it."""
    registry = Registry(root, lock_timeout=60.0)
    print("ready", flush=True)
    sys.stdin.readline()
    time.sleep(start)
    try:
        print(registry.promote("cy", name, over=over).after)
    except RegistryError as error:
        print(f"refused: {error}")


def limited(root: Path, operation: str, argument: str, limit: int) -> None:
    """Do something while no file may grow beyond `limit` bytes: to the program, a full disk."""
    registry = Registry(root)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    try:
        print(registry.promote("cy", argument) if operation == "promote" else registry.register(Path(argument)))
    except RegistryError as error:
        print(f"refused: {error}")


if __name__ == "__main__":
    task, folder, *rest = sys.argv[1:]
    if task == "crash":
        crash(Path(folder), rest[0], Path(rest[1]))
    elif task == "often":
        promote_often(Path(folder), int(rest[0]))
    elif task == "forever":
        promote_forever(Path(folder))
    elif task == "over":
        promote_over(Path(folder), rest[0], rest[1], float(rest[2]))
    elif task == "limited":
        limited(Path(folder), rest[0], rest[1], int(rest[2]))
    else:
        sys.exit(f"unknown task {task}")
