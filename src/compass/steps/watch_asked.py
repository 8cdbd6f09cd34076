"""A person asks the watch loop of a language for an update: a file in its folder, which the loop takes away.

What a person asks for waits neither for a drift nor for the quiet period or the budget of updates; new usage it needs
like any other, and the gate decides on what comes of it.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from compass.errors import RegistryError
from compass.registry.files import read_sealed, write_sealed

FILE = "asked.json"
LOCK = "watch.lock"


@dataclass(frozen=True)
class Asked:
    """Who asked for an update, when and why."""

    by: str
    at: str
    """ISO 8601, UTC."""
    reason: str = ""


def ask(folder: Path, asked: Asked) -> None:
    """Leave the wish in a loop's folder. Raises OSError."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_sealed(folder / FILE, asdict(asked))


def asked_of(folder: Path) -> Asked | None:
    """Return what was asked for; None where nothing was, or the file is damaged."""
    try:
        content = read_sealed(folder / FILE) if (folder / FILE).is_file() else None
        return Asked(*(str(content[name]) for name in ("by", "at", "reason"))) if content else None
    except (RegistryError, KeyError):
        return None


def answered(folder: Path) -> None:
    """Take the wish away: it was followed, or refused."""
    (folder / FILE).unlink(missing_ok=True)


def loop_runs(folder: Path) -> bool:
    """Say whether a process works in a loop's folder."""
    if not folder.is_dir():
        return False
    try:
        with FileLock(folder / LOCK, timeout=0):
            return False
    except Timeout:
        return True
    except OSError:
        # Somebody else's folder: whoever made it may be at work.
        return True
