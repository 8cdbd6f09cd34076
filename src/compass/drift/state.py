"""The monitor's state in an SQL database: each batch is one transaction, with the id or file position of the batch."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from sqlalchemy import delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError, SQLAlchemyError
from sqlalchemy.orm import Session

from compass.drift.results import Skipped
from compass.drift.tables import (
    BatchRow,
    BlockRow,
    CheckRow,
    EventRow,
    MonitorRow,
    PromptRow,
    SkippedRow,
    SourceRow,
    StreamRow,
    open_database,
)
from compass.drift.writers import another_writes, only_writer
from compass.errors import MonitorError
from compass.sanitize import without_secrets

FORMAT = 1
"""Version of the tables' content."""
BATCHES_REMEMBERED = 100_000
"""Batch ids that are kept; a batch that is sent again after so many others would be counted twice."""
CHECKS_KEPT = 10_000
"""Checks that are kept for plots, the newest; and so many blocks."""
LONGEST_REASON, LONGEST_PLACE = 200, 500
"""Characters of what is stored of something that was passed over."""


@dataclass(frozen=True)
class Position:
    """A stretch of a file, in bytes."""

    source: str
    """Name of the file within the input."""
    start: int
    end: int
    head: str
    """What tells this file from a later one of the same name."""
    tail: str = ""
    """What tells the bytes before `end`; empty if an earlier version read them."""


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


def forget_prompts(url: str, texts: Collection[str]) -> int:
    """Delete the kept prompts with one of these texts from every monitor of a database; return how many went.

    Raises MonitorError if the database can't be written.
    """
    state = MonitorState(url, "")
    try:
        return state.forget(texts)
    finally:
        state.close()


class MonitorState:
    """One monitor's rows in a database."""

    def __init__(
        self, url: str, name: str, *, checks_kept: int = CHECKS_KEPT, batches_remembered: int = BATCHES_REMEMBERED
    ) -> None:
        """Open or make the database. Raises MonitorError if it can't be reached."""
        self.name = name
        self._checks_kept, self._batches_remembered = checks_kept, batches_remembered
        self._engine = open_database(url)
        self._id = self._version = 0
        self._lock, self._locked = ExitStack(), False

    def close(self) -> None:
        """Give the connections and the lock back."""
        self._lock.close()
        self._locked = False
        self._engine.dispose()

    def begin(
        self, reference: str, options: Mapping[str, Any], *, restart: bool
    ) -> tuple[int, dict[str, dict[str, Any]]]:
        """Find or make the monitor's row; return prompts counted and stored streams by name.

        options: what the stored windows depend on; one that is not stored yet belongs to a test that came later.
        `restart` forgets windows, checks, alarms and kept prompts, whose ranks go by their place in the old windows,
        and takes the new reference and options; batches and offsets stay, so that nothing is counted again. Raises
        MonitorError if reference or options have changed, unless `restart` is set, or if another process has begun:
        only one may write a monitor until it closes it.
        """
        if not self._locked:
            self._lock.enter_context(only_writer(self._engine, self.name))
            self._locked = True
        with self._session() as session:
            row = session.scalar(select(MonitorRow).where(MonitorRow.name == self.name))
            if row is None:
                row = MonitorRow(name=self.name, format=FORMAT, reference=reference, options=dict(options))
                row.prompts = row.version = 0
                session.add(row)
                session.flush()
            elif row.format != FORMAT:
                raise MonitorError(
                    f"The state of monitor {self.name!r} has format {row.format}; this version reads format {FORMAT}. "
                    "Choose another name."
                )
            elif restart:
                row.reference, row.options, row.version = reference, dict(options), row.version + 1
                for table in (StreamRow, CheckRow, PromptRow):
                    session.execute(delete(table).where(table.monitor == row.id))
            else:
                self._refuse_others(row, reference, options)
                row.options = {**row.options, **options}
            self._id, self._version = row.id, row.version
            streams = session.scalars(select(StreamRow).where(StreamRow.monitor == row.id)).all()
            return row.prompts, {stream.name: stream.content for stream in streams}

    def stored_option(self, option: str) -> Any:
        """Return what the stored windows depend on, by its name; None where nothing is stored yet."""
        with self._session() as session:
            row = session.scalar(select(MonitorRow).where(MonitorRow.name == self.name))
            return None if row is None else row.options.get(option)

    def skipped(self) -> list[Skipped]:
        """Return what was passed over, the most frequent reason first; it needs no `begin`."""
        rows = (
            select(SkippedRow)
            .join(MonitorRow, MonitorRow.id == SkippedRow.monitor)
            .where(MonitorRow.name == self.name)
            .order_by(SkippedRow.n_lines.desc(), SkippedRow.reason)
        )
        with self._session() as session:
            return [Skipped(row.reason, row.n_lines, row.first or "", row.at) for row in session.scalars(rows)]

    def counted(self, batch: str | None, position: Position | None) -> bool:
        """Say whether a batch was counted before. Raises MonitorError if a stretch of a file was counted in part."""
        with self._session() as session:
            return self._counted(session, batch, position)

    def offsets(self) -> dict[str, Position]:
        """Return how far each file was counted, by name."""
        with self._session() as session:
            rows = session.scalars(select(SourceRow).where(SourceRow.monitor == self._id)).all()
            return {row.name: Position(row.name, 0, row.offset, row.head, row.tail or "") for row in rows}

    def write(
        self,
        *,
        prompts: int,
        streams: Mapping[str, dict[str, Any]],
        checks: Sequence[dict[str, Any]],
        events: Sequence[dict[str, Any]],
        blocks: Sequence[tuple[str, dict[str, Any]]] = (),
        kept: Sequence[NewPrompt],
        reservoir_size: int,
        oldest: float,
        at: float,
        batch: str | None,
        position: Position | None,
        skipped: Sequence[Skipped],
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
                raise another_writes(self.name)
            if batch is not None:
                session.add(BatchRow(monitor=self._id, batch=batch))
            if position is not None:
                of = {"name": position.source, "offset": position.end, "head": position.head, "tail": position.tail}
                session.merge(SourceRow(monitor=self._id, **of))
            self._skip(session, skipped, at)
            for name, content in streams.items():
                session.merge(StreamRow(monitor=self._id, name=name, content=content))
            if checks:
                rows = [{"monitor": self._id, "at": at, "content": check} for check in checks[-self._checks_kept :]]
                session.execute(insert(CheckRow), rows)
            session.add_all([EventRow(monitor=self._id, at=at, content=event_) for event_ in events])
            session.add_all([BlockRow(monitor=self._id, stream=name, at=at, content=block) for name, block in blocks])
            self._expire(session, oldest)
            self._keep(session, kept, reservoir_size, at)
            session.flush()
            if checks:
                self._trim(session, CheckRow, self._checks_kept)
            if blocks:
                self._trim(session, BlockRow, self._checks_kept)
            if batch is not None:
                self._trim(session, BatchRow, self._batches_remembered)
        self._version += 1
        return True

    def purge(self, *, modes: Sequence[str], oldest: float) -> int:
        """Delete kept prompts of other modes and those older than allowed; return how many went."""
        with self._session() as session:
            gone = session.execute(
                delete(PromptRow).where(PromptRow.monitor == self._id, PromptRow.mode.not_in(list(modes)))
            )
            return int(gone.rowcount) + self._expire(session, oldest)  # type: ignore[attr-defined]

    def forget(self, texts: Collection[str]) -> int:
        """Delete the prompts with one of these texts, whichever monitor keeps them; return how many went."""
        gone, wanted = 0, sorted(texts)
        with self._session() as session:
            for start in range(0, len(wanted), 500):
                done = session.execute(delete(PromptRow).where(PromptRow.text.in_(wanted[start : start + 500])))
                gone += int(done.rowcount)  # type: ignore[attr-defined]
        return gone

    def suggest(self, language: str, stands_for: Mapping[str, int]) -> None:
        """Note which kept prompts of a language to answer first, in place of those of before. stands_for: by text."""
        mine = (PromptRow.monitor == self._id, PromptRow.language == language)
        with self._session() as session:
            session.execute(update(PromptRow).where(*mine, PromptRow.stands_for.is_not(None)).values(stands_for=None))
            for text, n in stands_for.items():
                session.execute(update(PromptRow).where(*mine, PromptRow.text == text).values(stands_for=n))

    def lowest_ranks(self, size: int) -> dict[str, float]:
        """Return the rank to beat in each language's reservoir that is full."""
        with self._session() as session:
            rows = session.execute(
                select(PromptRow.language, func.min(PromptRow.rank))
                .where(PromptRow.monitor == self._id, PromptRow.marked_by.is_(None))
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
            rows = session.scalars(query.order_by(PromptRow.id.desc()).limit(most)).all()
            return [KeptPrompt(row.text, row.language, row.cluster, row.at) for row in rows]

    def checks(self, most: int = CHECKS_KEPT) -> list[dict[str, Any]]:
        """Return the newest checks, oldest first."""
        return [content for _id, content in self._contents(CheckRow, most)]

    def events(self, most: int = CHECKS_KEPT) -> list[dict[str, Any]]:
        """Return the newest events, oldest first, each with its `id`, which grows from one to the next."""
        return [{"id": number, **content} for number, content in self._contents(EventRow, most)]

    def _refuse_others(self, row: MonitorRow, reference: str, options: Mapping[str, Any]) -> None:
        others = [
            f"{name} {row.options[name]}" for name in options if row.options.get(name, options[name]) != options[name]
        ]
        if row.reference != reference:
            others = ["another reference"]
        if others:
            raise MonitorError(
                f"Monitor {self.name!r} was started with {' and '.join(others)}. Restart it (--restart; input that was "
                "counted stays counted), or choose another name."
            )

    def _contents(self, table: type[CheckRow] | type[EventRow], most: int) -> list[tuple[int, dict[str, Any]]]:
        columns = select(table.id, table.at, table.content).where(table.monitor == self._id)
        with self._session() as session:
            rows = session.execute(columns.order_by(table.id.desc()).limit(most)).all()
        return [(number, {"at": at, **content}) for number, at, content in rows][::-1]

    def _counted(self, session: Session, batch: str | None, position: Position | None) -> bool:
        if batch is not None and session.scalar(
            select(BatchRow.id).where(BatchRow.monitor == self._id, BatchRow.batch == batch).limit(1)
        ):
            return self._by_us(session)
        if position is None:
            return False
        row = session.get(SourceRow, (self._id, position.source))
        if row is None or row.head != position.head or position.start >= row.offset:
            return False
        if position.end <= row.offset:
            return self._by_us(session)
        raise MonitorError(
            f"{position.source}: bytes {position.start} to {position.end} are counted up to {row.offset}. "
            "Read the file from there."
        )

    def _by_us(self, session: Session) -> bool:
        """Return True. Raises MonitorError if another process counts the same prompts, as a twin on one log does."""
        if session.scalar(select(MonitorRow.version).where(MonitorRow.id == self._id)) != self._version:
            raise another_writes(self.name)
        return True

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
            # What somebody marked for labelling stays until it is due to be deleted, and takes nobody's place.
            free = (*mine, PromptRow.marked_by.is_(None))
            surplus = select(PromptRow.id).where(*free).order_by(PromptRow.rank.desc(), PromptRow.id).offset(size)
            ids = session.scalars(surplus.limit(len(kept) + size)).all()
            session.execute(delete(PromptRow).where(PromptRow.id.in_(ids)))

    def _skip(self, session: Session, skipped: Sequence[Skipped], at: float) -> None:
        for skip in skipped:
            reason = skip.reason[:LONGEST_REASON]
            row = session.get(SkippedRow, (self._id, reason))
            if row:
                row.n_lines += skip.n
            else:
                place = skip.first[:LONGEST_PLACE]
                session.add(SkippedRow(monitor=self._id, reason=reason, n_lines=skip.n, first=place, at=at))

    def _trim(self, session: Session, table: type[CheckRow] | type[BatchRow] | type[BlockRow], most: int) -> None:
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
            raise MonitorError(f"{another_writes(self.name)} ({type(error.orig).__name__})") from None
        except SQLAlchemyError as error:
            reason = without_secrets(str(getattr(error, "orig", None) or type(error).__name__))
            raise MonitorError(f"The state of monitor {self.name!r} can't be read or written: {reason}") from None
