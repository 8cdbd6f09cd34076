"""The one way that files are written and hashed: beside, synced, renamed; a reader finds the old file or the new.

Most files of a run hold prompts or what was made of them, so a new file is its owner's alone, whatever its folder is.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
import stat
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from typing import Any

from compass.config.reading import yaml_problem
from compass.errors import RunError

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
"""What the system says where there is no room: on the disk, in a quota, under a limit of file size."""
FULL_IN_WORDS = re.compile(
    "No space left on device|Disk quota exceeded|File too large|database or disk is full"
    r"|PytorchStreamWriter failed writing|inline_container.* unexpected pos|\d+ requested and \d+ written",
    re.DOTALL,
)
"""What libraries make of it: safetensors, pyarrow, sqlite, torch and numpy raise errors of their own."""
PARTIAL = ".partial"
"""End of the name of a file that is being written."""
RESTORE = "Restore the file, or run the command that wrote it again."
BLOCK = 1 << 20
"""Bytes that are read at a time."""
PRIVATE = 0o600
"""Mode of a file that may hold prompts."""


@contextmanager
def replacing(path: Path, *, private: bool = True) -> Iterator[Path]:
    """Yield the path of a new file; it takes the place of `path`, synced, when the block ends without an error.

    private: nobody but its owner may read the file, at any moment. A link at `path` is replaced, not followed: it may
    lead out of a folder from somebody else. Raises RunError if `path` is there and is no file, such as a pipe.
    """
    check_place(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + PARTIAL)
    try:
        partial.unlink(missing_ok=True)
        os.close(os.open(partial, os.O_CREAT | os.O_EXCL | os.O_WRONLY, PRIVATE if private else 0o666))
        yield partial
        sync_file(partial)
        os.replace(partial, path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
        if is_full_disk(error):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path)) from error
        raise
    sync_folder(path.parent)


def behind_links(path: Path) -> Path:
    """Return the file that a path stands for: where a link leads, if it is one."""
    return Path(os.path.realpath(path)) if path.is_symlink() else path


def check_place(path: Path) -> None:
    """Raise RunError if a pipe, a device or the like is at a place that is to be written to, OSError for a folder."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(mode) and not stat.S_ISLNK(mode):
        raise RunError(f"{path} is not a file but {_kind(mode)}, and can't be written to. Name a file.")


def _kind(mode: int) -> str:
    kinds = {"a pipe": stat.S_ISFIFO, "a socket": stat.S_ISSOCK}
    return next((name for name, is_kind in kinds.items() if is_kind(mode)), "a device")


def is_full_disk(error: BaseException | None) -> bool:
    """Say whether an error, or one that it was raised for, is that there is no room to write."""
    while error is not None:
        if (isinstance(error, OSError) and error.errno in FULL) or FULL_IN_WORDS.search(str(error)):
            return True
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return False


def sync_file(path: Path) -> None:
    """Make a file's content last through a power failure."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Make a rename or a new file in the folder last through a power failure, where the system can."""
    if os.name == "nt":  # Windows opens no folders.
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_bytes(path: Path, content: bytes, *, private: bool = True) -> None:
    """Write a file atomically."""
    with replacing(path, private=private) as partial:
        partial.write_bytes(content)


def write_text(path: Path, text: str, *, private: bool = True) -> None:
    """Write UTF-8 text atomically; half of a surrogate pair, which UTF-8 can't hold, becomes a question mark."""
    write_bytes(path, text.encode("utf-8", "replace"), private=private)


def write_json(path: Path, content: Any) -> None:
    """Write indented JSON atomically."""
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def write_jsonl(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write one JSON object a line, atomically."""
    write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def append_line(path: Path, content: Mapping[str, Any]) -> None:
    """Append one JSON line and sync it. A line that a crash or a full disk cut short is cut off, now or next time.

    The caller holds the lock of the file.
    """
    line = json.dumps(content, ensure_ascii=False, allow_nan=False).encode("utf-8", "replace") + b"\n"
    with path.open("ab+") as file:
        end = _end_of_last_line(file)
        file.truncate(end)
        try:
            file.write(line)
            file.flush()
            os.fsync(file.fileno())
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(file.fileno(), end)
            raise


def _end_of_last_line(file: Any) -> int:
    """Return the offset behind the last newline of a file that is open for reading."""
    end = file.seek(0, os.SEEK_END)
    while end:
        start = max(0, end - BLOCK)
        file.seek(start)
        found = file.read(end - start).rfind(b"\n")
        if found >= 0:
            return int(start + found + 1)
        end = start
    return 0


def write_parquet(path: Path, table: Any) -> None:
    """Write a pyarrow table, or rows as dicts, to Parquet, atomically."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    with replacing(path) as partial:
        pq.write_table(table if isinstance(table, pa.Table) else pa.Table.from_pylist(list(table)), partial)


@contextmanager
def opened(path: Path) -> Iterator[BufferedReader]:
    """Open a file to read it. Raises OSError for a pipe or a device in its place, which nobody may ever write to."""
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    descriptor = os.open(path, flags)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "it is not a file", str(path))
    with os.fdopen(descriptor, "rb") as file:
        yield file


def read_text(path: Path) -> str:
    """Read UTF-8 text of a file of ours. Raises OSError, or ValueError for another encoding."""
    with opened(path) as file:
        return file.read().decode("utf-8")


def read_json(path: Path, kind: type | None = None, *, advice: str = RESTORE) -> Any:
    """Read a JSON file of ours. kind: `dict` or `list`, where the file must hold one. advice: what to do if it doesn't.

    Raises RunError, with the file's name, if it is missing, damaged or of another kind.
    """
    try:
        content = json.loads(read_text(path))
    except (OSError, ValueError, RecursionError) as error:
        raise RunError(f"{path} can't be read as JSON ({_reason(error)}). {advice}") from error
    if kind is not None and not isinstance(content, kind):
        raise RunError(f"{path} must hold a JSON {kind.__name__}; it holds a {type(content).__name__}. {advice}")
    return content


def read_options(path: Path) -> dict[str, Any]:
    """Read the options that a run folder keeps as they are written; none is checked. Raises RunError if it can't be."""
    import yaml

    text = ""
    try:
        text = read_text(path)
        content = yaml.safe_load(text) or {}
    except OSError as error:
        raise RunError(f"The options file {path} can't be read: {error.strerror}. {RESTORE}") from error
    except UnicodeDecodeError as error:
        raise RunError(f"The options file {path} is not UTF-8 (at byte {error.start}). {RESTORE}") from error
    except Exception as error:
        # The loader of PyYAML raises what Python does: `!!timestamp soon` is an AttributeError.
        line, what = yaml_problem(error, text)
        place = f"{path}:{line}" if line else str(path)
        raise RunError(f"The options file {place} is not valid YAML: {what}. {RESTORE}") from error
    if not isinstance(content, dict):
        kind = "a list" if isinstance(content, list) else "a single value"
        raise RunError(f"The options file {path} must hold `name: value` lines; it holds {kind}. {RESTORE}")
    return content


def _reason(error: Exception) -> str:
    """Return what an error says besides the file's name, which the message has already."""
    return (error.strerror if isinstance(error, OSError) else "") or str(error)


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    """Read the JSON objects of a file of ours, one a line. Raises RunError, with file and line, if it is damaged."""
    try:
        # Not splitlines, which also cuts at U+2028 and others that JSON leaves inside of a text.
        lines = read_text(path).split("\n")
    except (OSError, ValueError) as error:
        raise RunError(f"{path} can't be read ({_reason(error)}). {RESTORE}") from error
    rows = []
    for number, line in enumerate(lines, start=1):
        if not line:
            continue
        try:
            rows.append(json.loads(line))
        except (ValueError, RecursionError) as error:
            raise RunError(f"{path}:{number} is not JSON ({error}). {RESTORE}") from error
        if not isinstance(rows[-1], dict):
            raise RunError(f"{path}:{number} must hold a JSON object. {RESTORE}")
    return rows


def files_at(path: Path) -> list[Path]:
    """Return a file, or the files of a folder and of those in it, sorted; none where nothing is."""
    return [file for file in ([path] if path.is_file() else sorted(path.rglob("*"))) if file.is_file()]


def file_hash(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with opened(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fingerprint(payload: Mapping[str, Any]) -> str:
    """Return the SHA-256 of JSON-ready values, the same for the same values in any order of keys."""
    text = json.dumps(payload, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()
