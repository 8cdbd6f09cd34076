"""Data sets of the library `datasets`: from the hub, or from a folder that `save_to_disk` wrote."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compass.data.readers.formats import PlacedRow, Wanted
from compass.data.readers.hints import listed, nearest, plain_name
from compass.errors import DataError

HUB = "hub:"
"""What the name of a source on the hub starts with."""
_NAME = re.compile(r"hub:(?P<name>\w[\w.\-]*(?:/\w[\w.\-]*){0,2})(?:@(?P<revision>[^:@]+))?(?::(?P<split>.+))?")


@dataclass(frozen=True)
class HubSource:
    """The parts of `hub:NAME[/CONFIG][@REVISION][:SPLIT]`."""

    name: str
    config: str | None
    revision: str | None
    split: str | None


def parse_hub(source: str) -> HubSource | None:
    """Return the parts of a source on the hub; None for any other source."""
    match = _NAME.fullmatch(source)
    if match is None:
        return None
    parts = match["name"].split("/")
    return HubSource("/".join(parts[:2]), parts[2] if len(parts) > 2 else None, match["revision"], match["split"])


def hub_rows(source: str, wanted: Wanted = None, *, streaming: bool = False) -> Iterator[PlacedRow]:
    """Yield the rows of a data set on the hub, with the wanted columns alone.

    Raises DataError for a name of another form, or if it can't be had.
    """
    found = parse_hub(source)
    if found is None:
        raise DataError(
            f"{source!r} does not name a data set on the hub. Write hub:NAME[/CONFIG][@REVISION][:SPLIT], for example "
            "hub:owner/name@main:train."
        )
    import datasets

    def load() -> Any:
        return datasets.load_dataset(
            found.name, found.config, split=found.split, revision=found.revision, streaming=streaming
        )

    return _rows(source, load, "", wanted)


def saved_rows(folder: Path, split: str = "", wanted: Wanted = None) -> Iterator[PlacedRow]:
    """Yield the rows of a folder that `datasets` saved, with the wanted columns alone.

    Raises DataError for any other folder, or an unknown split.
    """
    if not any((folder / name).exists() for name in ("state.json", "dataset_dict.json")):
        names = listed(sorted(entry.name for entry in folder.iterdir()))
        raise DataError(
            f"{folder} is a folder, but not one that datasets.save_to_disk wrote (it has neither state.json nor "
            f"dataset_dict.json). Name a file in it instead: {names or 'it has none'}."
        )
    import datasets

    return _rows(str(folder), lambda: datasets.load_from_disk(str(folder)), split, wanted)


def _rows(name: str, load: Callable[[], Any], split: str, wanted: Wanted) -> Iterator[PlacedRow]:
    """Yield the rows of what `load` returns: a data set, or splits of which `split` (or the only one) is taken.

    Columns that are not wanted stay unread, for pictures and sounds would be decoded; the first row names them.
    """
    from datasets.exceptions import DatasetsError

    number = 0
    try:
        found = load()
        if isinstance(found, dict):
            found = found[_choose_split(name, list(found), split)]
        elif split:
            raise DataError(f"{name} has no splits, so there is no {split!r}. Leave it out.")
        names = list(found.column_names or ())
        if read := [name for name in names if wanted is None or name in wanted or plain_name(name) in wanted]:
            found = found.select_columns(read)
        for batch in found.iter(batch_size=1000):
            for values in zip(*batch.values(), strict=True):
                number += 1
                row = dict(zip(batch, values, strict=True))
                yield f"record {number}", {**dict.fromkeys(names), **row} if number == 1 else row
    except (OSError, ValueError, KeyError, ImportError, RuntimeError, DatasetsError) as error:
        after = f" after record {number}" if number else ""
        raise DataError(f"{name}: cannot be loaded{after} ({type(error).__name__}: {error}).") from error


def _choose_split(name: str, splits: Sequence[str], split: str) -> str:
    if not split and len(splits) > 1:
        raise DataError(f"{name} has the splits {', '.join(splits)}. Choose one, for example {name}:{splits[0]}.")
    if split and split not in splits:
        raise DataError(f"{name} has no split {split!r}{nearest(split, splits)} Found: {', '.join(splits)}.")
    return split or splits[0]
