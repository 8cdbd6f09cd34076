"""What differs between two versions: options, metrics, picked rows, data. Counts and hashes: no text is quoted."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from compass.errors import RegistryError, RunError
from compass.registry.versions import Version
from compass.runs import layout
from compass.runs.files import read_json, read_options

LOGS = tuple(f"{folder}/" for folder in (layout.LOGS, layout.EVALUATION, layout.TRAINING))
"""Folders whose JSONL files hold no rows of data."""


@dataclass(frozen=True)
class Changed:
    """One value that differs; None where a version doesn't have it."""

    name: str
    a: Any
    b: Any


@dataclass(frozen=True)
class RowChanges:
    """How many rows of a JSONL file two versions share, by content."""

    path: str
    common: int
    only_a: int
    only_b: int
    languages: Mapping[str, tuple[int, int]]
    """Rows by language in a and in b, where they differ."""


@dataclass(frozen=True)
class VersionDiff:
    """Every difference between the versions a and b."""

    a: str
    b: str
    config: tuple[Changed, ...]
    stamps: tuple[Changed, ...]
    """Base model, encoder, packages, as in `lock.json`."""
    metrics: tuple[Changed, ...]
    """Named `test/metric`."""
    selection: tuple[Changed, ...]
    """The summary of the selection."""
    rows: tuple[RowChanges, ...]
    """Picked rows, usage, training data and pool."""
    files: tuple[Changed, ...]
    """SHA-256 of the other files that differ."""

    @property
    def same(self) -> bool:
        """Nothing differs."""
        return not (self.config or self.stamps or self.metrics or self.selection or self.rows or self.files)

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dict."""
        return asdict(self)


def diff(a: Version, b: Version) -> VersionDiff:
    """Compare two versions of one or two languages. Raises RegistryError if a file of theirs can't be read."""
    metrics_a, metrics_b = (dict(_flat(version.metrics, "/")) for version in (a, b))
    config_a, config_b = (dict(_flat(_options(version.folder / layout.CONFIG))) for version in (a, b))
    stamps_a, stamps_b = (_stamps(version) for version in (a, b))
    paths = [path for path in sorted({*a.files, *b.files}) if a.files.get(path) != b.files.get(path)]
    told = {path for path in paths if path.endswith(".jsonl") and not path.startswith(LOGS)}
    told |= {layout.CONFIG, layout.LOCK, layout.SELECTION_SUMMARY}
    return VersionDiff(
        a=a.id,
        b=b.id,
        config=_changes(config_a, config_b),
        stamps=_changes(stamps_a, stamps_b),
        metrics=_changes(metrics_a, metrics_b),
        selection=_changes(*(dict(_flat(_json(version.folder / layout.SELECTION_SUMMARY))) for version in (a, b))),
        rows=tuple(_row_changes(a, b, path) for path in paths if path in told and path.endswith(".jsonl")),
        files=tuple(
            Changed(path, a.files.get(path, (None,))[0], b.files.get(path, (None,))[0])
            for path in paths
            if path not in told
        ),
    )


def _stamps(version: Version) -> dict[str, Any]:
    lock = _json(version.folder / layout.LOCK)
    # Hashes of files are compared as files, the options as options.
    return dict(_flat({key: value for key, value in lock.items() if key not in ("hashes", "config", "command")}))


def _row_changes(a: Version, b: Version, path: str) -> RowChanges:
    hashes_a, languages_a = _rows(a.folder / path)
    hashes_b, languages_b = _rows(b.folder / path)
    common = (hashes_a & hashes_b).total()
    return RowChanges(
        path=path,
        common=common,
        only_a=hashes_a.total() - common,
        only_b=hashes_b.total() - common,
        languages={
            tag: (languages_a[tag], languages_b[tag])
            for tag in sorted({*languages_a, *languages_b})
            if languages_a[tag] != languages_b[tag]
        },
    )


def _rows(path: Path) -> tuple[Counter[bytes], Counter[str]]:
    """Return how often each row occurs, by hash of what was said in it, and the rows of each language."""
    hashes: Counter[bytes] = Counter()
    languages: Counter[str] = Counter()
    if not path.is_file():
        return hashes, languages
    for line in _lines(path):
        row = _read_line(line, path)
        content = [row.get(name) for name in ("language", "context", "prompt", "messages", "response")]
        hashes[hashlib.sha256(json.dumps(content, sort_keys=True).encode()).digest()] += 1
        languages[str(row.get("language", "und"))] += 1
    return hashes, languages


def _lines(path: Path) -> list[str]:
    try:
        text = path.read_text("utf-8")
    except (OSError, ValueError) as error:
        raise RegistryError(f"{path} can't be read ({error}). `verify` says whether it is damaged.") from error
    # Not splitlines: it also splits at U+2028, which JSON strings may hold as it is.
    return [line for line in text.split("\n") if line]


def _read_line(line: str, path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(line))
    except (ValueError, TypeError, RecursionError) as error:
        raise RegistryError(f"{path} can't be read ({error}). `verify` says whether it is damaged.") from error


def _json(path: Path) -> dict[str, Any]:
    try:
        return dict(read_json(path, dict)) if path.is_file() else {}
    except RunError as error:
        raise RegistryError(f"{error} `verify` says whether it is damaged.") from error


def _options(path: Path) -> dict[str, Any]:
    try:
        return read_options(path)
    except RunError as error:
        raise RegistryError(f"{error} `verify` says whether it is damaged.") from error


def _changes(a: Mapping[str, Any], b: Mapping[str, Any]) -> tuple[Changed, ...]:
    return tuple(Changed(name, a.get(name), b.get(name)) for name in sorted({*a, *b}) if a.get(name) != b.get(name))


def _flat(content: Any, separator: str = ".", prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in (content or {}).items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            yield from _flat(value, separator, name + separator)
        else:
            yield name, value
