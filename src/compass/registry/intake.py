"""What is taken out of a finished run folder into a version: its files, checked, copied and hashed."""

from __future__ import annotations

import errno
import logging
import math
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from compass.errors import RunError
from compass.registry.files import copy_hashed, write_sealed
from compass.registry.folders import last_number
from compass.registry.versions import Version, check_version, identity_of
from compass.runs import layout
from compass.runs.files import PARTIAL, file_hash, read_json, read_options, sync_folder
from compass.runs.finished import SERVED, check_finished, check_stages, other_file, read_lock
from compass.runs.folder import is_version
from compass.runs.locks import held

logger = logging.getLogger(__name__)


MONITOR = f"{layout.MONITOR}/"

SCRATCH = (
    "*.lock", f"*{PARTIAL}", "*.part", f"*/{layout.CHECKPOINTS}/*", f"{layout.CHECKPOINTS}/*",
    f"{layout.TRAINING_PARTS}/*", f"{layout.OWN_EVALUATIONS}/*", f"{MONITOR}*",
)  # fmt: skip
"""What a run leaves behind for itself, what was evaluated in its folder besides, and a monitor's state: its database
grows, holds prompts where it may, and is purged of them."""


def check_run(folder: Path) -> None:
    """See that a run folder is finished. Raises RunError naming what is missing or not what the run wrote."""
    check_finished(folder)
    check_stages(folder, besides=(MONITOR,))


@contextmanager
def run_at_rest(folder: Path) -> Iterator[None]:
    """Keep the run's own command out of its folder while it is copied. Raises RunError if it is at work there."""
    if is_version(folder):
        # Nobody writes there, and neither may a lock.
        yield
        return
    taken = f"Another process is at work in {folder}. Register the run when it has ended."
    with held(folder / layout.RUN_LOCK, RunError(taken)):
        yield


def language_of(folder: Path) -> str:
    """Return the language that a run was made for. Raises RunError if it names none."""
    options = read_options(folder / layout.CONFIG)
    section = options.get("data")
    language = (section.get("language") if isinstance(section, dict) else "") or options.get("language")
    if not language:
        raise RunError(f"{folder / layout.CONFIG} names no language. Pass one: language='cy'.")
    return str(language)


def add_version(
    source: Path,
    folder: Path,
    incoming: Path,
    known: Sequence[Version],
    *,
    language: str,
    parent: str,
    trigger: str,
    metrics: Mapping[str, Mapping[str, float]] | None,
    notes: Mapping[str, Any],
    leave_out: Sequence[str],
    link: bool,
) -> Version:
    """Copy a run into `incoming` and rename that to the next version, or return the one of `known` that is the same.

    folder: the language's. parent: an id, or empty. metrics: None takes what the run measured. Raises RunError if the
    run has changed since it was finished, OSError if the disk is full.
    """
    paths, left_out = run_files(source, leave_out)
    _check_room(source, folder, paths)
    (incoming / "run").mkdir(parents=True)
    files = take_in(source, incoming / "run", paths, link=link)
    check_against_lock(source, files)
    identity = identity_of(files)
    for version in known:
        same = version.identity == identity and parent in ("", version.parent)
        if same and check_version(version.folder.parent).ok:
            logger.info("%s is this run already", version.id)
            return version
    number = last_number(folder) + 1
    home = folder / "versions" / f"v{number:04d}-{identity[:12]}"
    measured = run_metrics(source) if metrics is None else metrics
    version = Version(
        id=home.name,
        number=number,
        language=language,
        identity=identity,
        parent=parent,
        trigger=trigger,
        # Not a number is what can't be told, which JSON has no word for.
        metrics={
            test: {name: float(value) for name, value in values.items() if math.isfinite(value)}
            for test, values in measured.items()
        },
        created_at=datetime.now(UTC).isoformat(timespec="milliseconds"),
        files=files,
        folder=home / "run",
        left_out=tuple(left_out),
        notes=notes,
    )
    write_sealed(incoming / "manifest.json", version.to_dict())
    (incoming / "manifest.json").chmod(0o444)
    for path in sorted(path for path in incoming.rglob("*") if path.is_dir()):
        sync_folder(path)
    os.rename(incoming, home)
    sync_folder(home.parent)
    return version


def run_files(folder: Path, leave_out: Sequence[str] = ()) -> tuple[list[str], list[str]]:
    """Return the paths to take in and those that `leave_out` (glob patterns) keeps out, sorted.

    Raises RunError for a symbolic link, and for a pattern that would leave out what a version needs.
    """
    taken, left = [], []
    for file in sorted(folder.rglob("*")):
        path = file.relative_to(folder).as_posix()
        if file.is_symlink():
            raise RunError(f"{file} is a symbolic link, and a version keeps files only. Replace it by the file.")
        if file.is_dir() or any(fnmatch(path, pattern) for pattern in SCRATCH):
            continue
        if any(fnmatch(path, pattern) for pattern in leave_out):
            if path in (layout.LOCK, *SERVED):
                raise RunError(f"leave_out must not match {path}: a version needs it; got {leave_out}")
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
    for path, sha in read_lock(folder)["hashes"].items():
        if path in files and files[path][0] != sha:
            raise other_file(folder, path)


def run_metrics(folder: Path) -> dict[str, dict[str, float]]:
    """Return the adapter's metrics by test set and name, as the run measured them; empty where it measured nothing."""
    found: dict[str, dict[str, float]] = {}
    for path in sorted((folder / layout.ADAPTER_EVALUATION).glob("*.json")):
        summary = read_json(path)
        try:
            found[summary["name"]] = {name: float(value["value"]) for name, value in summary["metrics"].items()}
        except (TypeError, KeyError, ValueError, AttributeError) as error:
            raise RunError(f"{path} is no evaluation ({error!r}). Run the command that made it again.") from error
    return found


def _linked(source: Path, target: Path) -> bool:
    try:
        os.link(source, target)
    except OSError as error:
        # Another file system, or one without hard links.
        logger.info("%s can't be hard-linked (%s): copied instead", source, error.strerror)
        return False
    return True


def _check_room(source: Path, folder: Path, paths: Sequence[str]) -> None:
    needed = sum((source / path).stat().st_size for path in paths)
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise OSError(errno.ENOSPC, f"{needed:,} bytes are needed, {free:,} are free")
