"""Start an update: the watch loop that runs is asked for it; where none runs, one is started that ends with it."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from compass.config import GateConfig, WatchOptions, changed_flags
from compass.dashboard.places import Places
from compass.drift.reading import Watched, read_kept_rows, read_watched
from compass.errors import CompassError
from compass.registry import RegistryEvent
from compass.registry.events import ACTION
from compass.runs.files import write_text
from compass.steps.watch_asked import Asked, answered, ask, asked_of, loop_runs
from compass.steps.watch_state import read_state

logger = logging.getLogger(__name__)

LOG = "dashboard.log"
"""In a loop's folder: what a loop said that the dashboard started."""

LONGEST_LINE = 300

Launch = Callable[[Sequence[str], Path], "subprocess.Popen[bytes]"]


class CannotUpdateError(CompassError):
    """No update can be started; the message says why."""


class Updates:
    """Starts updates. launch: starts a command whose words go to a file."""

    def __init__(self, places: Places, gate: GateConfig, launch: Launch | None = None) -> None:
        self.places, self.gate = places, gate
        self._launch = _launched if launch is None else launch
        self._started: dict[str, subprocess.Popen[bytes]] = {}
        self._lock = threading.Lock()

    def start(self, language: str, asked: Asked) -> str:
        """Ask for an update of a language; return in words what happens now. Raises CompassError that says why not."""
        folder = self.places.watch_dir / language
        with self._lock:
            runs, watched = self._check(language)
            ask(folder, asked)
            if runs:
                return "The watch loop starts it at its next check, and the gate decides on the result."
            self._started[language] = self._launch(self.command(language, watched), folder / LOG)
        return "It has started, and the gate decides on the result."

    def why_not(self, language: str) -> str:
        """Return why no update can be started now; empty if one can."""
        try:
            self._check(language)
        except CompassError as error:
            return str(error)
        return ""

    def _check(self, language: str) -> tuple[bool, Watched | None]:
        """Return whether a loop runs, and what its monitor says. Raises CompassError if no update can be started."""
        folder = self.places.watch_dir / language
        current = self.places.registry.aliases(language).current
        if not current:
            raise CannotUpdateError("Nothing is in production, so there is nothing to update. Promote a version first.")
        self.places.registry.get(language, current)
        running, state = self._started.get(language), read_state(folder)
        runs = (running is not None and running.poll() is None) or loop_runs(folder)
        if runs and (state.pending or asked_of(folder)):
            raise CannotUpdateError("An update is on its way already.")
        watched = read_watched(self.places.monitor(language), self.places.monitors(language), language)
        if not runs:
            self._check_prompts(language)
        elif not watched or not watched.n_kept:
            raise CannotUpdateError(
                "The watch loop keeps no prompts to learn from. Start it with --reservoir redacted."
            )
        return runs, watched

    def tidy(self) -> None:
        """Take note of loops of ours that have ended: one that did not follow a wish leaves none behind."""
        for language, process in list(self._started.items()):
            if process.poll() is None:
                continue
            self._started.pop(language, None)
            folder = self.places.watch_dir / language
            asked = asked_of(folder)
            if asked is None:
                continue
            answered(folder)
            message = f"The update that {asked.by} asked for has not begun: {_last_line(folder / LOG)}"
            try:
                self.places.registry.record(RegistryEvent(ACTION, language, message, details={"done": False}))
            except (CompassError, OSError) as error:
                logger.warning("%s (not on record: %s)", message, error)

    def command(self, language: str, watched: Watched | None) -> list[str]:
        """Return the command of a loop that does one update and ends."""
        places = self.places
        flags = [
            "--registry-dir", str(places.registry.root), "--watch-dir", str(places.watch_dir),
            "--update-feedback", str(places.serve_dir), "--retention-days", f"{places.retention_days:g}",
            "--reservoir", self._mode(language),
        ]  # fmt: skip
        if places.database:
            # It may hold a password, and arguments are seen by every user of the machine.
            options = places.watch_dir / language / "dashboard.yaml"
            write_text(options, f"database: {json.dumps(places.database)}\n")
            flags += ["--config", str(options)]
        for option in ("window", "prompts_per_false_alarm"):
            if watched and option in watched.options:
                flags += [f"--{option.replace('_', '-')}", str(watched.options[option])]
        flags += changed_flags(WatchOptions(gate=self.gate), WatchOptions())
        return [sys.executable, "-m", "compass.cli", "watch", language, str(places.prompts), *flags]

    def _check_prompts(self, language: str) -> None:
        if not self.places.prompts.is_dir():
            raise CannotUpdateError(
                f"No watch loop runs for {language}, and {self.places.prompts} has no prompts for one. Start the "
                "gateway with --reservoir redacted, or a loop: compass watch."
            )

    def _mode(self, language: str) -> str:
        kept = read_kept_rows(
            self.places.monitor(language), self.places.monitors(language), language, oldest=0.0, most=1000
        )
        return "full" if any(prompt.mode == "full" for prompt in kept) else "redacted"


def _last_line(log: Path) -> str:
    """Return how a loop's words end."""
    try:
        lines = log.read_bytes()[-4000:].decode("utf-8", "replace").strip().splitlines()
    except OSError:
        lines = []
    return f"{lines[-1][:LONGEST_LINE]} ({log})" if lines else f"it said nothing ({log})"


def _launched(command: Sequence[str], log: Path) -> subprocess.Popen[bytes]:
    with os.fdopen(os.open(log, os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o600), "ab") as file:
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=file, stderr=file, start_new_session=True)
