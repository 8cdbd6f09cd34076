"""Vectors in a file that are read when they are asked for, and of which nothing stays in memory."""

from __future__ import annotations

import os
import threading
import weakref
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from compass.encoders.protocol import FloatArray
from compass.errors import EncoderError


class StoredVectors:
    """(n, d) float32 rows of a file of little-endian floats, in an order of their own.

    Indexed by a slice or by an array of row numbers, it returns a new array. Safe for threads.
    """

    ndim = 2

    def __init__(
        self, path: str | os.PathLike[str], dimensions: int, *, rows: npt.NDArray[Any] | None = None, dtype: str = "<f4"
    ) -> None:
        """rows: (n,) places in the file of the rows from 0 on; None: all in their order. dtype: of the file."""
        self.path = Path(path)
        self._dtype = np.dtype(dtype)
        self._rows = rows
        in_file = self.path.stat().st_size // (dimensions * self._dtype.itemsize)
        self.shape = (in_file if rows is None else len(rows), dimensions)
        self._file = os.open(self.path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
        self._lock = threading.Lock()
        weakref.finalize(self, os.close, self._file)

    def __len__(self) -> int:
        """Return the number of rows."""
        return self.shape[0]

    def __getitem__(self, rows: Any) -> FloatArray:
        """Return the rows of a slice, of an array of row numbers, or one row."""
        if isinstance(rows, int | np.integer):
            return self[np.array([rows])].reshape(-1)
        if self._rows is not None:
            return self._read(self._rows[rows])
        if isinstance(rows, slice):
            return self._read(np.arange(*rows.indices(len(self))))
        return self._read(np.flatnonzero(rows) if np.asarray(rows).dtype == bool else np.asarray(rows))

    def _read(self, places: npt.NDArray[Any]) -> FloatArray:
        """Read rows by their places; those that lie side by side at once."""
        n, size = len(places), self._dtype.itemsize * self.shape[1]
        raw = bytearray(n * size)
        view = memoryview(raw)
        starts = [*range(min(n, 1)), *(np.flatnonzero(np.diff(places) != 1) + 1).tolist()]
        for start, end in pairwise([*starts, n]):
            self._read_into(view[start * size : end * size], int(places[start]) * size)
        rows = np.frombuffer(raw, dtype=self._dtype).reshape(n, self.shape[1])
        return rows.astype(np.float32, copy=False)

    def _read_into(self, view: memoryview, offset: int) -> None:
        while view:
            if hasattr(os, "preadv"):
                got = os.preadv(self._file, [view], offset)
            else:
                with self._lock:
                    os.lseek(self._file, offset, os.SEEK_SET)
                    read = os.read(self._file, len(view))
                got = len(read)
                view[:got] = read
            if not got:
                raise EncoderError(f"{self.path} is shorter than it was. Do not change it while a run reads it.")
            offset, view = offset + got, view[got:]
