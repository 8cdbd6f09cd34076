"""A finished run folder as an update sees it: its adapter, all rows that it was trained on, and its tests."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compass.data.example import Example
from compass.data.readers import read_jsonl
from compass.errors import RunError
from compass.runs import layout
from compass.runs.files import file_hash
from compass.runs.finished import check_finished
from compass.steps.stored_data import stored_tests

NEEDED = (layout.TRAIN, layout.POOL, layout.TEST_NAMES, layout.PICKS)
"""Files of a run folder that an update reads, besides those that decide what is served."""

TRAIN, PICKED = "train", "picked"
"""How a row came into a history: as a training row, or picked from the pool."""
OLD_ROLES = {"current": TRAIN, "picked": PICKED}
"""As version 0.1 wrote them into ids, `PERIOD/ROLE/ID`."""


@dataclass(frozen=True)
class Version:
    """A finished run folder as an update sees it."""

    folder: Path
    period: int
    """Updates that led to it; 0 for a run of `adapt`."""
    history: tuple[Example, ...]
    """All rows that it and its ancestors were trained on, each with its role and period."""
    tests: Mapping[str, tuple[Example, ...]]
    """Its held-out rows by name; the usage of its own period is the first."""
    lock: Mapping[str, Any]

    @property
    def adapter(self) -> Path:
        """Folder of its adapter."""
        return self.folder / layout.ADAPTER

    @property
    def weights_hash(self) -> str:
        """SHA-256 of its adapter's weights."""
        return file_hash(self.folder / layout.ADAPTER_WEIGHTS)

    def unseen_pool(self) -> list[Example]:
        """Return the rows of its pool that it was not trained on."""
        seen = {(row.prompt, row.response) for row in self.history}
        return [row for row in read_jsonl(self.folder / layout.POOL) if (row.prompt, row.response) not in seen]


def read_version(folder: Path) -> Version:
    """Read a finished run folder. Raises RunError if a file is missing, or is not the one in its lock."""
    lock = check_finished(folder, more=NEEDED)
    for part in ("encoder", "model"):
        if not isinstance(lock.get(part), dict) or not {"name", "revision"} <= lock[part].keys():
            raise RunError(f"{folder / layout.LOCK} is damaged: it does not say which {part} the run had.")
    period = _period(folder, lock)
    earlier = read_jsonl(folder / layout.TRAIN)
    history = as_history(earlier, TRAIN, 0) if not period else [_with_role(row, folder) for row in earlier]
    history += as_history(read_jsonl(folder / layout.PICKS), PICKED, period)
    return Version(folder, period, tuple(history), stored_tests(folder), lock)


def _period(folder: Path, lock: Mapping[str, Any]) -> int:
    update = lock.get("update", {"period": 0})
    period = update.get("period") if isinstance(update, dict) else None
    if isinstance(period, bool) or not isinstance(period, int) or period < 0:
        raise RunError(f"{folder / layout.LOCK} is damaged: update.period is no whole number; update is {update!r}.")
    return period


def as_history(rows: Sequence[Example], role: str, period: int) -> list[Example]:
    """Return rows as part of a history."""
    return [dataclasses.replace(row, role=role, period=period) for row in rows]


def _with_role(row: Example, folder: Path) -> Example:
    """Return a row of a stored history with its role and period, which version 0.1 kept in its id."""
    if row.role:
        return row
    try:
        period, role, own = row.id.split("/", 2)
        return dataclasses.replace(row, id=own, role=OLD_ROLES[role], period=int(period))
    except (ValueError, KeyError) as error:
        raise RunError(
            f"{folder / layout.TRAIN} is damaged: it does not say which period row {row.id!r} belongs to."
        ) from error
