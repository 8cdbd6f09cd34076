"""The monitor's memory: an SQL database, written once a batch, in one transaction with what the batch is known by."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
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
    delete,
    event,
    func,
    insert,
    select,
    update,
)
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, IntegrityError, SQLAlchemyError
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column
from sqlalchemy.types import JSON

from compass.errors import MonitorError

logger = logging.getLogger(__name__)

FORMAT = 1
"""Version of the tables' content."""
BATCHES_REMEMBERED = 100_000
"""Batch ids that are kept; a batch that is sent again after so many others would be counted twice."""
LOOKS_KEPT = 10_000
"""Looks that are kept for plots, the newest."""

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
    """How far a file was counted."""

    __tablename__ = "compass_sources"
    monitor: Mapped[int] = mapped_column(ForeignKey("compass_monitors.id", ondelete="CASCADE"), primary_key=True)
    name: Mapped[str] = mapped_column(Text, primary_key=True)
    offset: Mapped[int] = mapped_column("byte_offset", BigInteger)
    head: Mapped[str] = mapped_column(String(100))


class LookRow(Base):
    """The result of one test at one look."""

    __tablename__ = "compass_looks"
    id: Mapped[int] = mapped_column(_Key, primary_key=True, autoincrement=True)
    monitor: Mapped[int] = mapped_column(ForeignKey("compass_monitors.id", ondelete="CASCADE"), index=True)
    at: Mapped[float] = mapped_column(Float)
    content: Mapped[dict[str, Any]]


class EventRow(Base):
    """A drift or a recovery. Holds numbers and cluster names, no prompts."""

    __tablename__ = "compass_events"
    id: Mapped[int] = mapped_column(_Key, primary_key=True, autoincrement=True)
    monitor: Mapped[int] = mapped_column(ForeignKey("compass_monitors.id", ondelete="CASCADE"), index=True)
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


@dataclass(frozen=True)
class Position:
    """A stretch of a file, in bytes."""

    source: str
    """Name of the file within the input."""
    start: int
    end: int
    head: str
    """What tells this file from a later one of the same name."""


@dataclass(frozen=True)
class KeptPrompt:
    """A prompt in the reservoir."""

    text: str
    language: str
    cluster: int
    at: float
    """Seconds since 1970."""


@dataclass(frozen=True)
class NewPrompt:
    """A prompt that asks for a place in the reservoir; higher ranks win."""

    text: str
    language: str
    cluster: int
    mode: str
    rank: float


class MonitorState:
    """One monitor's rows in a database."""

    def __init__(self, url: str, name: str) -> None:
        """Open or make the database. Raises MonitorError if it can't be reached."""
        self.name = name
        self._engine = _open(url)
        self._id = 0
        self._version = 0

    def close(self) -> None:
        """Give the connections back."""
        self._engine.dispose()

    def begin(
        self, reference: str, options: Mapping[str, Any], *, restart: bool
    ) -> tuple[int, dict[str, dict[str, Any]]]:
        """Find or make the monitor's row; return prompts counted and stored streams by name.

        `restart` forgets windows, looks, alarms and kept prompts, whose ranks go by their place in the old windows, and
        takes the new reference and options; batches and offsets stay, so that nothing is counted again. Raises
        MonitorError if reference or options are others and not `restart`.
        """
        with self._session() as session:
            row = session.scalar(select(MonitorRow).where(MonitorRow.name == self.name))
            if row is None:
                row = MonitorRow(name=self.name, format=FORMAT, reference=reference, options=dict(options))
                row.prompts = row.version = 0
                session.add(row)
                session.flush()
            elif row.format != FORMAT:
                raise MonitorError(
                    f"Monitor {self.name!r} has state of format {row.format}, this version reads {FORMAT}. "
                    "Choose another name."
                )
            elif restart:
                row.reference, row.options, row.version = reference, dict(options), row.version + 1
                for table in (StreamRow, LookRow, PromptRow):
                    session.execute(delete(table).where(table.monitor == row.id))
            elif row.reference != reference or row.options != dict(options):
                what = "reference" if row.reference != reference else "window or tests"
                raise MonitorError(
                    f"Monitor {self.name!r} was started with another {what}. Start it anew with restart (counted input "
                    "stays counted), or choose another name."
                )
            self._id, self._version = row.id, row.version
            streams = session.scalars(select(StreamRow).where(StreamRow.monitor == row.id)).all()
            return row.prompts, {stream.name: stream.content for stream in streams}

    def counted(self, batch: str | None, position: Position | None) -> bool:
        """Say whether a batch was counted before. Raises MonitorError if a stretch of a file was counted in part."""
        with self._session() as session:
            return self._counted(session, batch, position)

    def offsets(self) -> dict[str, Position]:
        """Return how far each file was counted, by name."""
        with self._session() as session:
            rows = session.scalars(select(SourceRow).where(SourceRow.monitor == self._id)).all()
            return {row.name: Position(row.name, 0, row.offset, row.head) for row in rows}

    def write(
        self,
        *,
        prompts: int,
        streams: Mapping[str, dict[str, Any]],
        looks: Sequence[dict[str, Any]],
        events: Sequence[dict[str, Any]],
        kept: Sequence[NewPrompt],
        reservoir_size: int,
        oldest: float,
        at: float,
        batch: str | None,
        position: Position | None,
    ) -> bool:
        """Write all that a batch changed, or nothing; return False if the batch was counted before.

        Prompts kept before `oldest` are deleted in the same transaction. Raises MonitorError if another process wrote
        this monitor since it was opened.
        """
        with self._session() as session:
            if self._counted(session, batch, position):
                return False
            # Compare and swap: a writer that came in between makes this match no row.
            done = session.execute(
                update(MonitorRow)
                .where(MonitorRow.id == self._id, MonitorRow.version == self._version)
                .values(version=self._version + 1, prompts=MonitorRow.prompts + prompts)
            )
            if done.rowcount != 1:  # type: ignore[attr-defined]
                raise MonitorError(
                    f"Another process writes the state of monitor {self.name!r}. Let one of them run, or give each its "
                    "own name."
                )
            if batch is not None:
                session.add(BatchRow(monitor=self._id, batch=batch))
            if position is not None:
                session.merge(
                    SourceRow(monitor=self._id, name=position.source, offset=position.end, head=position.head)
                )
            for name, content in streams.items():
                session.merge(StreamRow(monitor=self._id, name=name, content=content))
            if looks:
                rows = [{"monitor": self._id, "at": at, "content": look} for look in looks[-LOOKS_KEPT:]]
                session.execute(insert(LookRow), rows)
            session.add_all([EventRow(monitor=self._id, at=at, content=event_) for event_ in events])
            self._expire(session, oldest)
            self._keep(session, kept, reservoir_size, at)
            session.flush()
            if looks:
                self._trim(session, LookRow, LOOKS_KEPT)
            if batch is not None:
                self._trim(session, BatchRow, BATCHES_REMEMBERED)
        self._version += 1
        return True

    def purge(self, *, modes: Sequence[str], oldest: float) -> int:
        """Delete kept prompts of other modes and those older than allowed; return how many went."""
        with self._session() as session:
            gone = session.execute(
                delete(PromptRow).where(PromptRow.monitor == self._id, PromptRow.mode.not_in(list(modes)))
            )
            return int(gone.rowcount) + self._expire(session, oldest)  # type: ignore[attr-defined]

    def lowest_ranks(self, size: int) -> dict[str, float]:
        """Return the rank to beat in each language's reservoir that is full."""
        with self._session() as session:
            rows = session.execute(
                select(PromptRow.language, func.min(PromptRow.rank))
                .where(PromptRow.monitor == self._id)
                .group_by(PromptRow.language)
                .having(func.count() >= size)
            )
            return {language: float(rank) for language, rank in rows}

    def prompts(self, language: str, *, cluster: int | None = None, most: int | None = None) -> list[KeptPrompt]:
        """Return kept prompts of a language, newest first."""
        query = select(PromptRow).where(PromptRow.monitor == self._id, PromptRow.language == language)
        if cluster is not None:
            query = query.where(PromptRow.cluster == cluster)
        with self._session() as session:
            rows = session.scalars(query.order_by(PromptRow.at.desc(), PromptRow.id.desc()).limit(most)).all()
            return [KeptPrompt(row.text, row.language, row.cluster, row.at) for row in rows]

    def looks(self, most: int = LOOKS_KEPT) -> list[dict[str, Any]]:
        """Return the newest looks, oldest first."""
        return self._contents(LookRow, most)

    def events(self, most: int = LOOKS_KEPT) -> list[dict[str, Any]]:
        """Return the newest events, oldest first."""
        return self._contents(EventRow, most)

    def _contents(self, table: type[LookRow] | type[EventRow], most: int) -> list[dict[str, Any]]:
        query = select(table.at, table.content).where(table.monitor == self._id).order_by(table.id.desc()).limit(most)
        with self._session() as session:
            return [{"at": at, **content} for at, content in session.execute(query)][::-1]

    def _counted(self, session: Session, batch: str | None, position: Position | None) -> bool:
        if batch is not None and session.scalar(
            select(BatchRow.id).where(BatchRow.monitor == self._id, BatchRow.batch == batch).limit(1)
        ):
            return True
        if position is None:
            return False
        row = session.get(SourceRow, (self._id, position.source))
        if row is None or row.head != position.head or position.start >= row.offset:
            return False
        if position.end <= row.offset:
            return True
        raise MonitorError(
            f"{position.source}: bytes {position.start} to {position.end} are counted up to {row.offset}. "
            "Read the file from there."
        )

    def _expire(self, session: Session, oldest: float) -> int:
        gone = session.execute(delete(PromptRow).where(PromptRow.monitor == self._id, PromptRow.at < oldest))
        return int(gone.rowcount)  # type: ignore[attr-defined]

    def _keep(self, session: Session, kept: Sequence[NewPrompt], size: int, at: float) -> None:
        for new in kept:
            session.add(
                PromptRow(
                    monitor=self._id, language=new.language, cluster=new.cluster, text=new.text, mode=new.mode,
                    rank=new.rank, at=at,
                )
            )  # fmt: skip
        session.flush()
        for language in {new.language for new in kept}:
            mine = (PromptRow.monitor == self._id, PromptRow.language == language)
            surplus = select(PromptRow.id).where(*mine).order_by(PromptRow.rank.desc(), PromptRow.id).offset(size)
            ids = session.scalars(surplus.limit(len(kept) + size)).all()
            session.execute(delete(PromptRow).where(PromptRow.id.in_(ids)))

    def _trim(self, session: Session, table: type[LookRow] | type[BatchRow], most: int) -> None:
        newest = select(table.id).where(table.monitor == self._id).order_by(table.id.desc()).offset(most).limit(1)
        last = session.scalar(newest)
        if last is not None:
            session.execute(delete(table).where(table.monitor == self._id, table.id <= last))

    @contextmanager
    def _session(self) -> Iterator[Session]:
        """One transaction. Raises MonitorError, without any prompt in its message, if the database fails."""
        try:
            with Session(self._engine, expire_on_commit=False) as session, session.begin():
                yield session
        except IntegrityError as error:
            raise MonitorError(
                f"Another process writes the state of monitor {self.name!r} ({type(error.orig).__name__}). "
                "Let one of them run."
            ) from None
        except SQLAlchemyError as error:
            reason = str(getattr(error, "orig", None) or type(error).__name__)
            raise MonitorError(f"The state of monitor {self.name!r} can't be read or written: {reason}") from None


def _open(url: str) -> Engine:
    try:
        parsed = make_url(url)
        if parsed.drivername == "postgresql":
            parsed = parsed.set(drivername="postgresql+psycopg")
        # Statements are logged and raised with their parameters otherwise, and those hold prompts.
        engine = create_engine(parsed, hide_parameters=True)
    except (ArgumentError, ImportError) as error:
        raise MonitorError(
            f"database: {_shown(url)} can't be opened ({error}). Give an SQLAlchemy URL, such as "
            "sqlite:////var/lib/compass.db or postgresql://user@host/name (with pip install 'compass-peft[postgres]')."
        ) from error
    if engine.dialect.name == "sqlite":
        _prepare_sqlite(engine)
    try:
        Base.metadata.create_all(engine)
    except SQLAlchemyError as error:
        engine.dispose()
        reason = str(getattr(error, "orig", None) or error)
        raise MonitorError(f"database: {_shown(url)} can't be opened: {reason}") from None
    return engine


def _prepare_sqlite(engine: Engine) -> None:
    path = engine.url.database
    if path and path != ":memory:":
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
    try:
        return make_url(url).render_as_string(hide_password=True)
    except ArgumentError:
        return "the URL"
