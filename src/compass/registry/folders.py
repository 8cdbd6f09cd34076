"""A language's folder: which versions are in it, by which names they go, and which number is the next.

registry/cy/versions/v0001-1a2b3c4d5e6f/
"""

from __future__ import annotations

import contextlib
import logging
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

from compass.data.languages import normalize_tag
from compass.errors import LanguageError, RegistryError
from compass.registry.aliases import HISTORY, STATE, read_aliases
from compass.registry.files import entries, is_there

logger = logging.getLogger(__name__)

FOLDER = re.compile(r"v(\d{4,})-([0-9a-f]{12})")
INCOMING, REMOVED = LEFT = (".incoming-", ".removed-")
"""Beginnings of the names of versions that are being added or removed."""
ALIASES = ("candidate", "production", "previous")


def languages_in(root: Path) -> tuple[str, ...]:
    """Return the languages of a registry, sorted: those with a version, with aliases, or that can't be looked into.

    Raises RegistryError if the registry itself can't be read.
    """
    return tuple(sorted(path.name for path in entries(root) if _is_tag(path.name) and _is_in_use(path)))


def _is_tag(name: str) -> bool:
    try:
        return normalize_tag(name) == name
    except LanguageError:
        return False


def _is_in_use(folder: Path) -> bool:
    try:
        return bool(homes(folder)) or is_there(folder / STATE) or is_there(folder / HISTORY)
    except RegistryError:
        # Whoever reads it is told why not.
        return True


def homes(folder: Path) -> list[Path]:
    """Return the folders of a language's versions, oldest first."""
    found = [path for path in entries(folder / "versions") if FOLDER.fullmatch(path.name)]
    return sorted(found, key=lambda path: (number_of(path.name), path.name))


def number_of(id: str) -> int:
    """Return the number in a version's id; 0 for an empty id, or one that has none."""
    head = id[1:].partition("-")[0]
    return int(head) if head.isdecimal() else 0


def last_number(folder: Path) -> int:
    """Return the highest number that a version has or had."""
    on_disk = [number_of(home.name) for home in homes(folder)]
    with contextlib.suppress(RegistryError):
        on_disk.append(read_aliases(folder).last_number)
    return max(on_disk, default=0)


def home_of(folder: Path, id: str) -> Path:
    """Return the folder of a version. Raises RegistryError if it is gone."""
    home = folder / "versions" / id
    if not home.is_dir():
        raise RegistryError(f"Version {id} of {folder.name} is gone from {home.parent}. Restore it from a backup.")
    return home


def id_of(folder: Path, name: str) -> str:
    """Return the id of the version with a name: an alias, a number, an id, or six or more characters of its hash.

    Raises RegistryError if there is none, or more than one.
    """
    name = name.strip()
    ids = [home.name for home in homes(folder)]
    if name in ids:
        return name
    if name in ALIASES:
        now = read_aliases(folder)
        named = dict(zip(ALIASES, (now.candidate, now.current, now.previous), strict=True))[name]
        if not named:
            serves = f" {now.current} is in production." if now.current else ""
            raise RegistryError(f"No version of {folder.name} is {name!r}.{serves} Versions: {listed(ids)}.")
        return named
    digits = name.removeprefix("v")
    found = [id for id in ids if digits.isdecimal() and number_of(id) == int(digits)]
    if not found and len(name) >= 6:
        found = [id for id in ids if id.partition("-")[2].startswith(name[:12])]
    if len(found) != 1:
        problem = f"{name!r} stands for several versions" if found else f"There is no version {name!r}"
        raise RegistryError(f"{problem} of {folder.name}. Versions: {listed(found or ids)}.")
    return found[0]


def clear_leftovers(folder: Path) -> None:
    """Remove what a killed process left. The caller holds the lock that its maker would hold."""
    # Other hidden entries are somebody else's: a file manager's, a file system's.
    for leftover in (home for kind in LEFT for home in (folder / "versions").glob(f"{kind}*")):
        logger.info("Removed %s, which a killed process left", leftover)
        shutil.rmtree(leftover, ignore_errors=True)


def listed(names: Sequence[str]) -> str:
    """Return names in a row, or `none`."""
    return ", ".join(names) or "none"
