"""Print the entries of requirements/lock.txt for the packages that a file names: `locked.py packages-gateway.txt`.

So the images install what the project is tested with, by its hashes, and the lock is the only place with versions.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

LOCK = Path(__file__).parent.parent / "requirements" / "lock.txt"
ENTRY = re.compile(r"^(?P<name>[A-Za-z0-9][\w.-]*)==.*\n(?:[ \t]+.*\n)*", re.M)


def named(file: Path) -> list[str]:
    """Return the packages that a file names, one a line; `#` begins a comment."""
    lines = (line.partition("#")[0].strip() for line in file.read_text("utf-8").splitlines())
    return [line for line in lines if line]


def locked(names: list[str]) -> str:
    """Return the lock's entries of packages. Raises SystemExit with those that are not in it."""
    entries = {found["name"]: found[0] for found in ENTRY.finditer(LOCK.read_text("utf-8"))}
    if missing := [name for name in names if name not in entries]:
        raise SystemExit(f"{LOCK.name} has no {', '.join(missing)}. Run make lock, or correct the list.")
    return "".join(entries[name] for name in names)


if __name__ == "__main__":
    print(locked(named(Path(sys.argv[1]))), end="")
