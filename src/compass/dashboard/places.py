"""Where everything lies that the pages show."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from compass.config import WatchConfig
from compass.drift.tables import database_in
from compass.registry import Registry
from compass.registry.commands import as_typed, flag_of
from compass.serve.prompt_log import FOLDER
from compass.serve.store import DATABASE
from compass.steps.watch_state import MONITOR_FILE, monitor_name

OF_COMPASS_MONITOR = "monitor"
"""Name of the monitor of `compass monitor`."""
DAY = 86_400.0


@dataclass(frozen=True)
class Places:
    """Registry, loops' folder, gateway's folder, and the database that loops and gateway share; empty: their own."""

    registry: Registry
    watch_dir: Path
    serve_dir: Path
    database: str = ""
    retention_days: float = 30.0
    mlflow_uri: str = ""

    def monitor(self, language: str) -> str:
        """Return the URL of the database of a language's monitor."""
        return self.database or database_in(self.watch_dir / language / MONITOR_FILE)

    def monitors(self, language: str) -> tuple[str, ...]:
        """Return the names that its monitor may have there, the loop's first."""
        return monitor_name(language), OF_COMPASS_MONITOR

    @property
    def answers(self) -> str:
        """URL of the database of answers and feedback."""
        return self.database or database_in(self.serve_dir / DATABASE)

    @property
    def prompts(self) -> Path:
        """The folder of prompts that the gateway writes."""
        return self.serve_dir / FOLDER

    def watch_command(self, language: str) -> str:
        """Return the command of a loop over these prompts that the pages show.

        Instead of a database, whose URL may hold a password, it has a word to replace.
        """
        own = () if self.watch_dir == Path(WatchConfig().watch_dir) else ("--watch-dir", str(self.watch_dir))
        shared = ("--database", "URL") if self.database else ()
        where = (*flag_of(self.registry.root), *own, *shared)
        return as_typed("compass", "watch", language, str(self.prompts), "--follow", *where)

    def stamps(self) -> tuple[tuple[str, int, int], ...]:
        """Return what changes when anything on the pages does: name, time and size of each file behind them."""
        return tuple(sorted(self._stamps()))

    def _stamps(self) -> Iterator[tuple[str, int, int]]:
        files = [self.serve_dir / DATABASE, self.serve_dir / f"{DATABASE}-wal"]
        for language in self.registry.languages():
            home, loop = self.registry.folder(language), self.watch_dir / language
            files += [home / name for name in ("state.json", "history.jsonl", "events.jsonl", "versions")]
            files += [loop / name for name in ("state.json", MONITOR_FILE, f"{MONITOR_FILE}-wal", "asked.json")]
        for file in files:
            try:
                stat = file.stat()
            except OSError:
                continue
            yield str(file), stat.st_mtime_ns, stat.st_size
