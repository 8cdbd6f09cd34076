"""One writer of a monitor at a time: its lock goes with the process that holds it."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import quote

from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import SQLAlchemyError

from compass.drift.tables import file_of
from compass.errors import MonitorError
from compass.runs.locks import held
from compass.sanitize import without_secrets

LONGEST_LOCK_NAME = 100
"""Characters of a monitor's name in the name of its lock; file names have up to 255."""
GRACE_SECONDS = 1.0
"""How long PostgreSQL may take to notice that the process which held a lock was killed [ours]."""
KEEPALIVES = ("tcp_keepalives_idle = 30", "tcp_keepalives_interval = 10", "tcp_keepalives_count = 3")
"""So that the lock of a machine which is gone is free after a minute, not after two hours."""


@contextmanager
def only_writer(engine: Engine, name: str) -> Iterator[None]:
    """Keep other writers of a monitor out while the block runs, if its database is in a file or on PostgreSQL.

    Raises MonitorError if there is one already.
    """
    if file := lock_of(engine, name):
        with held(file, another_writes(name)):
            yield
    elif engine.dialect.name == "postgresql":
        connection = _locked(engine, name)
        try:
            yield
        finally:
            # If the server is gone, so is the lock.
            with suppress(SQLAlchemyError):
                connection.execute(text("SELECT pg_advisory_unlock_all()"))
            connection.close()
    else:
        yield


def lock_of(engine: Engine, name: str) -> Path | None:
    """Return the file that only one writer of a monitor may hold, beside a database in a file; None for others.

    Monitors of other names may share the database.
    """
    file = file_of(engine)
    if engine.dialect.name != "sqlite" or not file:
        return None
    named = quote(name, safe="")
    if len(named) > LONGEST_LOCK_NAME:
        named = hashlib.sha256(name.encode()).hexdigest()[:16]
    return Path(f"{Path(file).resolve()}.{named}.lock")


def another_writes(name: str) -> MonitorError:
    """Return the error for a second writer of a monitor."""
    return MonitorError(
        f"Another process, or another Monitor in this one, is writing the state of monitor {name!r}. Stop or close it, "
        "or give each its own database or name."
    )


def _locked(engine: Engine, name: str) -> Connection:
    """Return a connection to PostgreSQL that holds a monitor's lock for as long as it lives."""
    key = {"key": int.from_bytes(hashlib.sha256(f"compass monitor {name}".encode()).digest()[:8], "big", signed=True)}
    connection = None
    try:
        connection = engine.connect().execution_options(isolation_level="AUTOCOMMIT")
        for setting in KEEPALIVES:
            connection.execute(text(f"SET {setting}"))
        deadline = time.monotonic() + GRACE_SECONDS
        while not connection.scalar(text("SELECT pg_try_advisory_lock(:key)"), key):
            if time.monotonic() > deadline:
                connection.close()
                raise another_writes(name)
            time.sleep(GRACE_SECONDS / 10)
    except SQLAlchemyError as error:
        if connection is not None:
            connection.close()
        reason = without_secrets(str(getattr(error, "orig", None) or type(error).__name__))
        raise MonitorError(f"The state of monitor {name!r} can't be locked: {reason}") from None
    return connection
