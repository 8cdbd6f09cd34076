"""Which version is candidate and which is in production, and how that came to be.

`state.json` alone says what holds. It is replaced by one rename, and carries the move that made it; `history.jsonl`
gets the same move afterwards. A process killed in between has moved the alias, and the next move, or `moves`, takes the
line over from the state: a move is never lost and never half done.
"""

from __future__ import annotations

import dataclasses
import itertools
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from compass.errors import RegistryError
from compass.registry.commands import command
from compass.registry.files import is_sealed, is_there, read_lines, read_sealed, seal, unreadable, write_sealed
from compass.runs.files import append_line

logger = logging.getLogger(__name__)

FORMAT = 1
STATE, HISTORY = "state.json", "history.jsonl"
LOST = "lost"
"""Action of a move whose line no backup brought back."""
BROKEN = ".broken"
"""End of the names of files that a repair has put aside."""


@dataclass(frozen=True)
class Move:
    """One line of the history: what was done to the aliases, why, and what held afterwards."""

    sequence: int
    """1, 2, 3, ... without gaps."""
    at: str
    """ISO 8601, UTC."""
    action: str
    """`candidate`, `withdraw`, `promote`, `rollback` or `prune`; `lost` where nothing else is known of the move."""
    before: str
    """What the alias pointed to; empty for nothing."""
    after: str
    candidate: str
    """Id of the candidate after the move; empty for none."""
    production: tuple[str, ...]
    """Ids that were in production, oldest first, up to the one that is now."""
    reason: str = ""
    decision: Mapping[str, Any] | None = None
    """The gate's decision behind a promotion; None: moved by hand."""
    removed: tuple[str, ...] = ()
    """Versions that a `prune` took away."""

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Move:
        """Read back what `to_dict` returned."""
        lists = {name: tuple(content[name]) for name in ("production", "removed")}
        return cls(**{key: value for key, value in content.items() if key != "seal"} | lists)


@dataclass(frozen=True)
class Aliases:
    """What holds now."""

    candidate: str = ""
    production: tuple[str, ...] = ()
    """Ids that were in production, oldest first; the last one is now."""
    sequence: int = 0
    last_number: int = 0
    """The highest number that a version had: numbers are never used again."""
    last_move: Move | None = field(default=None, repr=False)

    @property
    def current(self) -> str:
        """Id in production; empty for none."""
        return self.production[-1] if self.production else ""

    @property
    def previous(self) -> str:
        """Id that a rollback would bring back; empty for none."""
        return self.production[-2] if len(self.production) > 1 else ""


def read_aliases(folder: Path, *, lost_too: bool = False) -> Aliases:
    """Read what holds in a language's folder. Raises RegistryError if the file is damaged or lost.

    lost_too: where a repair found nothing, return that nothing holds. For others that is an error: servers keep what
    they serve, and nothing is pruned.
    """
    path = folder / STATE
    if not is_there(path):
        if is_there(folder / HISTORY):
            raise RegistryError(f"{path} is missing. {repair_hint(folder)}")
        if not lost_too and any(folder.glob(f"*{BROKEN}*")):
            raise RegistryError(f"{path} is lost, and so is the history. {promote_hint(folder)}")
        return Aliases()
    content = read_sealed(path, repair_hint(folder))
    if content.get("format") != FORMAT:
        raise RegistryError(f"{path} has format {content.get('format')!r}; this release reads format {FORMAT}.")
    return Aliases(
        candidate=content["candidate"],
        production=tuple(content["production"]),
        sequence=content["sequence"],
        last_number=content["last_number"],
        last_move=Move.from_dict(content["last_move"]),
    )


def repair_hint(folder: Path) -> str:
    """Say which command sets the state of a language's folder right."""
    return f"`{command(folder.parent, 'repair', folder.name)}` rebuilds it from the history."


def backup_hint(folder: Path) -> str:
    """Say what to do about a history that is damaged."""
    return (
        "Restore the file from a backup, or go on without what is lost: "
        f"`{command(folder.parent, 'repair', folder.name, '--without-backup')}`. The aliases themselves don't depend "
        "on it."
    )


def promote_hint(folder: Path) -> str:
    """Say what to do where the aliases are lost for good."""
    return (
        "Promote a version by its number to set the aliases anew: "
        f"`{command(folder.parent, 'promote', folder.name, 'NUMBER')}`."
    )


def move(
    folder: Path,
    now: Aliases,
    action: str,
    *,
    before: str,
    after: str,
    candidate: str,
    production: tuple[str, ...],
    last_number: int,
    reason: str = "",
    decision: Mapping[str, Any] | None = None,
    removed: tuple[str, ...] = (),
) -> Move:
    """Make `candidate` and `production` hold, in one step, and write the history. The caller holds the lock.

    Raises OSError if the state can't be written; then nothing has changed. A history that can't be written is no error:
    the state keeps the line until it can.
    """
    if now.last_move:
        _complete_history(folder, now.last_move)
    made = Move(
        sequence=now.sequence + 1,
        at=datetime.now(UTC).isoformat(timespec="milliseconds"),
        action=action,
        before=before,
        after=after,
        candidate=candidate,
        production=production,
        reason=reason,
        decision=decision,
        removed=removed,
    )
    _write(folder, made, max(last_number, now.last_number))
    try:
        append_line(folder / HISTORY, seal(made.to_dict()))
    except OSError as error:
        logger.warning("The move is made, but %s can't be written yet (%s)", folder / HISTORY, error.strerror)
    return made


def moves(folder: Path) -> tuple[Move, ...]:
    """Return every move, oldest first, the last one included even if its line isn't written yet.

    Raises RegistryError for a line that was changed and for a gap; `check_aliases` finds an end that is lost.
    """
    # Read before the history, which may grow meanwhile.
    last = read_aliases(folder).last_move
    path = folder / HISTORY
    lines = read_lines(path, backup_hint(folder))
    for number, line in enumerate(lines, start=1):
        if not is_sealed(line) or line.get("sequence") != number:
            raise RegistryError(
                f"{path}, line {number}, is damaged: its checksum or its sequence number is wrong. "
                + backup_hint(folder)
            )
    history = [Move.from_dict(line) for line in lines]
    if last and last.sequence > len(history):
        history.append(last)
    return tuple(history)


def repair(folder: Path, last_number: int) -> Aliases:
    """Write `state.json` anew from the last whole line of the history, where it is damaged, lost or older than that.

    Of a move that is lost only the number is known: the aliases are those of the last move before it. The caller holds
    the lock. Raises RegistryError if no line of the history tells the aliases; then both files are put aside, so that
    aliases can be set. A whole `state.json` of another release raises RegistryError too, and stays.
    """
    path, state = folder / HISTORY, folder / STATE
    now = read_aliases(folder) if _is_whole(state) else None
    whole = whole_moves(path)
    if now and all(made.sequence <= now.sequence for made in whole):
        return now
    told = [made for made in whole if made.action != LOST]
    if not told:
        aside = [_put_aside(file) for file in (state, path) if file.exists()]
        if not aside:
            return read_aliases(folder)
        raise RegistryError(
            f"{path} has no whole line to rebuild the aliases from: what was candidate and in production is lost. Put "
            f"aside as {' and '.join(aside)}. {promote_hint(folder)} Until then, servers keep what they serve."
        )
    last, held = (max(moves, key=lambda made: made.sequence) for moves in (whole, told))
    _write(folder, dataclasses.replace(last, candidate=held.candidate, production=held.production), last_number)
    return read_aliases(folder)


def known_moves(folder: Path) -> tuple[Move, ...]:
    """Return the moves of a damaged history too, oldest first: those whose lines are whole, and the last one.

    Raises RegistryError if the files can't be read.
    """
    last, path = read_aliases(folder).last_move, folder / HISTORY
    try:
        known = {made.sequence: made for made in whole_moves(path)}
    except OSError as error:
        raise unreadable(path, error) from error
    if last:
        known[last.sequence] = last
    return tuple(known[number] for number in sorted(known))


def whole_moves(path: Path) -> list[Move]:
    """Return the moves of those lines of a history that are as they were written."""
    lines = map(_parsed, path.read_bytes().split(b"\n") if path.is_file() else [])
    return [Move.from_dict(line) for line in lines if line and is_sealed(line)]


def _is_whole(path: Path) -> bool:
    try:
        read_sealed(path)
    except RegistryError:
        return False
    return True


def _put_aside(path: Path) -> str:
    """Rename a damaged file, never over another one; return its new name."""
    path.rename(aside := free_name(path))
    return aside.name


def free_name(path: Path) -> Path:
    """Return the name under which a damaged file is kept, which no other has."""
    names = (path.with_name(f"{path.name}{BROKEN}{number or ''}") for number in itertools.count())
    return next(name for name in names if not name.exists())


def _write(folder: Path, made: Move, last_number: int) -> None:
    content = {
        "format": FORMAT,
        "sequence": made.sequence,
        "candidate": made.candidate,
        "production": list(made.production),
        "last_number": last_number,
        "last_move": made.to_dict(),
    }
    write_sealed(folder / STATE, content)


def _complete_history(folder: Path, last: Move) -> None:
    """Append the last move if its line is missing: the process that made it was killed, or the disk was full."""
    path = folder / HISTORY
    # Other lines may be damaged: no alias depends on them.
    *finished, _unfinished = path.read_bytes().split(b"\n") if path.is_file() else [b""]
    written = (_parsed(finished[-1]) or {}).get("sequence") if finished else 0
    if not isinstance(written, int) or written < last.sequence:
        append_line(path, seal(last.to_dict()))


def _parsed(raw: bytes) -> dict[str, Any] | None:
    import json

    try:
        content = json.loads(raw)
    except (ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) else None
