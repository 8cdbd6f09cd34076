"""A version: a finished run folder, copied in, with the hash of each of its files; and the check that it is whole.

versions/v0003-1a2b3c4d5e6f/
    manifest.json      identity, parent, trigger, metrics, time, and SHA-256 and size of each file
    run/               the run folder's files, read-only
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from compass.errors import RegistryError, RunError
from compass.registry.files import canonical, copy_hashed, read_sealed
from compass.runs import layout
from compass.runs.files import PARTIAL, file_hash

logger = logging.getLogger(__name__)

FORMAT = 1
NEEDED = (
    layout.CONFIG, layout.LOCK, layout.ADAPTER_CONFIG, layout.ADAPTER_WEIGHTS, layout.SPACE_SETTINGS,
    layout.SPACE_WEIGHTS,
)  # fmt: skip
"""Files without which a run can't be served, watched or repeated."""
MONITOR = f"{layout.MONITOR}/"
SCRATCH = (
    "*.lock", f"*{PARTIAL}", "*.part", f"*/{layout.CHECKPOINTS}/*", f"{layout.CHECKPOINTS}/*",
    f"{layout.TRAINING_PARTS}/*", f"{layout.OWN_EVALUATIONS}/*", f"{MONITOR}*",
)  # fmt: skip
"""What a run leaves behind for itself, what was evaluated in its folder besides, and a monitor's state: its database
grows, holds prompts where it may, and is purged of them."""
ACCOUNTS = (f"{layout.LOGS}/", layout.REPORT)
"""Kept and checked, but no part of the identity: the same adapter, drawn again, is the same version."""
FOLDER = re.compile(r"v(\d{4,})-([0-9a-f]{12})")


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
    files: int
    """Files that were hashed."""
    problems: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """No problem was found."""
        return not self.problems


def read_version(home: Path) -> Version:
    """Read a version's manifest. Raises RegistryError if it is missing, damaged, or of another format."""
    content = read_sealed(home / "manifest.json")
    if content.get("format") != FORMAT:
        raise RegistryError(
            f"{home / 'manifest.json'} has format {content.get('format')!r}; this release reads format {FORMAT}. "
            "Install the compass-peft that wrote it."
        )
    return Version(
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


def check_version(home: Path) -> Check:
    """Hash every file of a version and compare it with the manifest; nothing is raised for damage, it is listed."""
    try:
        version = read_version(home)
    except RegistryError as error:
        return Check(home.name, 0, (str(error),))
    problems = []
    if version.id != home.name or identity_of(version.files) != version.identity:
        problems.append(f"{home / 'manifest.json'} belongs to {version.id}, or its list of files isn't its identity's")
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


def check_run(folder: Path) -> None:
    """See that a run folder is finished. Raises RunError naming what is missing or not whole."""
    missing = [path for path in NEEDED if not (folder / path).is_file()]
    if missing:
        raise RunError(
            f"{folder} is not a finished run: {', '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing. "
            "Run the command that made it again: it goes on where it stopped."
        )
    hashes = json.loads((folder / layout.LOCK).read_text("utf-8")).get("hashes")
    if hashes and layout.ADAPTER_WEIGHTS not in hashes:
        raise RunError(
            f"{folder} is not a finished run: its lock.json names no adapter. It was not finished, or compass select "
            "picked new rows after its training. Run compass adapt in it."
        )
    for record in sorted((folder / layout.STAGE_RECORDS).glob("*.json")):
        outputs: dict[str, int] = json.loads(record.read_text("utf-8"))["outputs"]
        # The model card is written once more after the measurements.
        kept = {
            path: size for path, size in outputs.items() if not path.endswith(".md") and not path.startswith(MONITOR)
        }
        wrong = [path for path, size in kept.items() if _size(folder / path) != size]
        if wrong:
            raise RunError(
                f"{folder} is not a finished run: the stage {record.stem!r} wrote {wrong[0]}, which is missing or has "
                "another size now. Run the command that made it again."
            )


def run_files(folder: Path, leave_out: Sequence[str] = ()) -> tuple[list[str], list[str]]:
    """Return the paths to take in and those that `leave_out` (glob patterns) keeps out, sorted.

    Raises RunError for a symbolic link, and for a pattern that would leave out what a version needs.
    """
    taken, left = [], []
    for file in sorted(folder.rglob("*")):
        path = file.relative_to(folder).as_posix()
        if file.is_symlink():
            raise RunError(f"{file} is a symbolic link: what it points to can't be kept. Replace it by the file.")
        if file.is_dir() or any(fnmatch(path, pattern) for pattern in SCRATCH):
            continue
        if any(fnmatch(path, pattern) for pattern in leave_out):
            if path in NEEDED:
                raise RunError(f"leave_out must not match {path}: a version can't do without it; got {leave_out}")
            left.append(path)
        else:
            taken.append(path)
    return taken, left


def take_in(source: Path, target: Path, paths: Sequence[str], *, link: bool) -> dict[str, tuple[str, int]]:
    """Copy files, or hard-link the weights among them, and return SHA-256 and size by path. Raises OSError."""
    files = {}
    for path in paths:
        copy = target / path
        copy.parent.mkdir(parents=True, exist_ok=True)
        if link and path.endswith(".safetensors") and _linked(source / path, copy):
            files[path] = (file_hash(copy), copy.stat().st_size)
        else:
            files[path] = copy_hashed(source / path, copy)
        copy.chmod(0o444)
    return files


def check_against_lock(folder: Path, files: Mapping[str, tuple[str, int]]) -> None:
    """Compare the bytes taken in with the hashes that the run itself wrote down. Raises RunError if they differ."""
    lock = json.loads((folder / layout.LOCK).read_text("utf-8"))
    for path, sha in lock.get("hashes", {}).items():
        if path in files and files[path][0] != sha:
            raise RunError(
                f"{path} isn't what the run in {folder} wrote (lock.json has another SHA-256). Run the command that "
                "made it again, or use a run folder that nobody has edited."
            )


def run_metrics(folder: Path) -> dict[str, dict[str, float]]:
    """Return the adapter's metrics by test set and name, as the run measured them; empty where it measured nothing."""
    found: dict[str, dict[str, float]] = {}
    for path in sorted((folder / layout.ADAPTER_EVALUATION).glob("*.json")):
        summary = json.loads(path.read_text("utf-8"))
        found[summary["name"]] = {name: float(value["value"]) for name, value in summary["metrics"].items()}
    return found


def _linked(source: Path, target: Path) -> bool:
    try:
        os.link(source, target)
    except OSError as error:
        # Another file system, or one without hard links.
        logger.info("%s can't be hard-linked (%s): copied instead", source, error.strerror)
        return False
    return True


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else -1
