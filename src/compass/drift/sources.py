"""Where prompts come from: a JSON Lines stream, or a folder of growing files, each read from where reading stopped.

A line is an object with `prompt` (or `messages`, whose last user turn counts), and where known `language` (BCP-47) and
the feedback `loss` (a number, higher is worse) or `correct` (true or false). Lines that can't be used are skipped
and counted; a warning names file and place, never the content.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from compass.drift.state import Position
from compass.errors import DataError

logger = logging.getLogger(__name__)

LONGEST_LINE = 16 * 2**20
"""Bytes of one line; a longer one is skipped."""
HEAD_BYTES = 4096
"""Bytes of a file's first line that tell it from another file of its name."""
CHUNK_BYTES = 2**20


@dataclass(frozen=True)
class Record:
    """One prompt of production."""

    prompt: str
    language: str
    """BCP-47 tag; empty where the line has none."""
    loss: float
    """NaN without feedback."""


@dataclass(frozen=True)
class InputBatch:
    """Prompts that are counted together."""

    records: tuple[Record, ...]
    position: Position | None
    """Where they come from; None for a stream, which can't be read twice."""
    skipped: int
    """Lines that could not be used."""


def parse(line: bytes) -> Record:
    """Read one line. Raises ValueError, with the rule but not the content, if it can't be used."""
    try:
        row = json.loads(line)
    except ValueError:
        raise ValueError("the line is not valid JSON in UTF-8") from None
    if not isinstance(row, dict):
        raise ValueError("the line must be a JSON object")
    language = row.get("language") or ""
    if not isinstance(language, str):
        raise ValueError("language must be a text")
    return Record(_prompt(row), language, _loss(row))


def read_stream(stream: IO[bytes], *, batch_size: int, name: str = "standard input") -> Iterator[InputBatch]:
    """Yield the lines of a stream as they come: what is there makes a batch, of `batch_size` prompts at most."""
    # read1 returns what a pipe holds; read would wait for a whole chunk.
    read: Callable[[int], bytes] = getattr(stream, "read1", stream.read)
    rest, number = b"", 0
    while chunk := read(CHUNK_BYTES):
        *lines, rest = (rest + chunk).split(b"\n")
        if len(rest) > LONGEST_LINE:
            raise DataError(f"{name}: line {number + len(lines) + 1} is longer than {LONGEST_LINE} bytes. Split it.")
        for start in range(0, len(lines), batch_size):
            yield _batch(lines[start : start + batch_size], name, number + start + 1)
        number += len(lines)
    if rest.strip():
        yield _batch([rest], name, number + 1)


def read_files(
    path: str | Path,
    offsets: Mapping[str, Position],
    *,
    batch_size: int,
    pattern: str = "*.jsonl",
    follow: bool = False,
    poll_seconds: float = 1.0,
    stop: Callable[[], bool] = lambda: False,
) -> Iterator[InputBatch | None]:
    """Yield what a file, or the files of a folder, hold beyond the offsets, in the order of their names.

    offsets: where each file was left, by name (`Monitor.offsets()`). With `follow`, keeps looking for new lines and
    new files until `stop()`, and yields None when there is nothing new, after waiting `poll_seconds`. A last line
    without a line feed is left until it is whole; without `follow` it is taken as it is. A file that was cut or
    replaced is read from its start, and one of a folder that was renamed, as logs are when they are rotated, from where
    it was left. Raises DataError if the path does not exist.
    """
    root = check_path(path)
    places = dict(offsets)
    left: list[Position] = []
    while not stop():
        idle = True
        for file in [root] if root.is_file() else sorted(root.rglob(pattern)):
            name = file.name if file == root else file.relative_to(root).as_posix()
            # Names need not be valid text on Linux, and a database takes nothing else.
            name = name.encode("utf-8", "backslashreplace").decode("utf-8")
            if file != root:
                places |= _renamed(root, file, name, places, left)
            while not stop():
                try:
                    batch = _next(file, name, places.get(name), batch_size, whole_lines=follow)
                except FileNotFoundError:
                    # Rotated away between the listing and now.
                    break
                if batch is None or batch.position is None:
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


def check_path(path: str | Path) -> Path:
    """Return the path of a file or folder that is there. Raises DataError if it is not."""
    if not Path(path).exists():
        raise DataError(f"{path} does not exist. Give a JSON Lines file, a folder of them, or - for standard input.")
    return Path(path)


def _head(first: bytes) -> str:
    """Return what tells a file from another one of its name, from its first line."""
    return hashlib.sha256(first.rstrip(b"\n")).hexdigest()[:32]


def _head_of(file: Path) -> str:
    """Return the head of a file; empty if it is gone."""
    try:
        with file.open("rb") as stream:
            return _head(stream.readline(HEAD_BYTES))
    except FileNotFoundError:
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


def _next(file: Path, name: str, place: Position | None, batch_size: int, *, whole_lines: bool) -> InputBatch | None:
    """Read the next batch of a file; None if there is nothing new."""
    with file.open("rb") as stream:
        first = stream.readline(HEAD_BYTES)
        if not first or (whole_lines and not first.endswith(b"\n") and len(first) < HEAD_BYTES):
            return None
        head = _head(first)
        start = 0
        if place is not None and _is_of(place, head):
            start, head = place.end, place.head
            if stream.seek(0, 2) < start:
                logger.warning("%s has become shorter; reading it again from its start", name)
                start, head = 0, f"{head.partition('+')[0]}+{int(head.partition('+')[2] or 0) + 1}"
        elif place is not None:
            logger.info("%s is a new file under an old name; reading it from its start", name)
        stream.seek(start)
        lines: list[bytes] = []
        end = start
        while len(lines) < batch_size:
            line = stream.readline(LONGEST_LINE)
            if not line or (whole_lines and not line.endswith(b"\n") and len(line) < LONGEST_LINE):
                break
            end += len(line)
            lines.append(line)
    if end == start:
        return None
    batch = _batch(lines, f"{name} from byte {start}", 1)
    return InputBatch(batch.records, Position(name, start, end, head), batch.skipped)


def _batch(lines: list[bytes], name: str, first: int) -> InputBatch:
    records, skipped = [], 0
    for number, line in enumerate(lines, first):
        if not line.strip():
            continue
        try:
            records.append(parse(line))
        except ValueError as error:
            skipped += 1
            logger.warning("%s, line %d skipped: %s", name, number, error)
    return InputBatch(tuple(records), None, skipped)


def _prompt(row: dict[str, Any]) -> str:
    prompt = row.get("prompt")
    if prompt is None and isinstance(row.get("messages"), list):
        turns = [turn for turn in row["messages"] if isinstance(turn, dict) and turn.get("role") == "user"]
        prompt = turns[-1].get("content") if turns else None
    if not isinstance(prompt, str) or not prompt.strip():
        raise ValueError("it has no prompt, and no messages with a user's turn")
    return prompt


def _loss(row: dict[str, Any]) -> float:
    if row.get("loss") is not None:
        loss = row["loss"]
        if isinstance(loss, bool) or not isinstance(loss, (int, float)) or not math.isfinite(loss):
            raise ValueError("loss must be a finite number")
        return float(loss)
    if row.get("correct") is not None:
        if not isinstance(row["correct"], bool):
            raise ValueError("correct must be true or false")
        return 0.0 if row["correct"] else 1.0
    return math.nan
