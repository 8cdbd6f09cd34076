"""Parts of a source that can be read by themselves, each by another worker: ranges of lines, Parquet's row groups."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise
from pathlib import Path

from compass.data.readers.formats import (
    GZIP,
    PACKED,
    UTF_16,
    File,
    PlacedRow,
    Wanted,
    find_format,
    json_lines,
    parquet_rows,
    part_lines,
    rows_of_lines,
)
from compass.data.readers.hub import HUB
from compass.data.readers.remote import file_at
from compass.data.readers.sources import source_path
from compass.engines import each, part_bytes
from compass.errors import DataError


@dataclass(frozen=True)
class Part:
    """Where a part of a source lies."""

    source: str
    start: int
    """Its first byte, or row group."""
    stop: int
    """Where the next part begins."""
    before: int = 0
    """Lines or records before it."""

    def rows(self, wanted: Wanted) -> Iterator[PlacedRow]:
        """Yield its rows, as the whole source would."""
        file = file_at(self.source)
        if find_format(file).rows is parquet_rows:
            return parquet_rows(file, wanted, range(self.start, self.stop), self.before)
        return rows_of_lines(file, part_lines(file, self.start, self.stop, self.before + 1))


def parts_of(source: str) -> list[Part]:
    """Return the parts of a source, in order; none where it has to be read as a whole. Raises DataError as reading."""
    if source.startswith(HUB) or (isinstance(file := file_at(source), Path) and not source_path(source).is_file()):
        return []
    kind = find_format(file).rows
    if kind is parquet_rows:
        return _row_groups(source, file)
    if kind is not json_lines or not _is_plain(file):
        return []
    size = file.stat().st_size if isinstance(file, Path) else file.size()
    starts = [*range(0, size, part_bytes()), size]
    parts = [Part(source, start, stop) for start, stop in pairwise(starts)]
    lines = accumulate(each(_lines_in, parts), initial=0)
    return [replace(part, before=before) for part, before in zip(parts, lines, strict=False)]


def _is_plain(file: File) -> bool:
    """Say whether a file is text whose lines end at the byte of a line feed."""
    with file.open("rb") as stream:
        start = stream.read(4)
    return start[:2] not in (GZIP, *UTF_16) and not any(map(start.startswith, PACKED))


def _lines_in(part: Part) -> int:
    """Return how many lines begin in a part."""
    with file_at(part.source).open("rb") as stream:
        stream.seek(max(part.start - 1, 0))
        return stream.read(part.stop - 1 - max(part.start - 1, 0)).count(b"\n") + (part.start == 0)


def _row_groups(source: str, file: File) -> list[Part]:
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(file if isinstance(file, Path) else file.open()) as opened:
            groups = [opened.metadata.row_group(i) for i in range(opened.num_row_groups)]
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(f"{source}: cannot be read as Parquet ({error}).") from error
    before = [0, *accumulate(group.num_rows for group in groups)]
    parts, start, room = [], 0, part_bytes()
    for number, group in enumerate(groups, 1):
        room -= group.total_byte_size
        if room <= 0 or number == len(groups):
            parts.append(Part(source, start, number, before[start]))
            start, room = number, part_bytes()
    return parts
