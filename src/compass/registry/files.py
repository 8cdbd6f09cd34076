"""Files that survive a kill and a full disk: written beside, synced, renamed; lines appended whole or not at all."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from compass.errors import RegistryError, RegistryUnavailableError, RunError
from compass.runs.files import BLOCK, RESTORE, is_full_disk, opened, read_json, write_bytes


def canonical(content: Any) -> bytes:
    """Return JSON whose bytes depend on the values alone."""
    return json.dumps(content, sort_keys=True, ensure_ascii=True, separators=(",", ":"), allow_nan=False).encode()


def seal(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return the content with the SHA-256 of its canonical JSON under `seal`."""
    bare = {key: value for key, value in content.items() if key != "seal"}
    return {**bare, "seal": hashlib.sha256(canonical(bare)).hexdigest()}


def is_sealed(content: Mapping[str, Any]) -> bool:
    """Say whether the content is what `seal` closed."""
    try:
        return seal(content) == content
    except (ValueError, RecursionError):
        # Not a number, which no seal is ever made of.
        return False


def read_sealed(path: Path, advice: str = RESTORE) -> dict[str, Any]:
    """Read JSON that `seal` closed. Raises RegistryError if it can't be read or a character of it has changed.

    advice: what to do then.
    """
    try:
        content = read_json(path, dict, advice=advice)
    except RunError as error:
        raise RegistryError(str(error)) from error
    if not is_sealed(content):
        raise RegistryError(f"{path} is damaged: its content does not match its checksum. {advice}")
    return dict(content)


def write_sealed(path: Path, content: Mapping[str, Any]) -> None:
    """Write sealed JSON so that a reader, now or after a crash, finds the old file or the new one."""
    text = json.dumps(seal(content), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    write_bytes(path, text.encode("utf-8"))


def is_there(path: Path) -> bool:
    """Say whether a file or a folder exists. Raises RegistryError where that can't be told: it may well be there."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise unreadable(path, error) from error
    return True


def entries(folder: Path) -> list[Path]:
    """Return what a folder holds; nothing where there is none. Raises RegistryError if it can't be read."""
    try:
        return list(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise unreadable(folder, error) from error


def unreadable(path: Path, error: OSError) -> RegistryError:
    """Return what to raise for what may be there and can't be read."""
    return RegistryError(f"{path} can't be read ({error.strerror}). Run this as its owner, or see to its permissions.")


def read_lines(path: Path, advice: str = RESTORE) -> list[dict[str, Any]]:
    """Return the finished lines of a JSONL file, oldest first; none where there is no file. advice: as above.

    Raises RegistryError for a line that is no JSON object, unless it is the last and has no end: it is being written.
    """
    try:
        *lines, _unfinished = path.read_bytes().split(b"\n")
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise unreadable(path, error) from error
    rows = []
    for number, line in enumerate(lines, start=1):
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise RegistryError(f"{path}, line {number}, is damaged ({error}). {advice}") from error
        if not isinstance(row, dict):
            raise RegistryError(f"{path}, line {number}, is damaged: it is no JSON object. {advice}")
        rows.append(row)
    return rows


def copy_hashed(source: Path, target: Path) -> tuple[str, int]:
    """Copy a file, sync it, and return the SHA-256 and the size of the bytes that were written."""
    digest = hashlib.sha256()
    size = 0
    with opened(source) as reader, target.open("xb") as writer:
        while block := reader.read(BLOCK):
            digest.update(block)
            writer.write(block)
            size += len(block)
        writer.flush()
        os.fsync(writer.fileno())
    return digest.hexdigest(), size


def disk_error(error: OSError, what: str, folder: Path) -> RegistryUnavailableError:
    """Say what the disk refused, and what to do. what: what was about to be done."""
    return RegistryUnavailableError(
        f"Cannot {what}: {error.strerror} ({error.filename or folder}). Nothing has changed. "
        + (
            "Free some space (`prune` removes old versions) and try again."
            if is_full_disk(error)
            else "Check the folder's permissions."
        )
    )
