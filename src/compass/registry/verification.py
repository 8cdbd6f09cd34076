"""What is wrong in a language's folder: files against manifests, the state against history and versions on disk."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import suppress
from pathlib import Path

from compass.errors import RegistryError
from compass.registry.aliases import (
    HISTORY,
    STATE,
    Aliases,
    backup_hint,
    moves,
    promote_hint,
    read_aliases,
    repair_hint,
)
from compass.registry.commands import command
from compass.registry.events import ACTION, EVENTS, read_events
from compass.registry.folders import homes
from compass.registry.versions import Check, check_version, read_version


def check_language(folder: Path) -> tuple[Check, ...]:
    """Hash every file of every version of a language, and check its aliases."""
    try:
        there = homes(folder)
    except RegistryError as error:
        return (Check("versions", 0, (str(error),)),)
    return (*(check_version(home) for home in there), *check_aliases(folder))


def check_aliases(folder: Path) -> tuple[Check, ...]:
    """Return what is wrong with a language's `state.json`, its history, and the versions that the aliases name."""
    try:
        before = read_aliases(folder)
        there = {home.name for home in homes(folder)}
    except RegistryError as error:
        return (Check(STATE, 0, (str(error),)),)
    found, told = [], 0
    try:
        told = len(moves(folder))
        if told < before.sequence:
            lost_end = (
                f"{folder / HISTORY} has lost its end: it ends with move {told - 1}, and {STATE} holds move "
                f"{before.sequence}. {backup_hint(folder)}"
            )
            found.append(Check(HISTORY, 0, (lost_end,)))
    except RegistryError as error:
        found.append(Check(HISTORY, 0, (str(error),)))
    # Read after the history: a move that is made meanwhile is in the state first.
    now = read_aliases(folder)
    if told > now.sequence:
        older = (
            f"{folder / STATE} is older than the history: it holds move {now.sequence}, and the history goes on to "
            f"move {told}. {repair_hint(folder)}"
        )
        found.append(Check(STATE, 0, (older,)))
    elif not now.sequence and not found and there and _had_aliases(folder):
        lost = (
            f"{folder} has versions, but neither {STATE} nor {HISTORY}. Restore both from a backup, or else: "
            f"{promote_hint(folder)}"
        )
        found.append(Check(STATE, 0, (lost,)))
    return (*found, *_gone(folder, now, there))


def _had_aliases(folder: Path) -> bool:
    """Say whether a version that has a parent, or an event of the loop, shows that aliases were set once.

    Versions alone don't: who registers them with `candidate=False` sets no alias, and the first version is there a
    moment before it is the candidate.
    """
    for home in homes(folder):
        with suppress(RegistryError):
            if read_version(home).parent:
                return True
    with suppress(RegistryError):
        return any(event.kind != ACTION for event in read_events(folder / EVENTS))
    return False


def _gone(folder: Path, now: Aliases, there: Collection[str]) -> Iterator[Check]:
    """Yield each version that an alias, or a way back, names and that is not on disk."""
    back, forget = (f"`{command(folder.parent, verb, folder.name)}`" for verb in ("rollback", "prune"))
    another = "promote another version with --without-gate"
    otherwise = f"go back by {back}" if now.previous in there else another
    named = dict.fromkeys(now.production, ("it was in production before", f"forget it by {forget}"))
    named |= {
        now.candidate: ("it is the candidate", "register its run again"),
        now.previous: ("a rollback would bring it back", "promote a version that is there"),
        now.current: ("it is in production", otherwise),
    }
    for id, (role, instead) in named.items():
        if id and id not in there:
            gone = f"its folder is gone from {folder / 'versions'}, and {role}"
            yield Check(id, 0, (f"{gone}. Restore it from a backup, or {instead}.",))
