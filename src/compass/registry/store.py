"""The registry: a folder per language with its versions, its aliases and their history.

    registry/
        cy/
            versions/v0001-.../   see versions.py; intake.py adds one, folders.py finds it
            state.json            candidate, production and what was in production before: see aliases.py
            history.jsonl         every move of an alias
            events.jsonl          drift, updates, promotions, refusals: see events.py
            register.lock         held while versions are added or removed
            state.lock            held while aliases move

What is on disk decides, for every process alike: nothing is kept in memory between two calls. Readers need no lock.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

from filelock import FileLock, Timeout

from compass.data.languages import normalize_tag
from compass.errors import RegistryError, RegistryUnavailableError
from compass.registry import aliases, folders
from compass.registry.aliases import Aliases, Move, read_aliases
from compass.registry.events import EVENTS, RegistryEvent, read_events
from compass.registry.files import disk_error, is_there
from compass.registry.folders import clear_leftovers, home_of, homes, id_of, languages_in, last_number, listed
from compass.registry.gate import PROMOTE, GateDecision
from compass.registry.intake import add_version, check_run, language_of, run_at_rest
from compass.registry.mending import go_on_without
from compass.registry.verification import check_aliases, check_language
from compass.registry.versions import Check, Pruned, Version, check_version, damage_of, read_version
from compass.runs.files import append_line, sync_folder

logger = logging.getLogger(__name__)

NOTHING = "none"
"""Says of `over` that nothing may be in production yet."""
LOCK_TIMEOUT = 30.0
"""Seconds to wait for another process at work in the registry."""


class Registry:
    """The versions of each language, and which of them is candidate and which in production."""

    def __init__(self, root: Path, *, lock_timeout: float = LOCK_TIMEOUT) -> None:
        """Remember the folder; `register` makes it. lock_timeout: seconds to wait for another process."""
        self.root = Path(root)
        self.lock_timeout = lock_timeout

    def languages(self) -> tuple[str, ...]:
        """Return the languages that have a version or aliases. Raises RegistryError if the root can't be read."""
        return languages_in(self.root)

    def folder(self, language: str) -> Path:
        """Return a language's folder. Raises LanguageError if the tag is unknown."""
        return self.root / normalize_tag(language)

    def register(
        self,
        run_folder: Path,
        *,
        language: str = "",
        parent: str = "",
        trigger: str = "manual",
        metrics: Mapping[str, Mapping[str, float]] | None = None,
        notes: Mapping[str, Any] | None = None,
        leave_out: Sequence[str] = (),
        link: bool = False,
        candidate: bool = True,
    ) -> Version:
        """Copy a finished run folder in as a new version, and make it the candidate.

        language: empty takes the run's own. parent: a version of the language, by any name that `get` knows. metrics:
        None takes what the run measured. notes: JSON values to keep with it. leave_out: glob patterns of files to keep
        out (`data/usage.jsonl`). link: hard-link the weights instead of copying them; then nothing may write into the
        run folder any more. A run that is registered already, whole, and from the same parent where one is named, is
        returned as it is.
        Raises RunError if the run isn't finished or is at work, RegistryError if the disk is full; then nothing is
        visible of it.
        """
        source = Path(run_folder)
        check_run(source)
        language = normalize_tag(language or language_of(source))
        folder = self.folder(language)
        self._make(folder)
        with run_at_rest(source), self._locked(folder, "register"):
            clear_leftovers(folder)
            parent_id = self.get(language, parent).id if parent else ""
            incoming = folder / "versions" / f"{folders.INCOMING}{uuid4().hex}"
            try:
                version = add_version(
                    source, folder, incoming, self.versions(language), language=language, parent=parent_id,
                    trigger=trigger, metrics=metrics, notes=notes or {}, leave_out=leave_out, link=link,
                )  # fmt: skip
            except OSError as error:
                raise disk_error(error, f"register {source}", folder) from error
            finally:
                if incoming.exists():
                    shutil.rmtree(incoming, ignore_errors=True)
        if candidate:
            self.nominate(language, version.id)
        return version

    def versions(self, language: str) -> tuple[Version, ...]:
        """Return a language's versions, oldest first. One whose manifest is damaged is left out, with a warning."""
        found = []
        for home in homes(self.folder(language)):
            try:
                found.append(read_version(home))
            except RegistryError as error:
                logger.warning("Left out: %s", error)
        return tuple(found)

    def get(self, language: str, name: str) -> Version:
        """Return the version with a name: `candidate`, `production`, `previous`, `3`, `v3`, an id, or six or more
        characters of its hash. What decides what is served is compared with the registered hashes.

        Raises RegistryError if there is none, or more than one, or it is damaged.
        """
        version = self._named(language, name)
        if problems := damage_of(version):
            raise RegistryError(
                f"Version {version.id} is damaged, so it is not safe to use it. {'; '.join(problems)}. Register the "
                "run again, roll back, or choose another version."
            )
        return version

    def aliases(self, language: str) -> Aliases:
        """Return what is candidate and what is in production. Raises RegistryError if the state is damaged."""
        return read_aliases(self.folder(language))

    def nominate(self, language: str, name: str, *, reason: str = "") -> Move | None:
        """Make a version the candidate. Returns None if it is candidate or in production already."""
        folder = self.folder(language)
        with self._locked(folder, "state"):
            now = read_aliases(folder)
            version = self.get(language, name)
            if version.id in (now.candidate, now.current):
                return None
            return self._move(
                folder, now, "candidate", before=now.candidate, after=version.id, candidate=version.id, reason=reason
            )

    def withdraw(self, language: str, *, reason: str = "") -> Move:
        """Leave no version candidate, as after a refusal. Raises RegistryError if there is none."""
        folder = self.folder(language)
        with self._locked(folder, "state"):
            now = read_aliases(folder)
            if not now.candidate:
                raise RegistryError(f"There is no candidate of {folder.name} to withdraw.")
            return self._move(folder, now, "withdraw", before=now.candidate, after="", candidate="", reason=reason)

    def promote(
        self,
        language: str,
        name: str = "candidate",
        *,
        decision: GateDecision | None = None,
        over: str = "",
        reason: str = "",
    ) -> Move:
        """Put a version into production, once every file of it has been checked.

        decision: the gate's, kept in the history; it has to say promote, and to be about this version. over: the
        version that has to be in production still (`none`: nothing), empty for any; a decision brings its own.
        Raises RegistryError if the version is damaged, the decision doesn't allow it, or another process was faster;
        then production is what it was.
        """
        folder = self.folder(language)
        with self._locked(folder, "state"):
            now = read_aliases(folder, lost_too=name != "candidate")
            version = self._named(language, name)
            if version.id == now.current:
                raise RegistryError(f"{version.id} is in production already. There is nothing to promote.")
            self._allow(version, now, decision, over)
            self._check(folder, version.id, "promote")
            return self._move(
                folder,
                now,
                "promote",
                before=now.current,
                after=version.id,
                candidate="" if now.candidate == version.id else now.candidate,
                production=(*now.production, version.id),
                reason=reason,
                decision=decision.to_dict() if decision else None,
            )

    def rollback(self, language: str, *, to: str = "", reason: str = "") -> Move:
        """Put back the version that was in production before, or one further back, once it has been checked.

        Raises RegistryError if there is none, or it is damaged; then production is what it was.
        """
        folder = self.folder(language)
        with self._locked(folder, "state"):
            now = read_aliases(folder)
            if not now.previous:
                raise RegistryError(
                    f"There is no version of {folder.name} to go back to: "
                    + (f"{now.current} is the first in production." if now.current else "none is in production.")
                )
            target = id_of(self.folder(language), to) if to else now.previous
            earlier = now.production[:-1]
            if target not in earlier:
                raise RegistryError(
                    f"{target} was not in production before {now.current}; these were, newest first: "
                    f"{', '.join(reversed(earlier))}. Name one of them, or promote {target}."
                )
            self._check(folder, target, "go back to")
            last = len(earlier) - 1 - earlier[::-1].index(target)
            return self._move(
                folder,
                now,
                "rollback",
                before=now.current,
                after=target,
                production=now.production[: last + 1],
                reason=reason,
            )

    def verify(self, language: str, name: str = "") -> tuple[Check, ...]:
        """Hash every file of one version, or of all; damage, also of aliases and history, is listed, not raised."""
        folder = self.folder(language)
        if name:
            return (check_version(home_of(folder, id_of(folder, name))),)
        if not (found := check_language(folder)):
            raise self._nothing_of(folder)
        return found

    def verify_aliases(self, language: str) -> tuple[Check, ...]:
        """Return what is wrong with aliases and history, and the versions that they name and that are gone."""
        return check_aliases(self.folder(language))

    def repair(self, language: str, *, without_backup: bool = False) -> Aliases:
        """Write a `state.json` that is lost, damaged or older than the history anew from it; else leave it alone.

        without_backup: write a damaged history anew too, with what is lost of it as moves `lost`.
        """
        folder = self.folder(language)
        with self._locked(folder, "state"):
            try:
                found = aliases.repair(folder, last_number(folder))
                if without_backup:
                    go_on_without(folder)
                return found
            except OSError as error:
                raise disk_error(error, "repair the aliases", folder) from error

    def history(self, language: str) -> tuple[Move, ...]:
        """Return every move of an alias, oldest first. Raises RegistryError if the history is damaged."""
        return aliases.moves(self.folder(language))

    def prune(self, language: str, *, keep: int = 5, dry_run: bool = False) -> Pruned:
        """Remove all but the newest `keep` versions and those that an alias or its rollback needs.

        Versions that were in production before the one that a rollback brings back are removed like others.
        Raises ValueError if keep is below 0.
        """
        if keep < 0:
            raise ValueError(f"keep must be at least 0; got {keep}")
        folder = self.folder(language)
        with self._locked(folder, "register"), self._locked(folder, "state"):
            clear_leftovers(folder)
            now = read_aliases(folder)
            there = homes(folder)
            kept = {home.name: f"one of the newest {keep}" for home in there[max(0, len(there) - keep) :]}
            for needed, why in (
                (now.previous, "a rollback brings it back"),
                (now.candidate, "candidate"),
                (now.current, "in production"),
            ):
                if needed:
                    kept[needed] = why
            removed = [home for home in there if home.name not in kept]
            freed = sum(file.stat().st_size for home in removed for file in home.rglob("*") if file.is_file())
            # What is off the disk already, by hand, goes off the list as well.
            if not dry_run and (removed or not kept.keys() >= set(now.production)):
                self._move(
                    folder,
                    now,
                    "prune",
                    before=now.current,
                    after=now.current,
                    production=tuple(id for id in now.production if id in kept),
                    removed=tuple(home.name for home in removed),
                )
                for home in removed:
                    # A name that nobody lists: a kill leaves a leftover, never half a version.
                    hidden = home.with_name(f"{folders.REMOVED}{uuid4().hex}")
                    home.rename(hidden)
                    shutil.rmtree(hidden, ignore_errors=True)
                sync_folder(folder / "versions")
        return Pruned(tuple(home.name for home in removed), dict(sorted(kept.items())), freed)

    def record(self, event: RegistryEvent) -> None:
        """Append an event to its language's log. Raises RegistryError if the disk is full."""
        folder = self.folder(event.language)
        self._make(folder)
        with self._locked(folder, "state"):
            try:
                append_line(folder / EVENTS, event.to_dict())
            except OSError as error:
                raise disk_error(error, f"record the event {event.kind}", folder) from error

    def events(self, language: str) -> tuple[RegistryEvent, ...]:
        """Return a language's events, oldest first. Raises RegistryError for a line that is none."""
        return read_events(self.folder(language) / EVENTS)

    def _named(self, language: str, name: str) -> Version:
        """Return the version with a name, whole or not."""
        folder = self.folder(language)
        return read_version(home_of(folder, id_of(folder, name)))

    def _allow(self, version: Version, now: Aliases, decision: GateDecision | None, over: str) -> None:
        if decision is not None:
            if decision.verdict != PROMOTE:
                raise RegistryError(f"The gate does not pass {version.id} ({decision.verdict}). {decision.reason}")
            if decision.candidate and decision.candidate != version.id:
                raise RegistryError(
                    f"The decision is about {decision.candidate}, not {version.id}. Ask the gate about this version."
                )
            over = over or decision.baseline
        expected = "" if over == NOTHING else id_of(self.folder(version.language), over) if over else now.current
        if now.current != expected:
            raise RegistryError(
                f"{version.id} was to replace {expected or 'nothing'}, but {now.current or 'nothing'} is in production "
                "now: another process moved the alias. Measure against that version and ask the gate again."
            )

    def _check(self, folder: Path, id: str, verb: str) -> None:
        check = check_version(home_of(folder, id))
        if not check.ok:
            raise RegistryError(
                f"Version {id} is damaged, so it is not safe to {verb} it. Production stays as it is. "
                f"{'; '.join(check.problems)}. Register the run again, or choose another version."
            )

    def _move(
        self,
        folder: Path,
        now: Aliases,
        action: str,
        *,
        before: str,
        after: str,
        candidate: str | None = None,
        production: tuple[str, ...] | None = None,
        reason: str = "",
        decision: Mapping[str, Any] | None = None,
        removed: tuple[str, ...] = (),
    ) -> Move:
        try:
            return aliases.move(
                folder,
                now,
                action,
                before=before,
                after=after,
                candidate=now.candidate if candidate is None else candidate,
                production=now.production if production is None else production,
                last_number=last_number(folder),
                reason=reason,
                decision=decision,
                removed=removed,
            )
        except OSError as error:
            raise disk_error(error, f"{action} {after}".strip(), folder) from error

    def _make(self, folder: Path) -> None:
        # Versions hold users' prompts: nobody else on the machine needs to read them, also where the root was there.
        self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
        (folder / "versions").mkdir(exist_ok=True)

    def _nothing_of(self, folder: Path) -> RegistryError:
        there = listed(self.languages())
        return RegistryError(f"{self.root} has no version of {folder.name}; its languages: {there}. Add a run first.")

    @contextmanager
    def _locked(self, folder: Path, name: str) -> Iterator[None]:
        if not is_there(folder):
            raise self._nothing_of(folder)
        try:
            with FileLock(folder / f"{name}.lock", timeout=self.lock_timeout):
                yield
        except Timeout as error:
            raise RegistryUnavailableError(
                f"Another process has held {folder / name}.lock for {self.lock_timeout:g} s. Wait for it, or see what "
                "it is doing; the lock goes with the process that holds it."
            ) from error
