"""Files of object storage, by the URLs that fsspec knows: `s3://bucket/pool.jsonl`."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, Any, cast

from compass.errors import DataError, MissingExtraError

BUFFER_BYTES = 2**20
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]+://")


def is_url(source: str) -> bool:
    """Say whether a source is named by a URL."""
    return _URL.match(source) is not None


class RemoteFile:
    """A file at a URL, with as much of `Path` as reading needs. Raises DataError if it can't be had."""

    def __init__(self, url: str) -> None:
        """Raise MissingExtraError without the package that its protocol needs."""
        import fsspec

        self.url = url
        try:
            self._files, self.path = cast("tuple[Any, str]", fsspec.core.url_to_fs(url))
        except ImportError as error:
            raise MissingExtraError(str(error).split()[1], "ray", f"{url}: its protocol") from error
        except ValueError as error:
            raise DataError(f"{url}: {error}. Name a file, or a URL such as s3://bucket/pool.jsonl.") from error
        self.name = PurePosixPath(self.path).name
        self.suffixes = PurePosixPath(self.path).suffixes
        self.suffix = self.suffixes[-1] if self.suffixes else ""

    def __str__(self) -> str:
        return self.url

    def open(self, mode: str = "rb") -> IO[bytes]:
        """Open it for reading. Files of fsspec read no line up to a length, so there is a buffer in front."""
        with self._told():
            return io.BufferedReader(self._files.open(self.path, mode), BUFFER_BYTES)

    def exists(self) -> bool:
        """Say whether it is there."""
        with self._told():
            return bool(self._files.exists(self.path))

    def size(self) -> int:
        """Return its bytes."""
        with self._told():
            return int(self._files.size(self.path))

    def identity(self) -> str:
        """Return what changes when its content does, as the storage tells it."""
        with self._told():
            return str(self._files.ukey(self.path))

    def matches(self) -> list[str]:
        """Return the URLs that it stands for: those of a pattern with `*`, else its own."""
        if "*" not in self.path:
            return [self.url]
        with self._told():
            return [self._files.unstrip_protocol(path) for path in sorted(self._files.glob(self.path))]

    def put(self, file: Path) -> None:
        """Write a file of this machine to it."""
        with self._told("written"):
            self._files.put_file(str(file), self.path)

    @contextmanager
    def _told(self, done: str = "read") -> Iterator[None]:
        try:
            yield
        except FileNotFoundError as error:
            raise DataError(f"{self.url}: no such file. Check bucket and key.") from error
        except Exception as error:
            # Each storage has exceptions of its own, of no common class.
            raise DataError(
                f"{self.url} can't be {done}: {error}. Check the address and the credentials that its library takes "
                "from the environment."
            ) from error


def file_at(source: str) -> Path | RemoteFile:
    """Return the file that a source names."""
    return RemoteFile(source) if is_url(source) else Path(source)


def expanded(sources: list[str]) -> list[str]:
    """Return sources with the URLs that a pattern stands for in its place. Raises DataError for one without any."""
    found = []
    for source in sources:
        files = RemoteFile(source).matches() if is_url(source) else [source]
        if not files:
            raise DataError(f"{source}: no file there fits this pattern.")
        found += files
    return found
