"""The tables of a monitor's database. Their names and columns are those of version 0.1."""

from __future__ import annotations

import os
import re
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

from sqlalchemy import (
    BigInteger,
    Engine,
    Float,
    ForeignKey,
    Integer,
    String,
    Text,
    create_engine,
    event,
    inspect,
    text,
)
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.pool import NullPool
from sqlalchemy.types import JSON

from compass.errors import MonitorError
from compass.sanitize import without_secrets

BRIEF_SECONDS = 0.5
"""How long somebody who only reads waits for a database that is locked."""
SHORTEST_PART = 4
"""Characters of a part of a password that is hidden in a driver's message."""
_Key = BigInteger().with_variant(Integer, "sqlite")


class Base(DeclarativeBase):
    """Base of the tables."""

    type_annotation_map = {dict[str, Any]: JSON}  # noqa: RUF012


class MonitorRow(Base):
    """One monitor. `version` counts transactions, so that of two processes that write at once one is refused."""

    __tablename__ = "compass_monitors"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(200), unique=True)
    format: Mapped[int]
    reference: Mapped[str] = mapped_column(String(64))
    options: Mapped[dict[str, Any]]
    prompts: Mapped[int] = mapped_column(BigInteger, default=0)
    version: Mapped[int] = mapped_column(BigInteger, default=0)


class StreamRow(Base):
    """Windows and alarms of one language, or of the mix of languages, as JSON."""

    __tablename__ = "compass_streams"
    monitor: Mapped[int] = mapped_column(ForeignKey("compass_monitors.id", ondelete="CASCADE"), primary_key=True)
    name: Mapped[str] = mapped_column(Text, primary_key=True)
    content: Mapped[dict[str, Any]]


class BatchRow(Base):
    """A batch that was counted, by the name that its sender gave it."""

    __tablename__ = "compass_batches"
    id: Mapped[int] = mapped_column(_Key, primary_key=True, autoincrement=True)
    monitor: Mapped[int] = mapped_column(ForeignKey("compass_monitors.id", ondelete="CASCADE"), index=True)
    batch: Mapped[str] = mapped_column(Text, index=True)


class SourceRow(Base):
    """How far a file was counted, in bytes."""

    __tablename__ = "compass_sources"
    monitor: Mapped[int] = mapped_column(ForeignKey("compass_monitors.id", ondelete="CASCADE"), primary_key=True)
    name: Mapped[str] = mapped_column(Text, primary_key=True)
    offset: Mapped[int] = mapped_column("byte_offset", BigInteger)
    head: Mapped[str] = mapped_column(String(100))
    tail: Mapped[str | None] = mapped_column(String(100))


class SkippedRow(Base):
    """What was passed over, by reason, with the place of the first."""

    __tablename__ = "compass_skipped"
    monitor: Mapped[int] = mapped_column(ForeignKey("compass_monitors.id", ondelete="CASCADE"), primary_key=True)
    reason: Mapped[str] = mapped_column(String(200), primary_key=True)
    n_lines: Mapped[int] = mapped_column("lines", BigInteger)
    first: Mapped[str | None] = mapped_column("first_place", Text)
    at: Mapped[float | None] = mapped_column("first_at", Float)


class CheckRow(Base):
    """One check of one test."""

    __tablename__ = "compass_looks"
    id: Mapped[int] = mapped_column(_Key, primary_key=True, autoincrement=True)
    monitor: Mapped[int] = mapped_column(ForeignKey("compass_monitors.id", ondelete="CASCADE"), index=True)
    at: Mapped[float] = mapped_column(Float)
    content: Mapped[dict[str, Any]]


class EventRow(Base):
    """A drift or a recovery: numbers and cluster names, no prompts."""

    __tablename__ = "compass_events"
    id: Mapped[int] = mapped_column(_Key, primary_key=True, autoincrement=True)
    monitor: Mapped[int] = mapped_column(ForeignKey("compass_monitors.id", ondelete="CASCADE"), index=True)
    at: Mapped[float] = mapped_column(Float)
    content: Mapped[dict[str, Any]]


class BlockRow(Base):
    """The topics of one full block of a stream, for plots: counts by cluster. Added in version 0.2."""

    __tablename__ = "compass_blocks"
    id: Mapped[int] = mapped_column(_Key, primary_key=True, autoincrement=True)
    monitor: Mapped[int] = mapped_column(ForeignKey("compass_monitors.id", ondelete="CASCADE"), index=True)
    stream: Mapped[str] = mapped_column(Text)
    at: Mapped[float] = mapped_column(Float)
    content: Mapped[dict[str, Any]]


class PromptRow(Base):
    """A prompt that was kept for the next update."""

    __tablename__ = "compass_prompts"
    id: Mapped[int] = mapped_column(_Key, primary_key=True, autoincrement=True)
    monitor: Mapped[int] = mapped_column(ForeignKey("compass_monitors.id", ondelete="CASCADE"), index=True)
    language: Mapped[str] = mapped_column(Text, index=True)
    cluster: Mapped[int]
    text: Mapped[str] = mapped_column("prompt", Text)
    mode: Mapped[str] = mapped_column(String(10))
    rank: Mapped[float] = mapped_column("sampling_rank", Float, index=True)
    at: Mapped[float] = mapped_column(Float, index=True)
    marked_by: Mapped[str | None] = mapped_column(String(200))
    """Who marked it for labelling; None: nobody. Added in version 0.2, as the next two."""
    marked_at: Mapped[float | None] = mapped_column(Float)
    stands_for: Mapped[int | None] = mapped_column(Integer)
    """Kept prompts that it stands for, where it was chosen at the latest drift as one to answer first."""


def database_in(file: Path) -> str:
    """Return the SQLAlchemy URL of an SQLite database in a file."""
    return f"sqlite:///{file.resolve()}"


def open_database(url: str) -> Engine:
    """Open a database by its SQLAlchemy URL, and make its tables if need be. Raises MonitorError if that fails.

    No message holds a password, nor does an error behind it.
    """
    engine = _engine_of(url)
    with _opening(engine, url):
        if engine.dialect.name == "sqlite":
            _prepare_sqlite(engine)
        Base.metadata.create_all(engine)
        _add_columns(engine)
    return engine


def open_to_read(url: str) -> Engine | None:
    """Open a database that is there already, to read it and change nothing; None where there is none.

    A file that somebody holds locked is given up after BRIEF_SECONDS. Of another database, tables may be missing. The
    engine is kept for the next time, for it remembers statements: do not dispose of it. Raises MonitorError.
    """
    if not (file := _file_in(url)):
        return _kept_open(url)
    return _read_only(Path(file).resolve()) if Path(file).is_file() else None


def connect_to_read(file: Path, *, wait: float = 5.0) -> sqlite3.Connection:
    """Open an SQLite file that is there, to change nothing. wait: seconds, where somebody holds it locked.

    Not `ro`: what a killed writer left half done could not be taken back, and so nothing be read.
    """
    address = f"{file.resolve().as_uri()}?mode=rw"
    connection = sqlite3.connect(address, uri=True, timeout=wait, check_same_thread=False)
    connection.execute("PRAGMA query_only = ON")
    return connection


@lru_cache(maxsize=256)
def _file_in(url: str) -> str:
    engine = _engine_of(url)
    return file_of(engine) if engine.dialect.name == "sqlite" else ""


@lru_cache(maxsize=16)
def _kept_open(url: str) -> Engine:
    engine = _engine_of(url)
    if engine.dialect.name == "postgresql":
        engine = engine.execution_options(postgresql_readonly=True)
    with _opening(engine, url):
        engine.connect().close()
    return engine


def _engine_of(url: str) -> Engine:
    try:
        parsed = make_url(url)
        if parsed.drivername == "postgresql":
            parsed = parsed.set(drivername="postgresql+psycopg")
        if parsed.drivername == "postgresql+psycopg" and "client_encoding" not in parsed.query:
            # A database that was made as SQL_ASCII gives bytes otherwise.
            parsed = parsed.update_query_dict({"client_encoding": "utf8"})
        # Statements are logged and raised with their parameters otherwise, and those hold prompts.
        return create_engine(parsed, hide_parameters=True)
    except (ArgumentError, ImportError, ValueError, TypeError) as error:
        raise MonitorError(
            f"database: {_shown(url)} can't be opened ({_without_password(str(error), url)}). Give an SQLAlchemy URL, "
            "such as sqlite:////var/lib/compass.db or postgresql://user@host/name (with pip install "
            "'compass-peft[postgres]'); write @, /, : and ? in a password as %40, %2F, %3A and %3F."
        ) from None


@contextmanager
def _opening(engine: Engine, url: str) -> Iterator[None]:
    """Raise what goes wrong as MonitorError, without a password."""
    try:
        yield
    except (SQLAlchemyError, OSError, ValueError) as error:
        engine.dispose()
        reason = _without_password(str(getattr(error, "orig", None) or error), url)
        raise MonitorError(f"database: {_shown(url)} can't be opened: {reason}") from None


@lru_cache(maxsize=256)
def _read_only(file: Path) -> Engine:
    return create_engine(
        "sqlite://",
        creator=lambda: connect_to_read(file, wait=BRIEF_SECONDS),
        poolclass=NullPool,
        hide_parameters=True,
    )


def _add_columns(engine: Engine) -> None:
    """Add the columns that tables have gained since they were first made."""
    inspector = inspect(engine)
    for table in Base.metadata.sorted_tables:
        there = {column["name"] for column in inspector.get_columns(table.name)}
        with engine.begin() as connection:
            for column in table.columns:
                if column.name not in there:
                    of = column.type.compile(engine.dialect)
                    connection.execute(text(f"ALTER TABLE {table.name} ADD COLUMN {column.name} {of}"))


def file_of(engine: Engine) -> str:
    """Return the file of an SQLite database; empty for one in memory, and for a URI, which may name either."""
    file = engine.url.database or ""
    return "" if file == ":memory:" or "uri" in engine.url.query or file.startswith("file:") else file


def _prepare_sqlite(engine: Engine) -> None:
    if path := file_of(engine):
        Path(path).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Made here, so that nobody but its owner can read it at any moment.
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))

    @event.listens_for(engine, "connect")
    def _settings(connection: Any, _record: Any) -> None:
        cursor = connection.cursor()
        # Deleted prompts are overwritten with zeros, not left in free pages.
        cursor.execute("PRAGMA secure_delete = ON")
        cursor.execute("PRAGMA foreign_keys = ON")
        cursor.execute("PRAGMA synchronous = FULL")
        cursor.execute("PRAGMA busy_timeout = 30000")
        cursor.close()


def _shown(url: str) -> str:
    """Return an address without its password and its query, which may hold another one."""
    return without_secrets(url).partition("?")[0] if "://" in url else "the URL"


def _without_password(text: str, url: str) -> str:
    """Hide the parts of a password wherever a driver may have taken them for a host or a port."""
    user, query = url.partition("//")[2].rpartition("@")[0], url.rpartition("?")[2]
    parts = re.split(r"[@/:?#]", user.partition(":")[2]) + re.split(r"[&=]", query)[1::2]
    for part in sorted(parts, key=len, reverse=True):
        text = text.replace(part, "***") if len(part) >= SHORTEST_PART else text
    return without_secrets(text)
