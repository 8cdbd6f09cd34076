"""The files of the embedding cache: vectors of one encoder, found by their texts' hashes.

One folder per encoder identity holds two append-only files and a lock:

    meta.json     format, encoder name, revision, dimension
    vectors.f32   n rows of d little-endian float32
    index.bin     n records of 20 bytes: BLAKE2b-128 of the text, CRC-32 of that hash and its row

Row i of the one belongs to record i of the other. A chunk is written under the lock, vectors first and synced, then its
records: a record on disk means that its row is on disk. A process that dies in between leaves a tail that no record
points to; the next writer cuts it. Whatever a power failure does to the files beyond that, a row whose checksum is
wrong is embedded again. Readers need no lock. Texts are never stored, only their hashes; the vectors themselves and the
hashes of guessable texts still say something about the texts, so the folder is made readable for its owner alone.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import re
import shutil
import threading
import zlib
from collections.abc import Iterator, Sequence
from hashlib import sha256
from pathlib import Path

import numpy as np
import numpy.typing as npt
from filelock import FileLock

from compass.encoders.protocol import FloatArray
from compass.encoders.stored import StoredVectors
from compass.errors import EncoderError

logger = logging.getLogger(__name__)

FORMAT = 1
RECORD = np.dtype([("high", "<u8"), ("low", "<u8"), ("check", "<u4")])
YOUNG_ROWS = 1 << 16
"""Hashes that are kept in a dict before they are sorted into the array: a dict takes ten times the memory."""
LOCATE_ROWS = 1 << 13
"""Rows whose checksums are compared at a time."""
READ_ROWS = 1 << 16
"""Rows that are copied from the mapped file at a time."""


class VectorStore:
    """The two append-only files of one encoder identity."""

    def __init__(self, root: Path, name: str, revision: str) -> None:
        identity = json.dumps([FORMAT, name, revision], ensure_ascii=True)
        readable = re.sub(r"[^A-Za-z0-9.]+", "-", name).strip("-.")[:48]
        self.name, self.revision = name, revision
        self.folder = root / f"{readable}-{sha256(identity.encode()).hexdigest()[:16]}"
        self.dimension = 0
        self._mutex = threading.RLock()
        self._clear()

    def __len__(self) -> int:
        """Return the number of whole rows on disk."""
        with self._mutex:
            self._refresh()
            return self._count

    def read(self, keys: Sequence[bytes]) -> tuple[npt.NDArray[np.int64], FloatArray]:
        """Return which of `keys` (n, all different) are on disk, as ascending positions (m,), and their rows (m, d).

        Rows with a wrong checksum count as not there.
        """
        with self._mutex:
            self._refresh()
            at = self._find(keys)
            found = np.flatnonzero(at >= 0)
            values = np.empty((found.size, self.dimension), dtype=np.float32)
            if not found.size:
                return found, values
            rows = np.memmap(self.folder / "vectors.f32", dtype="<f4", mode="r", shape=(self._count, self.dimension))
            records = np.memmap(self.folder / "index.bin", dtype=RECORD, mode="r", shape=(self._count,))
            checks = np.empty(found.size, dtype=np.uint32)
            # in the order of the file, because random reads are slow where it does not fit in memory
            for part in np.array_split(np.argsort(at[found]), -(-found.size // READ_ROWS)):
                values[part] = rows[at[found[part]]]
                checks[part] = records["check"][at[found[part]]]
        right = np.fromiter(
            (_checksum(keys[i], row) == check for i, row, check in zip(found.tolist(), values, checks, strict=True)),
            dtype=np.bool_,
            count=found.size,
        )
        if right.all():
            return found, values
        logger.warning("%d cached vectors in %s are damaged and will be embedded again", (~right).sum(), self.folder)
        return found[right], values[right]

    def locate(self, keys: Sequence[bytes]) -> npt.NDArray[np.int64]:
        """Return the row of `vectors.f32` of each key, (n,); -1 where there is none, or one with a wrong checksum.

        Reads the vectors block by block and keeps none of them.
        """
        with self._mutex:
            self._refresh()
            at = np.concatenate([self._find(part) for part in _parts(keys)]) if keys else np.empty(0, dtype=np.int64)
            if not (at >= 0).any():
                return at
            records = np.fromfile(self.folder / "index.bin", dtype=RECORD, count=self._count)
        checks = records["check"].copy()
        del records
        vectors = StoredVectors(self.folder / "vectors.f32", self.dimension)
        # in the order of the file, because random reads are slow where it does not fit in memory
        order = np.argsort(at, kind="stable")
        for block in np.array_split(order, -(-len(order) // LOCATE_ROWS)):
            block = block[at[block] >= 0]
            rows = vectors[at[block]]
            for i, row, check in zip(block.tolist(), rows, checks[at[block]].tolist(), strict=True):
                if _checksum(keys[i], row) != check:
                    at[i] = -1
        return at

    def append(self, keys: Sequence[bytes], rows: FloatArray, *, rows_to_come: int = 0) -> None:
        """Write rows (m, d) for m keys as one chunk; `rows_to_come` is for the message when the disk is full.

        Raises EncoderError if d is not the dimension of the rows on disk, or there is no room.
        """
        with self._mutex:
            try:
                self._append(keys, rows)
            except OSError as error:
                if error.errno not in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
                    raise EncoderError(
                        f"The embedding cache {self.folder} cannot be written: {error.strerror}. "
                        "Make the folder writable or choose another with cache_dir."
                    ) from error
                left = len(keys) + rows_to_come
                needed = left * (rows.shape[1] * 4 + RECORD.itemsize)
                raise EncoderError(
                    f"No room for the embedding cache {self.folder} ({error.strerror}): {left} rows "
                    f"are left and need {needed / 1e6:,.1f} MB, {_free_bytes(self.folder) / 1e6:,.1f} MB are free. "
                    "Free some space or choose another folder with cache_dir, and run again: "
                    "vectors that are already embedded are kept."
                ) from error

    def _append(self, keys: Sequence[bytes], rows: FloatArray) -> None:
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with FileLock(self.folder / "lock", mode=0o600):
            self._refresh()
            self._settle_dimension(rows.shape[1])
            data = np.ascontiguousarray(rows, dtype="<f4")
            records = np.empty(len(keys), dtype=RECORD)
            raw = np.frombuffer(b"".join(keys), dtype="<u8").reshape(-1, 2)
            records["high"], records["low"] = raw[:, 0], raw[:, 1]
            records["check"] = [_checksum(key, row) for key, row in zip(keys, data, strict=True)]
            _append_at(self.folder / "vectors.f32", self._count * self.dimension * 4, data.tobytes())
            _append_at(self.folder / "index.bin", self._count * RECORD.itemsize, records.tobytes())
            self._refresh()

    def _settle_dimension(self, dimension: int) -> None:
        if self.dimension == 0:
            meta = {"format": FORMAT, "name": self.name, "revision": self.revision, "dimension": dimension}
            draft = self.folder / "meta.json.new"
            with draft.open("w", encoding="utf-8") as file:
                json.dump(meta, file, indent=1)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(self.folder / "meta.json")
            self.dimension = dimension
        if dimension != self.dimension:
            raise EncoderError(
                f"Encoder {self.name!r} (revision {self.revision!r}) gave {dimension} dimensions; its rows in "
                f"{self.folder} have {self.dimension}. The model has changed under the same revision: "
                "give the new one another encoder_revision, or remove that folder."
            )

    def _clear(self) -> None:
        self._count = 0
        # sorted first halves of the hashes with their rows; records younger than the last sort are in the dict
        self._high: npt.NDArray[np.uint64] = np.empty(0, dtype="<u8")
        self._rows: npt.NDArray[np.int64] = np.empty(0, dtype=np.int64)
        self._recent: dict[bytes, int] = {}

    def _refresh(self) -> None:
        """Take in what other processes have appended since the last look."""
        try:
            if self.dimension == 0:
                self.dimension = int(json.loads((self.folder / "meta.json").read_text(encoding="utf-8"))["dimension"])
            whole_records = (self.folder / "index.bin").stat().st_size // RECORD.itemsize
            whole_rows = (self.folder / "vectors.f32").stat().st_size // (self.dimension * 4)
        except FileNotFoundError:
            self._clear()
            return
        except (ValueError, KeyError, TypeError) as error:
            raise EncoderError(
                f"{self.folder / 'meta.json'} is not a cache description ({error}). Remove the folder; "
                "its texts are then embedded again."
            ) from error
        count = min(whole_records, whole_rows)
        if count < self._count:
            self._clear()
        if count == self._count:
            return
        fresh = np.fromfile(
            self.folder / "index.bin", dtype=RECORD, count=count - self._count, offset=self._count * RECORD.itemsize
        )
        if len(self._recent) + len(fresh) > max(YOUNG_ROWS, self._count // 8):
            high = np.fromfile(self.folder / "index.bin", dtype=RECORD, count=count)["high"]
            self._rows = np.argsort(high, kind="stable")
            self._high = high[self._rows]
            self._recent = {}
        else:
            keys = np.stack([fresh["high"], fresh["low"]], axis=1).tobytes()
            for i in range(len(fresh)):
                self._recent[keys[16 * i : 16 * i + 16]] = self._count + i
        self._count = count

    def _find(self, keys: Sequence[bytes]) -> npt.NDArray[np.int64]:
        """Return the youngest row of each key, (n,) ints, -1 where there is none."""
        found = np.fromiter((self._recent.get(key, -1) for key in keys), dtype=np.int64, count=len(keys))
        rest = np.flatnonzero(found < 0)
        if not rest.size or not self._high.size:
            return found
        lows = np.memmap(self.folder / "index.bin", dtype=RECORD, mode="r", shape=(self._count,))["low"]
        wanted = np.frombuffer(b"".join(keys[i] for i in rest.tolist()), dtype="<u8").reshape(-1, 2)
        begin = np.searchsorted(self._high, wanted[:, 0], side="left")
        end = np.searchsorted(self._high, wanted[:, 0], side="right")
        # records with an equal first half: rows that were embedded twice, or (never in practice) a half collision
        while (open_ := np.flatnonzero(begin < end)).size:
            candidate = self._rows[begin[open_]]
            same = lows[candidate] == wanted[open_, 1]
            target = rest[open_[same]]
            found[target] = np.maximum(found[target], candidate[same])
            begin[open_] += 1
        return found


def _parts(keys: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    return (keys[start : start + READ_ROWS] for start in range(0, len(keys), READ_ROWS))


def _checksum(key: bytes, row: FloatArray) -> int:
    return zlib.crc32(row.tobytes(), zlib.crc32(key))


def _append_at(path: Path, offset: int, data: bytes) -> None:
    """Cut the file to `offset`, write `data` there and sync it; on failure cut it again."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o600)
    try:
        os.ftruncate(descriptor, offset)
        os.lseek(descriptor, offset, os.SEEK_SET)
        view = memoryview(data)
        try:
            while view:
                view = view[os.write(descriptor, view) :]
            os.fsync(descriptor)
        except OSError:
            os.ftruncate(descriptor, offset)
            raise
    finally:
        os.close(descriptor)


def _free_bytes(folder: Path) -> int:
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free
