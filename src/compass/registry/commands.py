"""The commands that messages name, for the registry that they are about."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

from compass.config import RegistryConfig


def command(root: Path | str, *words: str) -> str:
    """Return `compass registry ...` as a shell takes it, with the folder of the registry if it is not the default."""
    return as_typed("compass", "registry", *words, *flag_of(root))


def flag_of(root: Path | str) -> tuple[str, ...]:
    """Return the flag that names a registry's folder; none for the default."""
    return () if Path(root) == Path(RegistryConfig().registry_dir) else ("--registry-dir", str(root))


def as_typed(*line: str) -> str:
    """Return a command as a shell takes it."""
    return subprocess.list2cmdline(line) if sys.platform == "win32" else shlex.join(line)


def no_folder(root: Path | str) -> str:
    """Say that a registry's folder is none, and which command begins one."""
    return f"{root} is not a folder. Register a run: `{command(root, 'add', 'RUN')}`"
