"""What names say of logs: which one goes on from which, and which nobody writes to any more."""

from __future__ import annotations

import re
import time
from collections.abc import Collection
from functools import lru_cache
from pathlib import Path

SETTLED_SECONDS = 10.0
"""For so long a rotated log is left alone: who writes it may still hold it open [ours]."""


LOG_NAME = re.compile(r"\.(?:jsonl|ndjson)(?=[-._]|$)", re.IGNORECASE)
"""In names of logs: `app.jsonl`, `app.ndjson`, and rotated ones, `app.jsonl.1`, `app.jsonl-20261130.gz`."""


def is_left_behind(file: Path, logs: Collection[Path]) -> bool:
    """Say whether a log was rotated: one whose name it goes on from was written to later, and it is settled."""
    newer = [log for name in origins(file.name) if (log := file.parent / name) in logs and log != file]
    if not newer:
        return False
    try:
        written = file.stat().st_mtime
        return time.time() - written >= SETTLED_SECONDS and any(log.stat().st_mtime >= written for log in newer)
    except OSError:
        # Gone between the listing and now.
        return False


@lru_cache(maxsize=4096)
def origins(name: str) -> frozenset[str]:
    """Return the names that a log's name may go on from.

    `app.jsonl.1` and `app.jsonl` of `app.jsonl.1.gz`; `app.jsonl` of `app-20261129.jsonl` or `app.jsonl-20261129`.
    """
    folder, file = name[: name.rfind("/") + 1], name[name.rfind("/") + 1 :]
    suffix = Path(file).suffix
    starts = {file[: found.start()] for found in re.finditer(r"[-._]", file) if found.start()}
    stems = {start for start in starts if len(start) < len(file) - len(suffix)}
    return frozenset({f"{folder}{start}" for start in starts} | {f"{folder}{stem}{suffix}" for stem in stems})


def log_of(name: str) -> str:
    """Return the log that a name is of: `app.jsonl` of `app.jsonl.2.gz`, `app.jsonl.bak` and itself."""
    found = LOG_NAME.search(name, name.rfind("/") + 1)
    return name[: found.end()] if found else name
