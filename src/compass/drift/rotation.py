"""Is a log one that nobody writes to any more? Its last line then stays as it is."""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path

SETTLED_SECONDS = 10.0
"""For so long a rotated log is left alone: who writes it may still hold it open [ours]."""


def is_left_behind(file: Path, logs: Iterable[Path]) -> bool:
    """Say whether a log was rotated: one whose name it goes on from was written to later, and it is settled."""
    newer = [log for log in logs if log != file and log.parent == file.parent and _goes_on(file.name, log)]
    if not newer:
        return False
    try:
        written = file.stat().st_mtime
        return time.time() - written >= SETTLED_SECONDS and any(log.stat().st_mtime >= written for log in newer)
    except OSError:
        # Gone between the listing and now.
        return False


def _goes_on(name: str, log: Path) -> bool:
    """Say whether a name is a log's with more in it: `app.jsonl.1` or `app-20261129.jsonl` of `app.jsonl`."""
    more = name.removeprefix(log.stem)
    return name.startswith(f"{log.name}.") or (more != name and more[:1] in "-._" and more.endswith(log.suffix))
