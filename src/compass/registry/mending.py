"""A history that no backup brings back: go on without what is lost of it, and leave on record that it was lost."""

from __future__ import annotations

import json
import logging
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from compass.errors import RegistryError
from compass.registry.aliases import HISTORY, LOST, Move, free_name, known_moves, moves, read_aliases
from compass.registry.events import ACTION, EVENTS, RegistryEvent
from compass.registry.files import seal
from compass.runs.files import append_line, write_bytes, write_text

logger = logging.getLogger(__name__)


def go_on_without(folder: Path) -> tuple[int, ...]:
    """Write a language's damaged history anew, and return the numbers of the moves that are lost.

    Each of them becomes a move `lost`, so that it shows where it was; the damaged file is kept beside, and an event
    tells of it. The caller holds the lock of the state. Raises OSError if the files can't be written, RegistryError if
    they can't be read.
    """
    now = read_aliases(folder)
    with suppress(RegistryError):
        if len(moves(folder)) >= now.sequence:
            return ()
    path = folder / HISTORY
    known = {made.sequence: made for made in known_moves(folder)}
    lost = tuple(number for number in range(1, now.sequence + 1) if number not in known)
    aside = ""
    if path.exists():
        kept = free_name(path)
        write_bytes(kept, path.read_bytes())
        aside = f" The damaged file is kept as {kept.name}."
    which = f"{'move' if len(lost) == 1 else 'moves'} {', '.join(map(str, lost))}" if lost else "no move"
    message = f"The history was damaged and is written anew; lost: {which}.{aside}"
    details = {"lost": list(lost)}
    append_line(folder / EVENTS, RegistryEvent(ACTION, folder.name, message, details=details).to_dict())
    at = datetime.now(UTC).isoformat(timespec="milliseconds")
    why = "its line in the history was lost or damaged, and there was no backup"
    made = (known.get(n) or Move(n, at, LOST, "", "", "", (), reason=why) for n in range(1, now.sequence + 1))
    write_text(path, "".join(_line(move) for move in made))
    logger.warning("%s: %s", folder.name, message)
    return lost


def _line(move: Move) -> str:
    return json.dumps(seal(move.to_dict()), ensure_ascii=False, allow_nan=False) + "\n"
