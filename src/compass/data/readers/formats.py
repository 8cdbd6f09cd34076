"""File formats: the functions that turn a file into rows, and the table that finds one by the file's suffix.

To add a format, write a function `(path, wanted) -> iterator of (place, row)` and give it a line in `FORMATS`. place:
where the row is in the file (`line 3`), for error messages. row: its fields as they are. wanted: the columns that will
be read, None for all; a format that can leave columns unread does so, the others ignore it. Shapes, column mapping, ids
and languages come later and are the same for all formats.
"""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import re
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

from compass.data.json_text import parse_json
from compass.data.readers.hints import plain_name, short
from compass.data.readers.remote import RemoteFile
from compass.errors import DataError

File = Path | RemoteFile
"""A file of this machine or of object storage."""
Row = Mapping[str, Any]
"""The fields of one row by column name."""
PlacedRow = tuple[str, Row]
"""Where a row is in its source (`line 3`, `record 3`; from 1), and its fields."""
Wanted = Collection[str] | None
"""The columns that will be read; None for all."""
GZIP = b"\x1f\x8b"
"""What a gzip file begins with."""
UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
"""What a text file in UTF-16 begins with."""
UTF_32 = (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)
PACKED = {b"PK\x03\x04": "zip", b"\x28\xb5\x2f\xfd": "Zstandard", b"BZh": "bzip2", b"\xfd7zX": "xz", b"PAR1": "Parquet"}
"""What other files begin with that come under a name of a text file."""
DELIMITERS = ",;\t|"
SEPARATOR = re.compile(r"sep=.\s*", re.IGNORECASE)
"""A first line by which spreadsheets name the delimiter."""
LONGEST_LINE = 2**28
"""Bytes of a line; one that is longer is no row of text, and may be more than fits into memory."""
LONGEST_ARRAY = 2**31
"""Bytes of a JSON array that is written as one line."""
LONGEST_CELL = 2**31 - 1
"""Characters of a CSV cell: long rows are cleaning's to drop and count."""


@dataclass(frozen=True)
class Format:
    """How files of one suffix are read."""

    rows: Callable[[File, Wanted], Iterator[PlacedRow]]
    gzip: bool = True
    """Whether the file may be compressed, with `.gz` after its suffix."""


def find_format(path: File) -> Format:
    """Return the format of a file by its suffix. Raises DataError for an unknown one."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    compressed = suffixes[-1:] == [".gz"]
    named = suffixes[:-1] if compressed else suffixes
    found = FORMATS.get(named[-1]) if named else None
    if found is None or (compressed and not found.gzip):
        alone = [suffix for suffix, known in FORMATS.items() if not known.gzip]
        raise DataError(
            f"{path}: unknown format {''.join(suffixes[-2:])!r}. Known: {', '.join(FORMATS)}; all but "
            f"{', '.join(alone)} also with .gz after it."
        )
    return found


# -- lines of text -----------------------------------------------------------------------------------------------------


def text_lines(path: File, longest: int = LONGEST_LINE) -> Iterator[tuple[int, str]]:
    """Yield (number from 1, text with its line end) of a text file in UTF-8, or UTF-16 or UTF-32 with its mark.

    Also of gzip. longest: bytes of a line. Raises DataError for other compressed files, broken gzip, text of another
    encoding and lines that are longer.
    """
    number = 0
    with path.open("rb") as raw_stream:
        start = raw_stream.read(2)
    compressed = start == GZIP or path.suffix.lower() == ".gz"
    with path.open("rb") as raw_stream, gzip.GzipFile(fileobj=raw_stream) if compressed else raw_stream as stream:
        try:
            start = stream.read(4)
            stream.seek(0)
            if packed := next((kind for mark, kind in PACKED.items() if start.startswith(mark)), None):
                raise DataError(f"{path} is a {packed} file, not text. Unpack it, or correct its extension.")
            if start[:2] in UTF_16 or start in UTF_32:
                # Files of Windows; lines can't be cut at the byte of a line feed.
                encoding = "utf-32" if start in UTF_32 else "utf-16"
                with io.TextIOWrapper(stream, encoding, newline="") as decoded:
                    yield from enumerate(iter(partial(_line, decoded, path, longest), ""), 1)
                return
            for number, raw in enumerate(iter(partial(_line, stream, path, longest), b""), 1):
                yield number, decoded_line(raw, number)
        except UnicodeDecodeError as error:
            raise _not_utf8(path, number, error) from error
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise DataError(f"{path}, after line {number}: the gzip file is broken or cut off ({error}).") from error


def part_lines(path: File, start: int, stop: int, first: int) -> Iterator[tuple[int, str]]:
    """Yield (number, text) of the lines of a UTF-8 file that begin from one byte on and before another one.

    first: number of the first of them. Raises DataError as `text_lines`.
    """
    number = first
    with path.open("rb") as stream:
        stream.seek(max(start - 1, 0))
        place = start - 1 + len(_line(stream, path, LONGEST_LINE)) if start else 0
        try:
            while place < stop and (raw := _line(stream, path, LONGEST_LINE)):
                yield number, decoded_line(raw, number)
                place, number = place + len(raw), number + 1
        except UnicodeDecodeError as error:
            raise _not_utf8(path, number, error) from error


def decoded_line(raw: bytes, number: int) -> str:
    """Return a line of a UTF-8 file; its first one may begin with a mark."""
    return raw.decode("utf-8-sig" if number == 1 else "utf-8")


def _not_utf8(path: File, number: int, error: UnicodeDecodeError) -> DataError:
    return DataError(
        f"{path}, line {number}: not UTF-8 (byte 0x{error.object[error.start]:02x} at position {error.start}). "
        "Save the file as UTF-8, or convert it: iconv -f ENCODING -t utf-8. Windows uses windows-1252 for Western "
        "European languages, windows-1253 for Greek and windows-1251 for Cyrillic."
    )


def _line(stream: Any, path: File, longest: int) -> Any:
    """Read a line; empty at the end. Raises DataError for one that is too long."""
    line = stream.readline(longest)
    if len(line) == longest:
        raise DataError(
            f"{path}: a line is longer than {longest // 2**20} MiB, so it is no file of rows. Write one row per line, "
            "or correct the extension of the file."
        )
    return line


# -- JSON --------------------------------------------------------------------------------------------------------------


def json_lines(path: File, wanted: Wanted = None) -> Iterator[PlacedRow]:
    """Yield the rows of a JSON Lines file; blank lines are skipped. Raises DataError with file and line."""
    return rows_of_lines(path, text_lines(path))


def rows_of_lines(path: File, lines: Iterable[tuple[int, str]]) -> Iterator[PlacedRow]:
    """Yield the rows of numbered lines of a JSON Lines file; as `json_lines`."""
    for number, text in lines:
        if not text.strip():
            continue
        place = f"line {number}"
        try:
            row = parse_json(text)
        except ValueError as error:
            raise DataError(f"{path}, {place}: {error}: {short(text.strip())}") from error
        yield place, _json_object(f"{path}, {place}", row)


def json_rows(path: File, wanted: Wanted = None) -> Iterator[PlacedRow]:
    """Yield the rows of a JSON file: the objects of one array, of the one list in an object, or of JSON Lines.

    An object may also be a table by columns, as data frames write it, or a single row. Raises DataError with file and
    line.
    """
    # One that is an array may be a single line.
    lines = (text for _, text in text_lines(path, LONGEST_ARRAY) if text.strip())
    first, second = next(lines, ""), next(lines, "")
    if first.lstrip().startswith("["):
        return _json_array(path)
    try:
        parse_json(first)
    except ValueError:
        whole = first.strip() + second.strip()
    else:
        whole = "" if second else first
    if whole.startswith("{"):
        try:
            content = parse_json("".join(text for _, text in text_lines(path, LONGEST_ARRAY)))
        except ValueError:
            content = None
        if isinstance(content, dict):
            return _json_of_one(path, content, wanted)
    return json_lines(path)


def _json_of_one(path: File, content: Row, wanted: Wanted) -> Iterator[PlacedRow]:
    """Yield the rows that a single object holds."""
    if columns := _by_columns(content):
        for number, cells in enumerate(zip(*columns.values(), strict=True), 1):
            yield f"record {number}", dict(zip(columns, cells, strict=True))
        return
    known = set(wanted) if wanted is not None else None
    lists = {
        name: value
        for name, value in content.items()
        if isinstance(value, list) and value and all(isinstance(row, dict) for row in value)
        and _holds_rows(value[0], content, known)
    }  # fmt: skip
    if len(lists) > 1:
        raise DataError(
            f"{path}: it is one object with the lists {', '.join(lists)}, and nothing says which one has the rows. "
            "Write that list to a file of its own."
        )
    for name, rows in lists.items():
        for number, row in enumerate(rows, 1):
            yield f"record {number} of {name}", row
    if not lists:
        yield "record 1", content


def _holds_rows(row: Row, around: Row, known: Collection[str] | None) -> bool:
    """Say whether an object in a list is a row, rather than a turn of the row that the list is a part of."""
    if known is None:
        return not {"role", "from"} & row.keys()
    here, outside = (len({plain_name(name) for name in of}.intersection(known)) for of in (row, around))
    return 0 < here >= outside


def _by_columns(content: Row) -> dict[str, list[Any]]:
    """Return the columns of a table that is written column by column; empty if it is no such table."""
    values = list(content.values())
    if values and all(isinstance(value, dict) for value in values) and len({tuple(value) for value in values}) == 1:
        return {name: list(value.values()) for name, value in content.items()} if all(values) else {}
    if not values or not all(isinstance(value, list) and value for value in values):
        return {}
    same_length = len({len(value) for value in values}) == 1
    holds_cells = any(not isinstance(cell, dict) for value in values for cell in value)
    return dict(content) if same_length and holds_cells else {}


def _json_array(path: File) -> Iterator[PlacedRow]:
    try:
        rows = parse_json("".join(text for _, text in text_lines(path, LONGEST_ARRAY)))
    except ValueError as error:
        raise DataError(f"{path}: {error}.") from error
    for number, row in enumerate(rows, 1):
        place = f"record {number}"
        yield place, _json_object(f"{path}, {place}", row)


def _json_object(place: str, row: Any) -> Row:
    if not isinstance(row, dict):
        raise DataError(f"{place}: a record must be a JSON object, got {type(row).__name__}: {short(row)}.")
    return row


# -- tables ------------------------------------------------------------------------------------------------------------


def csv_rows(path: File, wanted: Wanted = None) -> Iterator[PlacedRow]:
    """Yield the rows of a CSV file with a header; `;`, tabs and `|` will do. Raises DataError with file and line."""
    return _separated(path, ",")


def tsv_rows(path: File, wanted: Wanted = None) -> Iterator[PlacedRow]:
    """Yield the rows of a tab-separated file with a header. Raises DataError with file and line."""
    return _separated(path, "\t")


def _separated(path: File, delimiter: str) -> Iterator[PlacedRow]:
    csv.field_size_limit(LONGEST_CELL)
    lines = text_lines(path)
    # Spreadsheets may begin with empty lines, or with one that names the delimiter.
    first, names = next((line for line in lines if line[1].strip() and not SEPARATOR.fullmatch(line[1])), (1, ""))
    if delimiter == ",":
        # Spreadsheets write semicolons where the comma is the decimal sign.
        delimiter = max(DELIMITERS, key=names.count)
    reader = csv.reader(chain([names], (text for _, text in lines)), delimiter=delimiter, strict=True)
    before, start = first - 1, first
    try:
        header = [name.strip() for name in next(reader, [])]
        for name in filter(None, header):
            if header.count(name) > 1:
                raise DataError(f"{path}, line {start}: the column {name!r} is there twice. Rename one of them.")
        start = before + reader.line_num + 1
        for cells in reader:
            # A quoted cell may hold line breaks: the row is named by its first line.
            number, start = start, before + reader.line_num + 1
            if not cells:
                continue
            if len(cells) != len(header):
                what = f"{len(cells)} fields, but {len(header)} in the header ({', '.join(header)})"
                raise DataError(
                    f"{path}, line {number}: {what}. Put a text that has {delimiter!r} or a line break in it in "
                    "quotation marks."
                )
            yield f"line {number}", {name: cell for name, cell in zip(header, cells, strict=True) if name}
    except csv.Error as error:
        if "new-line character" in str(error):
            raise DataError(
                f"{path}, line {start}: lines end in a carriage return alone. Save the file with the line ends of "
                "Unix or Windows."
            ) from error
        raise DataError(
            f"{path}, line {start}: broken CSV ({error}). A text that begins with a quotation mark must end with one, "
            "and those within it are doubled."
        ) from error


def parquet_rows(
    path: File, wanted: Wanted = None, groups: Sequence[int] | None = None, before: int = 0
) -> Iterator[PlacedRow]:
    """Yield the rows of a Parquet file, with the wanted columns alone. Raises DataError with file and record.

    groups: row groups to read, None for all; before: records before the first of them.
    """
    import pyarrow
    import pyarrow.parquet

    number = before
    try:
        with pyarrow.parquet.ParquetFile(path if isinstance(path, Path) else path.open()) as file:
            names = file.schema_arrow.names
            if repeated := next((name for name in names if names.count(name) > 1), None):
                raise DataError(f"{path}: the column {repeated!r} is there twice. Rename one of them.")
            read = [name for name in names if wanted is None or name in wanted or plain_name(name) in wanted]
            # A file without any wanted column is read whole, so that the error can list the columns it has.
            for batch in file.iter_batches(batch_size=1024, columns=read or None, row_groups=groups):
                for row in _rows_of(batch):
                    number += 1
                    yield f"record {number}", {**dict.fromkeys(names), **row} if number == before + 1 else row
    except UnicodeDecodeError as error:
        raise DataError(f"{path}, record {number + 1}: a text that is not UTF-8. Write the file again.") from error
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(f"{path}: cannot be read as Parquet after record {number} ({error}).") from error


def _rows_of(batch: Any) -> Iterator[Row]:
    """Yield the rows of a batch; where one of them can't be decoded, those before it first."""
    try:
        yield from batch.to_pylist()
    except UnicodeDecodeError:
        for i in range(batch.num_rows):
            yield from batch.slice(i, 1).to_pylist()


FORMATS: Mapping[str, Format] = {
    ".jsonl": Format(json_lines),
    ".ndjson": Format(json_lines),
    ".json": Format(json_rows),
    ".csv": Format(csv_rows),
    ".tsv": Format(tsv_rows),
    ".parquet": Format(parquet_rows, gzip=False),
}
"""Suffix -> how such files are read. A new format is one line here."""
