"""From what the registry says and what the backends have loaded to what is to be done; nothing here waits or reads."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from compass.serve.routing import adapter_name, parse_adapter_name


@dataclass(frozen=True)
class Desired:
    """What the registry says of one language. A number is 0 where there is no such version."""

    language: str
    production: int = 0
    candidate: int = 0
    previous: int = 0
    """What a rollback would bring back: it is kept loaded, so that one takes no time."""
    rolled_back: bool = False
    """Whether production came by a rollback, which waits for no backend."""
    folders: Mapping[int, Path] = field(default_factory=dict)
    """Number -> adapter folder of each of these versions that is whole."""
    ids: Mapping[int, str] = field(default_factory=dict)
    """Number -> id of the version."""


@dataclass(frozen=True)
class Steps:
    """What brings one backend to what is wanted."""

    load: Mapping[str, Path]
    unload: tuple[str, ...]

    def __bool__(self) -> bool:
        return bool(self.load or self.unload)


def wanted(desired: Collection[Desired], *, candidates: bool, live: Mapping[str, int]) -> dict[str, Path]:
    """Return the adapters that every backend is to have, by name, in the order in which to load them.

    candidates: whether they get requests. live: versions that tags stand for still; they stay until that has changed.
    """
    found = {}
    for of in ("production", "live", "previous", "candidate"):
        for one in desired:
            number = live.get(one.language, 0) if of == "live" else getattr(one, of)
            if number in one.folders and (of != "candidate" or candidates):
                found[adapter_name(one.language, number)] = one.folders[number]
    return found


def steps(
    want: Mapping[str, Path], loaded: Mapping[str, str], *, busy: Collection[str], languages: Collection[str]
) -> Steps:
    """Return what to load and unload. loaded: name -> folder as the backend knows it, empty where it doesn't say.

    busy: adapters that requests run on. languages: those of the registry; what has another name than a version of one
    of them was loaded by somebody else, and stays. A name that stands for another folder is unloaded first, and loaded
    the next time.
    """
    stale = {name for name, folder in want.items() if loaded.get(name) and Path(loaded[name]) != folder}
    ours = {name for name in loaded if (found := parse_adapter_name(name)) and found[0] in languages}
    gone = (ours - set(want)) | stale
    return Steps(
        {name: folder for name, folder in want.items() if name not in loaded},
        tuple(sorted(gone - set(busy))),
    )


def live_version(now: int, desired: Desired, backends: Sequence[Collection[str]]) -> int:
    """Return the version that a language's tag stands for, given what it stood for; 0 where none is in production.

    backends: names of the adapters that each healthy backend has. A promotion counts once all of them have the version.
    Until then the tag means what it did, as long as a backend has that; a rollback, or a tag whose version is nowhere
    any more, waits for none but the first.
    """
    if not desired.production:
        return 0

    def on(number: int) -> int:
        name = adapter_name(desired.language, number)
        return sum(name in loaded for loaded in backends) if number else 0

    target = desired.production
    if backends and on(target) == len(backends):
        return target
    keep = now or desired.previous
    if on(keep) and not (desired.rolled_back and on(target)):
        return keep
    return target if on(target) else now or target
