"""Where prompts come from: a JSON Lines stream, or a folder of growing files, each read from where reading stopped."""

from __future__ import annotations

import glob
import logging
import os
import stat
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import IO

from compass.data.json_text import parse_json
from compass.drift import log_lines
from compass.drift.log_files import (
    HEAD_BYTES,
    TAIL_BYTES,
    UNREADABLE,
    head,
    head_of,
    is_compressed,
    name_of,
    open_log,
    stamp_of,
    tail,
    whole_size,
)
from compass.drift.log_lines import InputBatch, batch_of
from compass.drift.places import ANOTHER, Places, again, held
from compass.drift.results import SkipWarnings
from compass.drift.rotation import LOG_NAME, is_left_behind
from compass.drift.state import Position
from compass.errors import DataError

logger = logging.getLogger(__name__)

CHUNK_BYTES = 2**20
UNREAD_SUFFIXES = (".zst", ".xz", ".bz2", ".zip", ".lz4")
"""Suffixes of logs that were compressed otherwise than by gzip."""


def read_stream(
    stream: IO[bytes],
    *,
    batch_size: int,
    columns: Mapping[str, str] | None = None,
    name: str = "standard input",
) -> Iterator[InputBatch]:
    """Yield the lines of a stream as they come: what is there makes a batch, of `batch_size` prompts at most."""
    # read1 returns what a pipe holds; read would wait for a whole chunk.
    read: Callable[[int], bytes] = getattr(stream, "read1", stream.read)
    rest, number, warnings = b"", 0, SkipWarnings()
    while chunk := read(CHUNK_BYTES):
        *lines, rest = (rest + chunk).split(b"\n")
        # What is more is not kept, but the line stays too long.
        rest = rest[: log_lines.LONGEST_LINE + 1]
        for start in range(0, len(lines), batch_size):
            yield batch_of(lines[start : start + batch_size], name, number + start + 1, columns, warnings)
        number += len(lines)
    if rest.strip():
        yield batch_of([rest], name, number + 1, columns, warnings)


def read_files(
    path: str | Path,
    offsets: Mapping[str, Position],
    *,
    batch_size: int,
    columns: Mapping[str, str] | None = None,
    follow: bool = False,
    poll_seconds: float = 1.0,
    stop: Callable[[], bool] = lambda: False,
) -> Iterator[InputBatch | None]:
    """Yield what a file, or the logs of a folder, hold beyond the offsets, in the order of their names.

    offsets: where each file was left, by name (`Monitor.offsets()`). With `follow`, keeps looking for new lines and new
    files until `stop()`, and yields None when there is nothing new, after waiting `poll_seconds`. A last line without a
    line feed is left until it is whole; without `follow` it is taken if it is JSON, and in a log that was rotated as it
    is. A file that was cut or replaced is read from its start, and one of a folder that was renamed, copied or
    compressed, as logs are when they are rotated, from where it was left; a batch without prompts puts that on record
    where there is nothing new in it. A file that is read by itself is looked for under its name with more after it
    (`app.jsonl.1`, `app.jsonl-20261130`). Files of a folder that are no logs are named once, hidden ones are not read.
    Raises DataError if the path does not exist or may not be read.
    """
    root = check_path(path)
    alone = root.is_file()
    folder, warnings = root.parent if alone else root, SkipWarnings()
    places = Places(folder, offsets)
    earlier: set[str] | None = None
    named: set[Path] = set()
    finished: dict[Path, tuple[int, int]] = {}
    away = False
    while not stop():
        idle = True
        files = _with_rotated(root) if alone else _logs(root, named)
        if earlier is None:
            # What was rotated before reading began; a log that is rotated later may have a part that was not read.
            earlier = {head_of(file) for file in files if alone and file != root}
        read, copies = set(files), list[Path]()
        for file in places.in_order(files):
            name, stamp = name_of(file, folder), stamp_of(file)
            if not places.look(file, read):
                copies.append(file)
                continue
            if is_compressed(file) and finished.get(file) == stamp and not places.to_record(name):
                # To look for what is new it would have to be unpacked again.
                continue
            if alone and file != root and places.get(name) is None and head_of(file) in earlier:
                continue
            # Half a line may still become whole, but not in a log that nobody writes to any more.
            grows = not is_compressed(file) and not is_left_behind(file, read)
            takes = _any_line if not grows else _whole_line if follow else _complete_line
            while not stop():
                try:
                    batch = _next(file, name, places.get(name), batch_size, columns, warnings, takes)
                except FileNotFoundError:
                    # Rotated away between the listing and now.
                    break
                except UNREADABLE as error:
                    _tell_unread(folder, named, error, file)
                    break
                if batch is None:
                    finished[file] = stamp
                    if takes is _complete_line and _waits(file, places.get(name)):
                        logger.warning("%s: its last line is not complete; it is read once it is", name)
                    if not (place := places.to_record(name)):
                        break
                    batch = InputBatch((), place)
                idle = False
                if batch.position:
                    places.put(batch.position)
                yield batch
        for file in copies:
            # Once what they are copies of was read: so far they need not be read should that be cut.
            if not places.look(file, read) and (place := places.to_record(name_of(file, folder))):
                places.put(place)
                yield InputBatch((), place)
        places.tell()
        if not follow:
            return
        if idle:
            if away == os.path.exists(root):
                away = not away
                if away:
                    logger.warning("%s is gone; it is read again once it is back", root)
                else:
                    logger.info("%s is back", root)
            time.sleep(poll_seconds)
            yield None


def _with_rotated(file: Path) -> list[Path]:
    """Return a file after those that may be what it was before it was rotated."""
    rotated = sorted(file.parent.glob(f"{glob.escape(file.name)}[-._]*"))
    rotated = [old for old in rotated if os.path.isfile(old) and old.suffix.lower() not in UNREAD_SUFFIXES]
    return [*_once(rotated), file]


def _logs(root: Path, named: set[Path]) -> list[Path]:
    """Return the logs of a folder in the order of their names; files that are none are named once, in a warning."""
    files = _files(root, named)
    logs = [file for file in files if LOG_NAME.search(file.name) and file.suffix.lower() not in UNREAD_SUFFIXES]
    others = [file for file in files if file not in logs and file not in named]
    named.update(others)
    if others:
        some = ", ".join(str(file.relative_to(root)) for file in others[:3])
        more = f" and {len(others) - 3} more" if len(others) > 3 else ""
        logger.warning(
            "%s: not read, since only .jsonl and .ndjson files are, plain or in gzip: %s%s", root, some, more
        )
    if not logs and root not in named and root.is_dir():
        named.add(root)
        logger.warning("%s holds no .jsonl or .ndjson file", root)
    return _once(logs)


def _once(logs: list[Path]) -> list[Path]:
    """Leave out compressed logs that stand beside the plain ones: while a log is compressed, both are there."""
    if not any(map(is_compressed, logs)):
        return logs
    plain = {(found, stamp_of(file)[0]) for file in logs if not is_compressed(file) and (found := head_of(file))}
    return [file for file in logs if not is_compressed(file) or (head_of(file), whole_size(file)) not in plain]


def _files(root: Path, named: set[Path]) -> list[Path]:
    """Return the files below a folder, sorted, without hidden ones; what can't be looked at is named once."""
    found: list[Path] = []
    for folder, folders, names in os.walk(root, onerror=lambda error: _tell_unread(root, named, error)):
        # What a copy or a sync is still writing is hidden, and so are snapshots.
        folders[:] = [name for name in folders if not name.startswith(".")]
        for file in (Path(folder, name) for name in names if not name.startswith(".")):
            try:
                found += [file] if file.is_file() else []
            except OSError as error:
                _tell_unread(root, named, error)
    return sorted(found)


def _tell_unread(root: Path, named: set[Path], error: BaseException, file: Path | None = None) -> None:
    """Name a file or folder below `root` once that is not read, or not to its end, with the reason."""
    place = file or Path(getattr(error, "filename", None) or root)
    if place in named or isinstance(error, FileNotFoundError):
        return
    named.add(place)
    shown = place.relative_to(root) if place != root else root
    if isinstance(error, PermissionError):
        logger.warning("%s may not be read, so its prompts are left out: %s", shown, error.strerror)
    else:
        logger.warning("%s is not read to its end: %s", shown, error)


def check_path(path: str | Path) -> Path:
    """Return the path of a file or folder that can be read. Raises DataError if it can't, or is a pipe."""
    root = Path(path)
    try:
        mode = root.stat().st_mode
        if stat.S_ISDIR(mode):
            os.listdir(root)
            # A folder may be listed and not entered.
            os.stat(os.path.join(root, "."))
        elif stat.S_ISREG(mode):
            root.open("rb").close()
    except (FileNotFoundError, NotADirectoryError, ValueError):
        raise DataError(
            f"{path} does not exist. Give a JSON Lines file, a folder of them, or - for standard input."
        ) from None
    except OSError as error:
        raise DataError(
            f"{path} can't be read: {error.strerror}. Give the user who runs this command the right to read it."
        ) from error
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        raise DataError(f"{path} is a pipe or a device. Give - as source and read it as standard input: ... - < {path}")
    return root


def _next(
    file: Path,
    name: str,
    place: Position | None,
    batch_size: int,
    columns: Mapping[str, str] | None,
    warnings: SkipWarnings,
    takes: Callable[[bytes], bool],
) -> InputBatch | None:
    """Read the next batch of a file; None if there is nothing new. takes: says of its last line whether to read it."""
    with open_log(file) as stream:
        first = stream.readline(HEAD_BYTES)
        if not first or (len(first) < HEAD_BYTES and not takes(first)):
            return None
        own, start, done = head(first), 0, b""
        if place is not None:
            done, why = held(stream, place, own)
            if not why:
                start, own = place.end, place.head
            elif why == ANOTHER:
                logger.info("%s is a new file under an old name; reading it from its start", name)
            else:
                logger.warning("%s %s; reading it again from its start", name, why)
                own = again(own, place)
        stream.seek(start)
        lines: list[bytes] = []
        end = start
        while len(lines) < batch_size:
            line, size, last = _line(stream)
            if not line or not takes(line):
                break
            end += size
            lines.append(line)
            done = (done + last)[-TAIL_BYTES:]
    if end == start:
        return None
    batch = batch_of(lines, f"{name} from byte {start}" if start else name, 1, columns, warnings)
    return replace(batch, position=Position(name, start, end, own, tail(done)))


def _any_line(_: bytes) -> bool:
    return True


def _whole_line(line: bytes) -> bool:
    return line.endswith(b"\n")


def _complete_line(line: bytes) -> bool:
    """Say whether a line is at its end: a part of a JSON object is none."""
    if line.endswith(b"\n") or len(line) > log_lines.LONGEST_LINE or not line.strip():
        return True
    try:
        parse_json(line)
    except ValueError:
        return False
    return True


def _waits(file: Path, place: Position | None) -> bool:
    """Say whether there is more in a file than was read of it."""
    return stamp_of(file)[0] > (place.end if place else 0)


def _line(stream: IO[bytes]) -> tuple[bytes, int, bytes]:
    """Return the next line, its size and its last bytes; of one that is too long only so much that it shows."""
    line = stream.readline(log_lines.LONGEST_LINE + 1)
    size, last, end = len(line), line, line
    while len(last) > log_lines.LONGEST_LINE and not last.endswith(b"\n"):
        last = stream.readline(log_lines.LONGEST_LINE + 1)
        size += len(last)
        end = (end + last)[-TAIL_BYTES:]
    return (line if last is line else line + last[-1:]), size, end
