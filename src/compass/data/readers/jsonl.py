"""Our own JSON Lines, both ways: examples as the run folder keeps them."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, cast

from compass.data.example import Example
from compass.data.readers.formats import json_lines
from compass.data.readers.hints import listed
from compass.data.readers.sources import existing_path
from compass.errors import DataError
from compass.runs.files import is_full_disk, replacing


def read_jsonl(path: str | os.PathLike[str]) -> list[Example]:
    """Read back what `write_jsonl` wrote. Raises DataError with file and line."""
    return list(iter_jsonl(path))


def iter_jsonl(path: str | os.PathLike[str]) -> Iterator[Example]:
    """Yield the rows of `read_jsonl`, one in memory at a time."""
    found = existing_path(os.fspath(path))
    if not found.is_file():
        raise DataError(f"{found} is not a file. Restore it, or run the command that wrote it again.")
    for place, row in json_lines(found):
        yield _example(f"{found}, {place}", row)


def _example(place: str, row: Mapping[str, Any]) -> Example:
    missing = [name for name in ("id", "prompt") if name not in row]
    if missing:
        raise DataError(f"{place}: no {' and no '.join(map(repr, missing))}; found {listed(row)}.")
    try:
        return Example.from_dict(row)
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{place}: `context` must be a list of objects with role and content.") from error


def write_jsonl(path: str | os.PathLike[str], examples: Iterable[Example], *, arrival: bool = False) -> int:
    """Write examples as JSON Lines (gzip for `.gz`), all or nothing; return the number of rows.

    arrival: with the time and the session of each, as far as they are known. Raises OSError that names the file if the
    disk is full, DataError if they can't be written for another reason.
    """
    target, rows = Path(path), 0
    try:
        with replacing(target) as partial, _created(partial, compressed=target.suffix == ".gz") as out:
            for example in examples:
                out.write(_encoded(example.to_dict() | (example.arrival() if arrival else {})))
                rows += 1
    except OSError as error:
        if is_full_disk(error):
            raise
        raise DataError(
            f"Cannot write {target}: {error.strerror or error} after {rows} rows. Choose another output_dir, then run "
            "the same command again."
        ) from error
    return rows


@contextmanager
def _created(path: Path, *, compressed: bool) -> Iterator[IO[bytes]]:
    with path.open("wb") as plain:
        if not compressed:
            yield plain
            return
        # No time stamp and no name inside: the same rows give the same bytes.
        with gzip.GzipFile(filename="", mode="wb", fileobj=plain, mtime=0) as packed:
            yield cast(IO[bytes], packed)


_ENCODER = json.JSONEncoder(ensure_ascii=False)


def _encoded(row: Mapping[str, Any]) -> bytes:
    try:
        return (_ENCODER.encode(row) + "\n").encode()
    except UnicodeEncodeError:  # lone surrogates can only be written as escapes
        return (json.dumps(row) + "\n").encode()
