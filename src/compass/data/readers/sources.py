"""Sources: what a user names (a file, a saved folder, a data set on the hub), opened as rows."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from compass.data.readers.formats import FORMATS, PlacedRow, Wanted, find_format
from compass.data.readers.hints import listed
from compass.data.readers.hub import HUB, hub_rows, saved_rows
from compass.data.readers.remote import RemoteFile, is_url
from compass.errors import DataError


@dataclass(frozen=True)
class Source:
    """The rows of one source and the name it goes by in error messages."""

    name: str
    rows: Iterator[PlacedRow]

    @property
    def short_name(self) -> str:
        """What its rows carry as their `source`: the name on the hub, or the file's without its folder."""
        return self.name if self.name.startswith(HUB) else Path(self.name).name


def open_source(source: str, *, wanted: Wanted = None, streaming: bool = False) -> Source:
    """Open a source by its name. wanted: columns to read, None for all. streaming: do not download a hub data set.

    Raises DataError if there is no such source, or its format is unknown; rows raise as they are read.
    """
    if source.startswith(HUB):
        return Source(source, hub_rows(source, wanted, streaming=streaming))
    if not is_url(source) and (folder := source_path(source)) != Path(source).expanduser():
        split = source.rpartition(":")[2]
        return Source(f"{folder}:{split}" if split else str(folder), saved_rows(folder, split, wanted))
    if is_url(source):
        remote = RemoteFile(source)
        if not remote.exists():
            raise DataError(f"{source}: no such file. Check bucket and key.")
        return Source(source, find_format(remote).rows(remote, wanted))
    path = existing_path(source)
    if path.is_dir():
        return Source(str(path), saved_rows(path, wanted=wanted))
    known = find_format(path)
    if not path.is_file():
        raise DataError(
            f"{path} is not a file but a pipe or a device, and data are read more than once. Write them to a file."
        )
    if path.stat().st_size == 0:
        raise DataError(f"{path} is empty.")
    return Source(str(path), known.rows(path, wanted))


def source_path(source: str) -> Path:
    """Return the path that a source names; of `FOLDER:SPLIT`, a saved `datasets` folder, that of the folder."""
    path, folder = Path(source).expanduser(), Path(source.rpartition(":")[0]).expanduser()
    named = bool(source.rpartition(":")[0])
    return folder if named and not path.exists() and folder.is_dir() else path


def existing_path(source: str) -> Path:
    """Return the path of a file or folder that exists. Raises DataError with the nearest name in its folder."""
    if not source.strip():
        raise DataError("A source has no name. Give a file, a folder that datasets saved, or hub:NAME.")
    path = Path(source).expanduser()
    if path.exists():
        return path
    parent = path.parent
    if not parent.is_dir():
        nearest = next(folder for folder in parent.parents if folder.is_dir())
        raise DataError(
            f"{source}: no such file; {_called(nearest)} has no folder {parent.relative_to(nearest)}."
            + _hub_hint(source)
        )
    if path.is_symlink():
        raise DataError(f"{source} is a link that leads nowhere. Name the file itself.")
    names = sorted(entry.name for entry in parent.iterdir())
    # A file of another format is nearer than one of another name.
    same = [name for name in names if name.split(".")[0] == path.name.split(".")[0]]
    close = difflib.get_close_matches(path.name, same or names, n=1, cutoff=0.5)
    there = _called(parent)
    there = f"{there[0].upper()}{there[1:]} holds {listed(names) or 'nothing'}."
    hint = f"Did you mean {parent / close[0]}?" if close else there
    raise DataError(f"{source}: no such file. {hint}")


def _called(folder: Path) -> str:
    return f"the current folder, {Path.cwd()}," if folder == Path() else f"the folder {folder}"


def _hub_hint(source: str) -> str:
    looks_like_hub = re.fullmatch(r"[\w.\-]+/[\w.\-]+", source) and not source.endswith((*FORMATS, ".gz"))
    return f" For the data set of that name on the hub, write hub:{source}." if looks_like_hub else ""
