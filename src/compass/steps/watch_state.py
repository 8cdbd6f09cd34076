"""What the watch loop remembers: each step of an update is written down before the next one begins."""

from __future__ import annotations

import dataclasses
import logging
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

from compass.config import WatchOptions
from compass.drift import Skipped
from compass.drift.reading import read_skipped
from compass.drift.tables import connect_to_read, database_in
from compass.encoders import CachedEncoder
from compass.errors import CompassError, RunError
from compass.registry import Hooks, Registry, RegistryEvent
from compass.registry.files import read_sealed, write_sealed
from compass.runs.locks import held

logger = logging.getLogger(__name__)

DAY = 86_400.0
MONITOR_FILE = "monitor.db"
"""The monitor's state in the folder of a loop."""
BEGIN_ANEW = (
    "Restore it from a backup, or move it away, and the loop begins anew. Lost are then an update in progress, how "
    "many updates there were today, and the monitor's windows, alarms and kept prompts; versions stay."
)
"""What to do about a damaged state."""


@dataclass(frozen=True)
class Pending:
    """An update that was begun and has not come to its end."""

    number: int
    parent: str
    """Id of the version that it starts from."""
    drift: Mapping[str, Any]
    """The checks behind it, without texts."""
    version: str = ""
    """Id of the registered version; empty until then."""
    decision: Mapping[str, Any] | None = None
    """The gate's; None until then."""
    canary_since: float = 0.0
    """When its version began to answer a share of conversations, in seconds of the epoch; 0: it has not."""
    heard: bool = False
    """Whether what users say of it is in the decision."""

    @property
    def on_trial(self) -> bool:
        """Whether users are judging its version."""
        return self.canary_since > 0.0 and not self.heard


@dataclass(frozen=True)
class State:
    """All that the loop remembers besides the monitor's database and the registry."""

    born: str = ""
    """Tells the updates of this loop from those of an earlier one on the same registry."""
    number: int = 0
    """The last update's number: numbers are never used again."""
    starts: tuple[float, ...] = ()
    """When updates of the last day began, in seconds of the epoch."""
    ended: float = 0.0
    """When the last update ended or failed; 0: none has."""
    watched: str = ""
    """Id of the version whose reference the monitor counts against."""
    told: float = 0.0
    """Of a loop of version 0.1: time of the last drift that hooks were told of."""
    told_event: int = 0
    """Id of the last event of the monitor that was looked at; by id, for a clock may go back."""
    pending: Pending | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> State:
        """Read back what `to_dict` returned."""
        pending = Pending(**content["pending"]) if content["pending"] else None
        # A loop that began before `born` was there has none.
        values = {name.name: content[name.name] for name in dataclasses.fields(cls) if name.name in content}
        return cls(**{**values, "starts": tuple(content["starts"]), "pending": pending})


@dataclass(frozen=True)
class Updater:
    """The two halves of an update: its data into a run folder, and from there to the finished run."""

    begin: Callable[..., None]
    """As `recipes.update.begin`."""
    finish: Callable[..., Any]
    """As `recipes.update.finish`."""


@dataclass(eq=False)
class Site:
    """Where one loop works, and what it works with. One process at a time."""

    language: str
    options: WatchOptions
    overrides: Mapping[str, object]
    registry: Registry
    hooks: Hooks
    folder: Path
    dry_run: bool
    clock: Callable[[], float]
    encoder: CachedEncoder | None
    """In place of that of the version that serves; None: its own."""
    updater: Updater
    state: State = field(default_factory=State)

    @property
    def database(self) -> str:
        """SQLAlchemy URL of the monitor's state."""
        own = database_in(self.folder / MONITOR_FILE)
        return own if self.dry_run else self.options.monitor.database or own

    @property
    def status_page(self) -> Path:
        """The page that is rewritten after each event."""
        page = self.options.watch.status_page
        return Path(page) if page else Path(self.options.watch.watch_dir) / "status.html"

    def work(self, number: int) -> Path:
        """Return the folder of an update while it is made."""
        return self.folder / f"update-{number:04d}"

    def remember(self, **changes: Any) -> None:
        """Change the state and write it down."""
        self.state = dataclasses.replace(self.state, **changes)
        write_sealed(self.folder / "state.json", self.state.to_dict())

    def tell(self, event: RegistryEvent) -> None:
        """Send an event to the hooks, put it on record, and rewrite the status page. A dry run tells nobody.

        An event on record is not sent again; after a kill between the two it is, with the same id.
        """
        if self.dry_run:
            return
        if event.id not in {known.id for known in self.registry.events(self.language)}:
            self.hooks.send(event)
            self.registry.record(event)
        self.show()

    def show(self) -> None:
        """Write the status page again, unless nothing is to be changed."""
        from compass.report import build_status

        if self.dry_run:
            return
        options = self.options
        try:
            found = skipped_by_language(self.registry, options.watch.watch_dir, options.monitor.database)
            build_status(self.registry, self.status_page, skipped=found)
        except (OSError, CompassError) as error:
            # A page for people: neither the event nor an update depends on it.
            logger.warning("The status page can't be written, and will be after the next event: %s", error)


def monitor_name(language: str) -> str:
    """Return the name of a loop's monitor in its database."""
    return f"watch-{language}"


def skipped_by_language(registry: Registry, watch_dir: str, database: str) -> dict[str, list[Skipped]]:
    """Return what the loop of each language has passed over; a language that no loop watches is left out."""
    found = {language: skipped_of(language, watch_dir, database) for language in registry.languages()}
    return {language: skipped for language, skipped in found.items() if skipped is not None}


def skipped_of(language: str, watch_dir: str, database: str) -> list[Skipped] | None:
    """Return what the loop of a language has passed over, the most frequent reason first; None where no loop was."""
    own = Path(watch_dir) / language / MONITOR_FILE
    if not database and not own.is_file():
        return None
    return read_skipped(database or database_in(own), monitor_name(language))


@contextmanager
def open_site(
    language: str,
    options: WatchOptions,
    overrides: Mapping[str, object],
    *,
    dry_run: bool,
    clock: Callable[[], float],
    encoder: CachedEncoder | None,
    updater: Updater,
) -> Iterator[Site]:
    """Open a loop's folder. Raises RunError if another process is at work in it.

    A dry run gets a copy of the state in a temporary folder, and leaves the real one alone.
    """
    registry = Registry(Path(options.registry.registry_dir))
    home = Path(options.watch.watch_dir) / language
    hooks = Hooks(options.hooks)
    if dry_run:
        with tempfile.TemporaryDirectory(prefix="compass-watch-") as name:
            folder = Path(name)
            # Read where it lies: a message must not name a copy that is gone.
            state = read_state(home)
            _copy_state(home, folder)
            yield Site(language, options, overrides, registry, hooks, folder, True, clock, encoder, updater, state)
        return
    # The folder holds users' prompts while an update is made: nobody else on the machine needs to read them.
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    taken = f"Another process watches {language} in {home}. Stop it, or choose another --watch-dir."
    with held(home / "watch.lock", RunError(taken)):
        site = Site(
            language, options, overrides, registry, hooks, home, False, clock, encoder, updater, read_state(home)
        )
        _clear_leftovers(site)
        yield site


def read_state(folder: Path) -> State:
    """Return what a loop's folder remembers; a new state where there is none. Raises RegistryError."""
    path = folder / "state.json"
    return State.from_dict(read_sealed(path, BEGIN_ANEW)) if path.is_file() else State(born=f"{uuid4().hex[:8]}-")


def _copy_state(home: Path, target: Path) -> None:
    if (home / "state.json").is_file():
        shutil.copyfile(home / "state.json", target / "state.json")
    if (home / MONITOR_FILE).is_file():
        # Not a copy of the file: a loop may be writing it.
        source = connect_to_read(home / MONITOR_FILE)
        copy = sqlite3.connect(target / MONITOR_FILE)
        try:
            source.backup(copy)
        finally:
            source.close()
            copy.close()


def _clear_leftovers(site: Site) -> None:
    """Remove what a killed process left of updates that are over, or that never began: prompts lie in there."""
    kept = site.work(site.state.pending.number) if site.state.pending else None
    for folder in site.folder.glob("update-*"):
        if folder != kept:
            shutil.rmtree(folder, ignore_errors=True)
