"""Where prompts come from: a JSON Lines stream, or a folder of growing files, each read from where reading stopped.

A line is an object in any shape that `compass.data.readers` reads. Where known it has the feedback `loss` (a number,
higher is worse) or `correct` (true or false), and the time and the session that `compass.data.arrival` reads. Nothing
in a line stops the stream: one that can't be used is skipped and counted by reason; a warning names file and place,
never the content.
"""

from __future__ import annotations

import glob
import gzip
import hashlib
import logging
import math
import re
import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

from compass.data.json_text import parse_json
from compass.data.languages import UNDETERMINED
from compass.data.readers import LANGUAGE_FIELDS, UnusableRowError, is_missing, read_row
from compass.drift.results import LARGEST_LOSS, NO_LOSS, Skipped, SkipWarnings, by_reason
from compass.drift.rotation import is_left_behind
from compass.drift.state import Position
from compass.errors import DataError, LanguageError

logger = logging.getLogger(__name__)

LONGEST_LINE = 16 * 2**20
"""Bytes of one line; a longer one is skipped."""
HEAD_BYTES = 4096
"""Bytes of a file's first line that tell it from another file of its name."""
CHUNK_BYTES = 2**20
FILE_HEADER = b'{"compass": "prompts"'
"""How the first line of a file of `compass serve` begins: it tells the file from others, and holds no prompt."""
LABEL_LINE = b'{"label_of"'
"""How a line of feedback begins."""
UNKNOWN_LANGUAGE = "?"
"""Stands for a tag that names no language: the prompt counts among other languages."""
SERVED = "served_language"
"""Field of a line of `compass serve`: the language whose adapter answered."""
LABEL_OF = "label_of"
"""Field of another kind of line of `compass serve`: the answer that a user has judged. The line has no text."""
LOG_NAME = re.compile(r"\.(jsonl|ndjson)(\.[^/]+)?$", re.IGNORECASE)
"""Names of logs in a folder: `app.jsonl`, `app.ndjson`, and rotated ones, `app.jsonl.1`, `app.jsonl.2.gz`."""
UNREAD_SUFFIXES = (".zst", ".xz", ".bz2", ".zip", ".lz4")
"""Suffixes of logs that were compressed otherwise than by gzip."""


@dataclass(frozen=True)
class Record:
    """One prompt of production."""

    prompt: str
    language: str
    """BCP-47 tag; empty where the line has none."""
    loss: float
    """NaN without feedback."""
    place: str = ""
    """File and line."""
    session: str = ""
    """What the prompts of one conversation share; empty where the line does not say."""
    at: float = math.nan
    """When it came, in seconds since 1970; NaN where the line does not say."""
    served: str = ""
    """The language whose adapter answered, `und` for the base model; empty where the line does not say."""


@dataclass(frozen=True)
class Label:
    """What a user says of an answer, after its prompt was counted."""

    of: str
    """Id of the answer."""
    language: str
    """The language whose adapter answered."""
    version: int
    loss: float


@dataclass(frozen=True)
class InputBatch:
    """Prompts that are counted together."""

    records: tuple[Record, ...]
    position: Position | None
    """Where they come from; None for a stream, which can't be read twice."""
    skipped: tuple[Skipped, ...] = ()
    """Lines that could not be used, by reason."""
    labels: tuple[Label, ...] = ()
    """What users say of answers, in the order of the lines."""

    @property
    def skipped_lines(self) -> int:
        """How many lines could not be used."""
        return sum(skip.n for skip in self.skipped)


def parse(line: bytes, columns: Mapping[str, str] | None = None) -> Record:
    """Read one line. Raises ValueError, with the rule but not the content, if it can't be used.

    columns: ours=theirs, as in `read_examples`.
    """
    row = parse_json(line)
    if not isinstance(row, dict):
        raise ValueError("not a JSON object")
    unknown = False
    try:
        try:
            found = read_row(row, columns)
        except LanguageError:
            unknown, found = True, read_row(row, {**(columns or {}), **dict.fromkeys(LANGUAGE_FIELDS, "")})
    except UnusableRowError as error:
        raise ValueError(error.reason) from None
    # Databases refuse NUL in texts.
    prompt = found.prompt.replace("\0", "\ufffd")
    if not prompt.strip():
        raise ValueError("an empty prompt")
    language = "" if found.language == UNDETERMINED else found.language
    tag = UNKNOWN_LANGUAGE if unknown else language
    served = row.get(SERVED)
    return Record(
        prompt, tag, _loss(row), session=found.session, at=found.at, served=served if isinstance(served, str) else ""
    )


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
        rest = rest[: LONGEST_LINE + 1]
        for start in range(0, len(lines), batch_size):
            yield _batch(lines[start : start + batch_size], name, number + start + 1, columns, warnings)
        number += len(lines)
    if rest.strip():
        yield _batch([rest], name, number + 1, columns, warnings)


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
    without a line feed is left until it is whole; without `follow`, and in a log that was rotated, it is taken as it
    is. A file that was cut or
    replaced is read from its start, and one of a folder that was renamed or compressed, as logs are when they are
    rotated, from where it was left; a file that is read by itself is looked for under its name with more after it
    (`app.jsonl.1`). Files of a folder that are no logs are named once. Raises DataError if the path
    does not exist.
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
            whole_lines = follow and not _compressed(file) and not is_left_behind(file, files)
            while not stop():
                try:
                    batch = _next(file, name, places.get(name), batch_size, columns, warnings, whole_lines=whole_lines)
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
    *,
    whole_lines: bool,
) -> InputBatch | None:
    """Read the next batch of a file; None if there is nothing new."""
    with _open(file) as stream:
        first = stream.readline(HEAD_BYTES)
        if not first or (whole_lines and not first.endswith(b"\n") and len(first) < HEAD_BYTES):
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
            if not line or (whole_lines and not line.endswith(b"\n")):
                break
            end += size
            lines.append(line)
    if end == start:
        return None
    batch = _batch(lines, f"{name} from byte {start}" if start else name, 1, columns, warnings)
    return replace(batch, position=Position(name, start, end, head))


def _line(stream: IO[bytes]) -> tuple[bytes, int]:
    """Return the next line and its size in bytes; of one that is too long only so much that it shows, and its end."""
    line = stream.readline(LONGEST_LINE + 1)
    size, last = len(line), line
    while len(last) > LONGEST_LINE and not last.endswith(b"\n"):
        last = stream.readline(LONGEST_LINE + 1)
        size += len(last)
    return (line if last is line else line + last[-1:]), size


def _batch(
    lines: list[bytes], name: str, first: int, columns: Mapping[str, str] | None, warnings: SkipWarnings
) -> InputBatch:
    records: list[Record] = []
    labels: list[Label] = []
    skips: list[Skipped] = []
    for number, line in enumerate(lines, first):
        if not line.strip() or line.startswith(FILE_HEADER):
            continue
        try:
            if len(line) > LONGEST_LINE:
                raise ValueError(f"longer than {LONGEST_LINE // 2**20} MiB")
            if line.startswith(LABEL_LINE):
                labels.append(_label(line))
                continue
            records.append(replace(parse(line, columns), place=f"{name}, line {number}"))
        except Exception as error:
            # Nothing that somebody wrote into a log may stop the stream; errors of other kinds may quote the line.
            reason = str(error) if type(error) is ValueError else f"unreadable ({type(error).__name__})"
            kind = reason.partition(" (")[0] if reason.startswith("broken JSON") else reason
            skips.append(Skipped(kind, 1, f"{name}, line {number}"))
            warnings.add(f"{name}, line {number}", kind, reason)
    return InputBatch(tuple(records), None, by_reason(skips), tuple(labels))


def _label(line: bytes) -> Label:
    """Read a line of feedback. Raises ValueError if it can't be used."""
    row = parse_json(line)
    of, language, version = (row.get(name) if isinstance(row, dict) else None for name in (LABEL_OF, SERVED, "version"))
    loss = _loss(row) if isinstance(row, dict) else math.nan
    if not (isinstance(of, str) and of and isinstance(language, str) and type(version) is int and loss == loss):
        raise ValueError("feedback without answer, language, version or verdict")
    return Label(of, language, version, loss)


def _loss(row: Mapping[str, Any]) -> float:
    """Return a row's feedback as a loss; NaN without."""
    loss, correct = row.get("loss"), row.get("correct")
    if not is_missing(loss):
        if isinstance(loss, bool) or not isinstance(loss, int | float) or not abs(loss) <= LARGEST_LOSS:
            raise ValueError(NO_LOSS)
        return float(loss)
    if not is_missing(correct):
        if not isinstance(correct, bool):
            raise ValueError("correct is neither true nor false")
        return 0.0 if correct else 1.0
    return math.nan
