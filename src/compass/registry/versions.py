"""A version: a finished run folder, copied in, with the hash of each of its files; and the check that it is whole.

versions/v0003-1a2b3c4d5e6f/
    manifest.json      identity, parent, trigger, metrics, time, and SHA-256 and size of each file
    run/               the run folder's files, read-only
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from compass.errors import RegistryError
from compass.registry.files import canonical, read_sealed
from compass.runs import layout
from compass.runs.files import file_hash

FORMAT = 1
ACCOUNTS = (f"{layout.LOGS}/", f"{layout.LABEL}/", layout.REPORT)
"""Kept and checked, but no part of the identity: the same adapter, drawn again, is the same version."""


@dataclass(frozen=True)
class Version:
    """One immutable version of one language."""

    id: str
    """`v0003-1a2b3c4d5e6f`: the number, which is never used again, and the start of the identity."""
    number: int
    language: str
    identity: str
    """SHA-256 over path and SHA-256 of each file that decides what is served."""
    parent: str
    """Id of the version that this one was trained from; empty for a first one."""
    trigger: str
    """What caused it: `adapt`, `drift`, `schedule`, `manual`, or another word of the caller's."""
    metrics: Mapping[str, Mapping[str, float]]
    """Value by test set and metric, as measured by the run or handed in."""
    created_at: str
    """ISO 8601, UTC."""
    files: Mapping[str, tuple[str, int]]
    """SHA-256 and size in bytes by path within the run folder."""
    folder: Path
    """Where the run's files are."""
    left_out: tuple[str, ...] = ()
    """Files of the run folder that were not taken in, on request."""
    notes: Mapping[str, Any] = field(default_factory=dict)

    @property
    def adapter(self) -> Path:
        """The folder that a server loads."""
        return self.folder / layout.ADAPTER

    @property
    def space(self) -> Path:
        """The frozen space that drift is measured in."""
        return self.folder / layout.SPACE

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(size for _hash, size in self.files.values())

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form, as in `manifest.json`."""
        return {
            "format": FORMAT,
            "id": self.id,
            "number": self.number,
            "language": self.language,
            "identity": self.identity,
            "parent": self.parent,
            "trigger": self.trigger,
            "metrics": {name: dict(values) for name, values in self.metrics.items()},
            "created_at": self.created_at,
            "left_out": list(self.left_out),
            "notes": dict(self.notes),
            "files": {path: {"sha256": sha, "size": size} for path, (sha, size) in self.files.items()},
        }


@dataclass(frozen=True)
class Check:
    """Whether a version is what was registered; `problems` names each file that is not."""

    id: str
    """Of the version; `state.json`, `history.jsonl` or `versions` are there only if they are damaged."""
    files: int
    """Files that were hashed."""
    problems: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """No problem was found."""
        return not self.problems


def read_version(home: Path) -> Version:
    """Read a version's manifest. Raises RegistryError if it is missing, damaged, or of another format."""
    content = read_sealed(home / "manifest.json", "Restore it from a backup, or register the run again.")
    if content.get("format") != FORMAT:
        raise RegistryError(
            f"{home / 'manifest.json'} has format {content.get('format')!r}; this release reads format {FORMAT}. "
            "Install the compass-peft that wrote it."
        )
    version = Version(
        id=content["id"],
        number=content["number"],
        language=content["language"],
        identity=content["identity"],
        parent=content["parent"],
        trigger=content["trigger"],
        metrics=content["metrics"],
        created_at=content["created_at"],
        files={path: (entry["sha256"], entry["size"]) for path, entry in content["files"].items()},
        folder=home / "run",
        left_out=tuple(content["left_out"]),
        notes=content["notes"],
    )
    if version.id != home.name or identity_of(version.files) != version.identity:
        raise RegistryError(
            f"{home / 'manifest.json'} belongs to {version.id}, or its list of files does not match its id. Restore it "
            "from a backup, or register the run again."
        )
    return version


def damage_of(version: Version) -> tuple[str, ...]:
    """Return what is wrong with the files of a version that decide what is served; a file is hashed once, until it
    changes in size or time."""
    served = {layout.CONFIG, layout.LOCK}
    problems = []
    for path, (sha, _size) in version.files.items():
        if path in served or path.startswith((f"{layout.ADAPTER}/", f"{layout.SPACE}/")):
            problems += _problem(version.folder / path, sha)
    return tuple(problems)


def _problem(file: Path, sha: str) -> list[str]:
    try:
        found = file.stat()
        same = _hash_at(file, found.st_size, found.st_mtime_ns, found.st_ctime_ns) == sha
    except OSError as error:
        return [f"{file} can't be read ({error.strerror})"]
    return [] if same else [f"{file} has changed: its SHA-256 isn't the registered one"]


@lru_cache(maxsize=4096)
def _hash_at(file: Path, size: int, modified: int, changed: int) -> str:
    return file_hash(file)


def check_version(home: Path) -> Check:
    """Hash every file of a version and compare it with the manifest; nothing is raised for damage, it is listed."""
    try:
        version = read_version(home)
    except RegistryError as error:
        return Check(home.name, 0, (str(error),))
    problems = []
    for path, (sha, size) in version.files.items():
        file = version.folder / path
        try:
            found = file.stat().st_size
            if found != size:
                problems.append(f"{file} has {found} bytes instead of {size}")
            elif file_hash(file) != sha:
                problems.append(f"{file} has changed: its SHA-256 isn't the registered one")
        except OSError as error:
            problems.append(f"{file} can't be read ({error.strerror})")
    present = {str(path.relative_to(version.folder)) for path in version.folder.rglob("*") if not path.is_dir()}
    problems += [f"{version.folder / path} isn't in the manifest" for path in sorted(present - set(version.files))]
    return Check(version.id, len(version.files), tuple(problems))


def identity_of(files: Mapping[str, tuple[str, int]]) -> str:
    """Return the content hash of a set of files: SHA-256 over each path and its SHA-256."""
    deciding = {path: sha for path, (sha, _size) in files.items() if not path.startswith(ACCOUNTS)}
    return hashlib.sha256(canonical(deciding)).hexdigest()


@dataclass(frozen=True)
class Pruned:
    """What a prune took away, what it kept and why."""

    removed: tuple[str, ...]
    kept: Mapping[str, str]
    """Reason by id."""
    freed: int
    """Bytes."""
