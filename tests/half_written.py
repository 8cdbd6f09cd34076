"""An SQLite file as a writer leaves it that is killed in the middle of a commit."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path


def half_written(database: Path, copy: Path) -> None:
    """Copy a database with kept prompts in the middle of a commit: pages are changed, and the journal is there."""
    with closing(sqlite3.connect(database, isolation_level=None)) as writer:
        writer.execute("PRAGMA cache_size = 2")
        writer.execute("BEGIN")
        writer.execute("UPDATE compass_prompts SET prompt = prompt || hex(zeroblob(3000))")
        for end in ("", "-journal"):
            shutil.copy(f"{database}{end}", f"{copy}{end}")
        writer.execute("ROLLBACK")
