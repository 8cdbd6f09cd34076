"""What the registry wants served, read again when one of its files has changed."""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Collection, Mapping
from pathlib import Path

from compass.errors import RegistryError
from compass.registry import Registry
from compass.registry.aliases import HISTORY, STATE, known_moves, promote_hint
from compass.registry.folders import number_of
from compass.serve.reconcile import Desired

logger = logging.getLogger(__name__)


class DesiredState:
    """The versions of every language that are to be loaded.

    at: folder of the registry as the backends see it, where that is another one.
    """

    def __init__(self, registry: Registry, *, at: Path | None = None) -> None:
        self.registry = registry
        self._at = at
        self._read: dict[str, tuple[object, Desired]] = {}
        self.problems: dict[str, str] = {}
        """By language, empty for the registry: why what is served stays as it was, whatever is on disk."""

    def read(self, live: Mapping[str, int]) -> dict[str, Desired]:
        """Return what is wanted, by language. live: versions that are served still, and need their folders.

        A language whose state is damaged or gone stays as it was, with one warning; so does all if the registry can't
        be read, or its disk is not there. Who takes a language away starts the gateway anew.
        """
        try:
            languages = self.registry.languages()
            if not self.registry.root.is_dir():
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
            self.problems.pop("", None)
        except (OSError, RegistryError) as error:
            said = str(error)
            if isinstance(error, OSError):
                said = f"The registry {self.registry.root} can't be read ({error.strerror or error})."
            self._tell("", f"{said} What is served stays.")
            return {language: desired for language, (_, desired) in self._read.items()}
        found = {}
        # Nothing is served of one that could never be read; once it is gone, so is its problem.
        for language in set(self.problems) - set(self._read) - set(languages):
            del self.problems[language]
        for language in set(self._read) - set(languages):
            self._tell(language, f"{self.registry.folder(language)} is gone. What is served of {language} stays.")
            found[language] = self._read[language][1]
        for language in languages:
            try:
                found[language] = self._one(language, live.get(language, 0))
                self.problems.pop(language, None)
            except (RegistryError, OSError) as error:
                self._tell(language, f"What is served of {language} stays as it is: {error}")
                if language in self._read:
                    found[language] = self._read[language][1]
        return found

    def _one(self, language: str, live: int) -> Desired:
        state = self.registry.folder(language) / STATE
        stat = state.stat() if state.exists() else None
        stamp = (stat and (stat.st_mtime_ns, stat.st_size, stat.st_ino), live)
        known = self._read.get(language)
        if known and known[0] == stamp:
            return known[1]
        now = self.registry.aliases(language)
        if not now.sequence and known and (known[1].production or known[1].candidate):
            # Nobody takes aliases back to nothing: their files were lost.
            raise RegistryError(
                f"{state} and {HISTORY} are gone. Restore both from a backup, or else: {promote_hint(state.parent)}"
            )
        named = {id for id in (now.current, now.candidate, now.previous) if id}
        named |= {version.id for version in self.registry.versions(language) if version.number == live}
        folders = self._folders(language, named)
        desired = Desired(
            language,
            production=number_of(now.current),
            candidate=number_of(now.candidate),
            previous=number_of(now.previous),
            rolled_back=_came_back(self.registry, language, now.current),
            folders=folders,
            ids={number_of(id): id for id in named},
        )
        self._read[language] = (stamp, desired)
        return desired

    def _folders(self, language: str, ids: Collection[str]) -> dict[int, Path]:
        """Return the adapter folder of each version that is whole, as the backends see it."""
        found = {}
        for id in sorted(ids):
            try:
                folder = self.registry.get(language, id).adapter.resolve()
            except RegistryError as error:
                logger.warning("Not loaded: %s", error)
                continue
            if self._at is not None:
                folder = self._at / folder.relative_to(self.registry.root.resolve())
            found[number_of(id)] = folder
        return found

    def _tell(self, language: str, message: str) -> None:
        if self.problems.get(language) != message:
            logger.warning("%s", message)
            self.problems[language] = message


def _came_back(registry: Registry, language: str, current: str) -> bool:
    """Say whether the move that put a version into production was a rollback; no, where that is not known."""
    try:
        known = known_moves(registry.folder(language))
        moves = [move for move in known if move.action in ("promote", "rollback")]
    except RegistryError:
        # What is served does not depend on it; `verify` tells of it.
        return False
    return bool(moves) and moves[-1].action == "rollback" and moves[-1].after == current
