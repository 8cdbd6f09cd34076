"""Where prompts come from: a JSON Lines stream, or a folder of growing files, each read from where reading stopped."""

from __future__ import annotations

import glob
import gzip
import hashlib
import logging
import re
import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import IO

from compass.data.json_text import parse_json
from compass.drift import log_lines
from compass.drift.log_lines import InputBatch, batch_of
from compass.drift.results import SkipWarnings
from compass.drift.rotation import is_left_behind
from compass.drift.state import Position
from compass.errors import DataError

logger = logging.getLogger(__name__)

HEAD_BYTES = 4096
"""Bytes of a file's first line that tell it from another file of its name."""
CHUNK_BYTES = 2**20
LOG_NAME = re.compile(r"\.(jsonl|ndjson)(\.[^/]+)?$", re.IGNORECASE)
"""Names of logs in a folder: `app.jsonl`, `app.ndjson`, and rotated ones, `app.jsonl.1`, `app.jsonl.2.gz`."""
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

    offsets: where each file was left, by name (`Monitor.offsets()`). With `follow`, keeps looking for new lines and
    new files until `stop()`, and yields None when there is nothing new, after waiting `poll_seconds`. A last line
    without a line feed is left until it is whole; without `follow` it is taken if it is JSON, and in a log that was
    rotated as it is. A file that was cut or replaced is read from its start, and one of a folder that was renamed or
    compressed, as logs are when they are rotated, from where it was left; a file that is read by itself is looked for
    under its name with more after it (`app.jsonl.1`). Files of a folder that are no logs are named once. Raises
    DataError if the path does not exist.
    """
    root = check_path(path)
    alone = root.is_file()
    folder, warnings = root.parent if alone else root, SkipWarnings()
    places = dict(offsets)
    left: list[Position] = []
    earlier: set[str] | None = None
    named: set[Path] = set()
    finished: dict[Path, tuple[int, int]] = {}
    while not stop():
        idle = True
        files = _with_rotated(root) if alone else _logs(root, named)
        if earlier is None:
            # What was rotated before reading began; a log that is rotated later may have a part that was not read.
            earlier = {_head_of(file) for file in files if alone and file != root}
        for file in files:
            stamp = _stamp(file)
            if _compressed(file) and finished.get(file) == stamp:
                # To look for what is new it would have to be unpacked again.
                continue
            name = file.relative_to(folder).as_posix()
            # Names need not be valid text on Linux, and a database takes nothing else.
            name = name.encode("utf-8", "backslashreplace").decode("utf-8")
            places |= _renamed(folder, file, name, places, left)
            if alone and file != root and name not in places and _head_of(file) in earlier:
                continue
            # Half a line may still become whole, but not in a log that nobody writes to any more.
            grows = not _compressed(file) and not is_left_behind(file, files)
            takes = _any_line if not grows else _whole_line if follow else _complete_line
            while not stop():
                try:
                    batch = _next(file, name, places.get(name), batch_size, columns, warnings, takes)
                except FileNotFoundError:
                    # Rotated away between the listing and now.
                    break
                except (OSError, EOFError, zlib.error) as error:
                    if file not in named:
                        named.add(file)
                        logger.warning("%s is not read to its end: %s", name, error)
                    break
                if batch is None or batch.position is None:
                    finished[file] = stamp
                    if takes is _complete_line and _waits(file, places.get(name)):
                        logger.warning("%s: its last line is not complete; it is read once it is", name)
                    break
                idle = False
                if name in places and places[name].head != batch.position.head:
                    # The file that had this name may come under another one.
                    left.append(places[name])
                places[name] = batch.position
                yield batch
        if not follow:
            return
        if idle:
            time.sleep(poll_seconds)
            yield None


def _with_rotated(file: Path) -> list[Path]:
    """Return a file after those that may be what it was before it was rotated."""
    rotated = sorted(file.parent.glob(f"{glob.escape(file.name)}.*"))
    rotated = [old for old in rotated if _is_file(old) and old.suffix.lower() not in UNREAD_SUFFIXES]
    return [*_once(rotated), file]


def _logs(root: Path, named: set[Path]) -> list[Path]:
    """Return the logs of a folder in the order of their names; files that are none are named once, in a warning."""
    files = sorted(file for file in root.rglob("*") if _is_file(file))
    logs = [file for file in files if LOG_NAME.search(file.name) and file.suffix.lower() not in UNREAD_SUFFIXES]
    others = [file for file in files if file not in logs and file not in named and not file.name.startswith(".")]
    named.update(others)
    if others:
        some = ", ".join(str(file.relative_to(root)) for file in others[:3])
        more = f" and {len(others) - 3} more" if len(others) > 3 else ""
        logger.warning(
            "%s: not read, since only .jsonl and .ndjson files are, plain or in gzip: %s%s", root, some, more
        )
    if not logs and root not in named:
        named.add(root)
        logger.warning("%s holds no .jsonl or .ndjson file", root)
    return _once(logs)


def _once(logs: list[Path]) -> list[Path]:
    """Leave out compressed logs that stand beside the plain ones: while a log is compressed, both are there."""
    if not any(map(_compressed, logs)):
        return logs
    plain = {(head, _stamp(file)[0]) for file in logs if not _compressed(file) and (head := _head_of(file))}
    return [file for file in logs if not _compressed(file) or (_head_of(file), _whole_size(file)) not in plain]


def _is_file(file: Path) -> bool:
    try:
        return file.is_file()
    except OSError:
        # In a folder that may be listed and not entered.
        return False


def _stamp(file: Path) -> tuple[int, int]:
    """Return what tells that a file has changed; zeros if it is gone."""
    try:
        found = file.stat()
    except OSError:
        return 0, 0
    return found.st_size, found.st_mtime_ns


def _compressed(file: Path) -> bool:
    return file.suffix.lower() == ".gz"


def _whole_size(file: Path) -> int:
    """Return the size of a compressed file's content in bytes, modulo 2**32, as gzip wrote it down; 0 if it is gone."""
    try:
        with file.open("rb") as stream:
            stream.seek(max(0, stream.seek(0, 2) - 4))
            return int.from_bytes(stream.read(4), "little")
    except OSError:
        return 0


def _open(file: Path) -> IO[bytes]:
    return gzip.open(file) if _compressed(file) else file.open("rb")  # type: ignore[return-value]


def check_path(path: str | Path) -> Path:
    """Return the path of a file or folder that is there. Raises DataError if it is not, or is a pipe."""
    if not Path(path).exists():
        raise DataError(f"{path} does not exist. Give a JSON Lines file, a folder of them, or - for standard input.")
    if not Path(path).is_file() and not Path(path).is_dir():
        raise DataError(f"{path} is a pipe or a device. Give - as source and read it as standard input: ... - < {path}")
    return Path(path)


def _head(first: bytes) -> str:
    """Return what tells a file from another one of its name, from its first line."""
    return hashlib.sha256(first.rstrip(b"\n")).hexdigest()[:32]


def _head_of(file: Path) -> str:
    """Return the head of a file; empty if it is gone or can't be read."""
    try:
        with _open(file) as stream:
            return _head(stream.readline(HEAD_BYTES))
    except (OSError, EOFError, zlib.error):
        return ""


def _is_of(place: Position, head: str) -> bool:
    """Say whether a place is of the file with this head, however often that was cut since."""
    return place.head.partition("+")[0] == head


def _renamed(
    root: Path, file: Path, name: str, places: Mapping[str, Position], left: Sequence[Position]
) -> dict[str, Position]:
    """Return where a file was left under another name, by its new one; nothing if it is new or was not renamed.

    left: places of files whose names others have now.
    """
    head = _head_of(file)
    if name in places and _is_of(places[name], head):
        return {}
    known = [place for place in (*places.values(), *left) if place.source != name and _is_of(place, head)]
    found = [place for place in known if _head_of(root / place.source) != head]
    if not found:
        return {}
    place = max(found, key=lambda place: place.end)
    logger.info("%s is %s under a new name; reading goes on where it stopped", name, place.source)
    return {name: Position(name, 0, place.end, place.head)}


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
    with _open(file) as stream:
        first = stream.readline(HEAD_BYTES)
        if not first or (len(first) < HEAD_BYTES and not takes(first)):
            return None
        head = _head(first)
        start = 0
        if place is not None and _is_of(place, head):
            start, head = place.end, place.head
            if not _compressed(file) and stream.seek(0, 2) < start:
                logger.warning("%s has become shorter; reading it again from its start", name)
                start, head = 0, f"{head.partition('+')[0]}+{int(head.partition('+')[2] or 0) + 1}"
        elif place is not None:
            logger.info("%s is a new file under an old name; reading it from its start", name)
        stream.seek(start)
        lines: list[bytes] = []
        end = start
        while len(lines) < batch_size:
            line, size = _line(stream)
            if not line or not takes(line):
                break
            end += size
            lines.append(line)
    if end == start:
        return None
    batch = batch_of(lines, f"{name} from byte {start}" if start else name, 1, columns, warnings)
    return replace(batch, position=Position(name, start, end, head))


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
    return _stamp(file)[0] > (place.end if place else 0)


def _line(stream: IO[bytes]) -> tuple[bytes, int]:
    """Return the next line and its size in bytes; of one that is too long only so much that it shows, and its end."""
    line = stream.readline(log_lines.LONGEST_LINE + 1)
    size, last = len(line), line
    while len(last) > log_lines.LONGEST_LINE and not last.endswith(b"\n"):
        last = stream.readline(log_lines.LONGEST_LINE + 1)
        size += len(last)
    return (line if last is line else line + last[-1:]), size
