"""Rows in a file, made when they are asked for: a large pool is no list of objects.

The file is Arrow's, mapped into memory and without a name: it lies in the folder for temporary files (TMPDIR) and is
gone when the process is.
"""

from __future__ import annotations

import contextlib
import json
import operator
import os
import tempfile
import weakref
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import fields
from itertools import chain, islice
from sys import intern
from typing import TYPE_CHECKING, Any, overload

import numpy as np
import numpy.typing as npt

from compass.data.example import Example, Message

if TYPE_CHECKING:
    import pyarrow as pa

IN_MEMORY_ROWS = 500_000
"""Rows that are kept as objects: some 700 MB of short ones. Below this the file saves neither memory nor time."""
BATCH_ROWS = 8_192
"""Rows that are made at a time."""
NAMES = tuple(field.name for field in fields(Example))


class StoredRows(Sequence[Example]):
    """Rows of a table, all or some of them in an order of their own. Slices are such rows, too."""

    def __init__(self, table: pa.Table, places: npt.NDArray[np.int64] | None = None) -> None:
        """places: (n,) rows of the table; None: all."""
        self._table, self._places = table, places

    def __len__(self) -> int:
        return int(self._table.num_rows if self._places is None else len(self._places))

    @overload
    def __getitem__(self, row: int) -> Example: ...
    @overload
    def __getitem__(self, row: slice) -> StoredRows: ...
    def __getitem__(self, row: int | slice) -> Example | StoredRows:
        if isinstance(row, slice):
            if self._places is not None:
                return StoredRows(self._table, self._places[row])
            start, stop, step = row.indices(len(self))
            if step == 1:
                return StoredRows(self._table.slice(start, max(0, stop - start)))
            return StoredRows(self._table, np.arange(start, stop, step))
        row = operator.index(row)
        row += len(self) if row < 0 else 0
        if not 0 <= row < len(self):
            raise IndexError(row)
        place = row if self._places is None else int(self._places[row])
        return next(_examples(self._table.slice(place, 1)))

    def __iter__(self) -> Iterator[Example]:
        return chain.from_iterable(map(_examples, self.tables()))

    def values(self, name: str) -> Iterator[Any]:
        """Yield one field of each row."""
        for batch in self._batches(self._table.select([name])):
            yield from batch.column(0).to_pylist()

    def tables(self) -> Iterator[pa.Table]:
        """Yield the rows as Arrow tables, some at a time."""
        return self._batches(self._table)

    def with_ids(self, ids: Sequence[str]) -> StoredRows:
        """Return the rows with other ids."""
        rows = self if self._places is None else self.copied(np.arange(len(self)))
        field = rows._table.schema.field("id")
        return StoredRows(
            rows._table.set_column(rows._table.schema.names.index("id"), field, [_array(list(ids), field.type)])
        )

    def some(self, rows: npt.NDArray[np.int64]) -> StoredRows:
        """Return these rows, in this order. rows: (m,)."""
        return StoredRows(self._table, rows if self._places is None else self._places[rows])

    def copied(self, rows: npt.NDArray[np.int64]) -> StoredRows:
        """Return these rows, in this order, side by side in memory. rows: (m,)."""
        return StoredRows(self._table.take(rows if self._places is None else self._places[rows]))

    def same_as(self) -> Any:
        """Return what is equal for the same rows of the same file."""
        return id(self._table), None if self._places is None else self._places.tobytes()

    def __reduce__(self) -> Any:
        import pyarrow as pa

        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, self._table.schema) as stream:
            for table in self.tables():
                stream.write_table(table)
        return _received, (sink.getvalue().to_pybytes(),)

    def _batches(self, table: pa.Table) -> Iterator[pa.Table]:
        for start in range(0, len(self), BATCH_ROWS):
            if self._places is None:
                yield table.slice(start, BATCH_ROWS)
            else:
                places = self._places[start : start + BATCH_ROWS]
                # What lies side by side is not copied together from all of the file.
                first = int(places.min())
                yield table.slice(first, int(places.max()) - first + 1).take(places - first)


class Column(Sequence[Any]):
    """One field of stored rows, read when it is asked for."""

    def __init__(self, rows: StoredRows, name: str) -> None:
        self._rows, self._name = rows, name

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, row: Any) -> Any:
        return getattr(self._rows[row], self._name)

    def __iter__(self) -> Iterator[Any]:
        return self._rows.values(self._name)


def column(rows: Sequence[Example], name: str) -> Sequence[Any]:
    """Return one field of each row."""
    return Column(rows, name) if isinstance(rows, StoredRows) else [getattr(row, name) for row in rows]


def chosen(rows: Sequence[Example], places: Sequence[int]) -> Iterator[Example]:
    """Yield the rows at some places, in this order."""
    if isinstance(rows, StoredRows):
        return iter(rows.some(np.asarray(places, dtype=np.int64)))
    return map(rows.__getitem__, places)


def gathered(rows: Sequence[Example], places: npt.NDArray[np.int64]) -> Sequence[Example]:
    """Return the rows at some places, in this order, to be sliced. places: (m,)."""
    return rows.copied(places) if isinstance(rows, StoredRows) else list(chosen(rows, places.tolist()))


def without(rows: Sequence[Example], places: Collection[int]) -> Sequence[Example]:
    """Return rows without those at some places."""
    if not places:
        return rows
    if isinstance(rows, StoredRows):
        kept = np.ones(len(rows), dtype=bool)
        kept[np.fromiter(places, dtype=np.int64, count=len(places))] = False
        return rows.some(np.flatnonzero(kept))
    return tuple(row for i, row in enumerate(rows) if i not in places)


def kept(rows: Iterable[Example]) -> Sequence[Example]:
    """Return rows that come one after another as a sequence: in memory, or in a file where there are many.

    Raises OSError if the disk is full.
    """
    return kept_groups([rows])


def kept_groups(groups: Iterable[Iterable[Example]]) -> Sequence[Example]:
    """Return the rows of several groups, as `kept`; stored ones go to the file without an object for each row."""
    coming = (block for group in groups for block in _blocks(group))
    first: list[Sequence[Example]] = []
    n = 0
    for block in coming:
        first.append(block)
        n += len(block)
        if n >= IN_MEMORY_ROWS:
            return _in_file(first, coming)
    return tuple(chain.from_iterable(first))


def _blocks(rows: Iterable[Example]) -> Iterator[Sequence[Example]]:
    if isinstance(rows, StoredRows):
        yield rows
        return
    coming = iter(rows)
    while block := list(islice(coming, BATCH_ROWS)):
        yield block


def _in_file(first: list[Sequence[Example]], coming: Iterator[Sequence[Example]]) -> Sequence[Example]:
    import pyarrow as pa

    descriptor, path = tempfile.mkstemp(prefix="compass-rows-", suffix=".arrow")
    os.close(descriptor)
    try:
        with pa.OSFile(path, "wb") as file, pa.ipc.new_file(file, _schema()) as out:
            waiting = deque(first)
            first.clear()
            while (block := waiting.popleft() if waiting else next(coming, None)) is not None:
                for table in packed(block).tables():
                    out.write_table(table)
        table = pa.ipc.open_file(pa.memory_map(path)).read_all()
        stored = StoredRows(table)
        try:
            os.unlink(path)
        except OSError:  # Windows keeps what is mapped.
            weakref.finalize(stored, _remove, path)
    except BaseException:
        _remove(path)
        raise
    return stored


def packed(rows: Sequence[Example]) -> StoredRows:
    """Return rows as stored ones, in memory."""
    import pyarrow as pa

    return rows if isinstance(rows, StoredRows) else StoredRows(pa.Table.from_batches([_batch(rows)]))


def _remove(path: str) -> None:
    with contextlib.suppress(OSError):
        os.unlink(path)


def _schema() -> pa.Schema:
    import pyarrow as pa

    kinds = {"period": pa.int64(), "at": pa.float64()}
    return pa.schema([(name, kinds.get(name, pa.string())) for name in NAMES])


def _batch(rows: Sequence[Example]) -> pa.RecordBatch:
    import pyarrow as pa

    schema = _schema()
    columns: dict[str, list[Any]] = {name: [getattr(row, name) for row in rows] for name in NAMES}
    columns["context"] = [
        json.dumps([[turn.role, turn.content] for turn in turns]) if turns else "" for turns in columns["context"]
    ]
    return pa.record_batch([_array(columns[name], schema.field(name).type) for name in NAMES], schema=schema)


def _array(values: list[Any], kind: pa.DataType) -> pa.Array:
    import pyarrow as pa

    try:
        return pa.array(values, kind)
    except UnicodeEncodeError:
        # Half a surrogate pair, as in the name of a file that is not UTF-8: readers leave none in texts.
        return pa.array([value.encode("utf-8", "replace").decode() for value in values], kind)


def _examples(table: pa.Table) -> Iterator[Example]:
    columns = {name: table.column(name).to_pylist() for name in NAMES}
    for name in ("language", "label", "source"):
        columns[name] = list(map(intern, columns[name]))
    columns["context"] = [_turns(text) for text in columns["context"]]
    return map(Example, *(columns[name] for name in NAMES))


def _turns(text: str) -> tuple[Message, ...]:
    return tuple(Message(role, content) for role, content in json.loads(text)) if text else ()


def _received(content: bytes) -> StoredRows:
    import pyarrow as pa

    return StoredRows(pa.ipc.open_stream(pa.py_buffer(content)).read_all())
