"""What a monitor's database says, for pages: it is read, and never written, made or waited for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Engine, func, inspect, literal, select, update
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from compass.drift.results import MIX, Check, Skipped
from compass.drift.state import KeptPrompt
from compass.drift.tables import (
    Base,
    BlockRow,
    CheckRow,
    EventRow,
    MonitorRow,
    PromptRow,
    SkippedRow,
    StreamRow,
    open_database,
    open_to_read,
)
from compass.errors import MonitorError
from compass.sanitize import without_secrets

MOST_BLOCKS = 200
"""Blocks that a plot shows, the newest."""


@dataclass(frozen=True)
class Block:
    """The topics of a block of prompts."""

    prompts: int
    """Prompts of the stream by its end, since the monitor began anew."""
    counts: tuple[int, ...]
    """Prompts by cluster."""
    at: float
    """Seconds since 1970: when its first prompt came, or where that is not known, when it was counted."""


@dataclass(frozen=True)
class Kept:
    """A prompt in the reservoir."""

    id: int
    text: str
    mode: str
    """`redacted` or `full`."""
    cluster: int
    at: float
    marked_by: str = ""
    stands_for: int = 0
    """Kept prompts that it stands for, where the rule of `compass label` chose it at the latest drift; else 0."""


BEGUN: dict[str, Any] = {"window": {"closed": [], "open": [[]], "prompts": 0}}
"""A stream that no prompt has come to yet."""


@dataclass(frozen=True)
class Watched:
    """Where the monitor of one language stands."""

    name: str
    prompts: int
    """Prompts of the language in its window and before, since the monitor began anew."""
    window: int
    """Prompts in the full blocks of the window."""
    full: bool
    """Whether there are enough of them to compare."""
    alarms: dict[str, int] = field(default_factory=dict)
    """Test -> the prompt that its alarm began at."""
    last: tuple[Check, ...] = ()
    """The latest check of each test."""
    checks: tuple[Check, ...] = ()
    """Earlier checks too, oldest first."""
    events: tuple[dict[str, Any], ...] = ()
    """Drifts and recoveries, oldest first, as they are stored."""
    blocks: tuple[Block, ...] = ()
    """Oldest first."""
    skipped: tuple[Skipped, ...] = ()
    n_kept: int = 0
    """Prompts in the reservoir."""
    options: dict[str, Any] = field(default_factory=dict)
    """Options that the windows depend on, as they are stored."""
    full_size: int = 0
    """Prompts in a full window."""


def read_watched(url: str, names: Sequence[str], language: str) -> Watched | None:
    """Return where the first of these monitors stands with a language; None where none of them is there.

    Raises MonitorError if the database is damaged or locked.
    """
    with _reading(url) as session:
        return None if session is None else _watched(session, names, language)


def read_kept(url: str, names: Sequence[str], language: str, *, oldest: float) -> list[KeptPrompt]:
    """Return what all monitors of these names keep of a language since `oldest`, newest first.

    names: monitors of the database that may be there. oldest: seconds since 1970; what is older is due to be deleted.
    Raises MonitorError if the database is damaged or locked.
    """
    with _reading(url) as session:
        if session is None or not _there(session, MonitorRow):
            return []
        query = (
            select(PromptRow.text, PromptRow.language, PromptRow.cluster, PromptRow.at)
            .join(MonitorRow, MonitorRow.id == PromptRow.monitor)
            .where(MonitorRow.name.in_(list(names)), PromptRow.language == language, PromptRow.at >= oldest)
            .order_by(PromptRow.at.desc(), PromptRow.id.desc())
        )
        return [KeptPrompt(*found) for found in session.execute(query)]


def read_kept_rows(url: str, names: Sequence[str], language: str, *, oldest: float, most: int) -> list[Kept]:
    """Return the newest prompts that these monitors keep of a language, newest first. Raises MonitorError."""
    with _reading(url) as session:
        row = None if session is None else _monitor(session, names)
        if session is None or row is None:
            return []
        new = [PromptRow.marked_by, PromptRow.stands_for] if _has(session, "stands_for") else [literal(None)] * 2
        query = (
            select(PromptRow.id, PromptRow.text, PromptRow.mode, PromptRow.cluster, PromptRow.at, *new)
            .where(PromptRow.monitor == row.id, PromptRow.language == language, PromptRow.at >= oldest)
            .order_by(PromptRow.id.desc())
        )
        rows: list[list[Any]] = [list(found) for found in session.execute(query.limit(most))]
        return [Kept(a, b, c, d, e, by or "", n or 0) for a, b, c, d, e, by, n in rows]


def read_skipped(url: str, name: str) -> list[Skipped] | None:
    """Return what a monitor has passed over, the most frequent reason first; None where there is no such monitor.

    Raises MonitorError if the database is damaged or locked.
    """
    with _reading(url) as session:
        row = None if session is None else _monitor(session, [name])
        if session is None or row is None:
            return None
        if not _there(session, SkippedRow):
            return []
        places = [SkippedRow.first, SkippedRow.at]
        columns = places if _has(session, "first_at", SkippedRow) else [literal(None)] * 2
        query = select(SkippedRow.reason, SkippedRow.n_lines, *columns).where(SkippedRow.monitor == row.id)
        rows = session.execute(query.order_by(SkippedRow.n_lines.desc(), SkippedRow.reason))
        return [Skipped(reason, n, first or "", at) for reason, n, first, at in map(tuple, rows)]


def mark(url: str, ids: Sequence[int], language: str, *, by: str, at: float) -> int:
    """Mark kept prompts of a language for labelling, or with an empty `by` take marks back; return how many changed.

    A marked prompt stays until it is due to be deleted. Raises MonitorError if the database can't be written.
    """
    with _reading(url) as session:
        if session is None:
            return 0
    engine = open_database(url)
    try:
        with _session(engine) as session:
            wanted = (PromptRow.id.in_(list(ids)), PromptRow.language == language)
            free = PromptRow.marked_by.is_(None) if by else PromptRow.marked_by.is_not(None)
            values = {"marked_by": by[:200] or None, "marked_at": at if by else None}
            done = session.execute(update(PromptRow).where(*wanted, free).values(**values))
            return int(done.rowcount)  # type: ignore[attr-defined]
    finally:
        engine.dispose()


def _watched(session: Session, names: Sequence[str], language: str) -> Watched | None:
    monitor = _monitor(session, names)
    stream = session.get(StreamRow, (monitor.id, language)) if monitor else None
    if monitor is None:
        return None
    # After a promotion or a rollback the monitor begins anew, and the language has no stream until its next prompt.
    content = stream.content if stream else BEGUN
    events = _contents(session, EventRow, monitor.id, language)
    blocks = _blocks(session, monitor.id, language, content)
    if stream is None and not blocks and not any(event["stream"] == language for event in events):
        return None
    counts = [sum(block) for block, _ in content["window"]["closed"]]
    size = int(monitor.options.get("window") or 0)
    kept = select(func.count()).where(PromptRow.monitor == monitor.id, PromptRow.language == language)
    return Watched(
        name=monitor.name,
        prompts=int(content["window"]["prompts"]),
        window=sum(counts),
        full=bool(size) and sum(counts) >= size,
        alarms={str(test): int(alarm["since"]) for test, alarm in content.get("alarms", {}).items()},
        last=tuple(Check.from_dict(check) for check in content.get("last", {}).values()),
        checks=tuple(Check.from_dict(row) for row in _contents(session, CheckRow, monitor.id, language)),
        events=tuple(events),
        blocks=blocks,
        skipped=_skipped(session, monitor.id),
        n_kept=int(session.scalar(kept) or 0),
        options=dict(monitor.options),
        full_size=size,
    )


def _monitor(session: Session, names: Sequence[str]) -> MonitorRow | None:
    if not _there(session, MonitorRow):
        return None
    rows = {row.name: row for row in session.scalars(select(MonitorRow).where(MonitorRow.name.in_(list(names))))}
    return next((rows[name] for name in names if name in rows), None)


def _contents(
    session: Session, table: type[CheckRow] | type[EventRow], monitor: int, language: str
) -> list[dict[str, Any]]:
    """Return stored checks or events of a language and of the mix of languages, oldest first."""
    query = select(table.at, table.content).where(table.monitor == monitor).order_by(table.id.desc())
    rows = [{"at": at, **content} for at, content in session.execute(query.limit(20 * MOST_BLOCKS))]
    return [row for row in rows if row.get("stream") in (language, MIX)][::-1]


def _blocks(session: Session, monitor: int, language: str, content: dict[str, Any]) -> tuple[Block, ...]:
    """Return the newest blocks of the space that is watched now; of a monitor of version 0.1 those of its window."""
    rows: list[tuple[float, dict[str, Any]]] = []
    if _there(session, BlockRow):
        query = select(BlockRow.at, BlockRow.content).where(BlockRow.monitor == monitor, BlockRow.stream == language)
        found = session.execute(query.order_by(BlockRow.id.desc()).limit(MOST_BLOCKS)).all()
        rows = [(at, block) for at, block in found if block["space"] == found[0][1]["space"]][::-1]
    if rows:
        return tuple(Block(b["prompts"], tuple(b["counts"]), float(b["began"] or at)) for at, b in rows)
    window = content["window"]
    closed = [tuple(counts) for counts, _ in window["closed"]]
    began = [block.get("began") for block in window.get("traffic") or ()]
    ends = int(window["prompts"]) - sum(window["open"][0])
    blocks: list[Block] = []
    for place in range(len(closed) - 1, -1, -1):
        blocks.append(Block(ends, closed[place], float((began[place] if place < len(began) else 0) or 0)))
        ends -= sum(closed[place])
    return tuple(blocks[::-1])


def _skipped(session: Session, monitor: int) -> tuple[Skipped, ...]:
    if not _there(session, SkippedRow):
        return ()
    query = select(SkippedRow.reason, SkippedRow.n_lines).where(SkippedRow.monitor == monitor)
    return tuple(Skipped(reason, n) for reason, n in session.execute(query.order_by(SkippedRow.n_lines.desc())))


def _there(session: Session, table: type[Base]) -> bool:
    """Say whether a table is there: version 0.1 made fewer, and what is only read has none made."""
    connection = session.connection()
    return connection.dialect.has_table(connection, table.__tablename__)


def _has(session: Session, column: str, table: type[PromptRow] | type[SkippedRow] = PromptRow) -> bool:
    return column in {found["name"] for found in inspect(session.connection()).get_columns(table.__tablename__)}


@contextmanager
def _reading(url: str) -> Iterator[Session | None]:
    engine = open_to_read(url)
    if engine is None:
        yield None
        return
    with _session(engine) as session:
        yield session


@contextmanager
def _session(engine: Engine) -> Iterator[Session]:
    try:
        with Session(engine, expire_on_commit=False) as session, session.begin():
            yield session
    except SQLAlchemyError as error:
        reason = without_secrets(str(getattr(error, "orig", None) or type(error).__name__))
        raise MonitorError(f"The monitor's database can't be used: {reason}.") from None
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        # Stored by something else than a monitor; the error may quote it.
        raise MonitorError(f"The monitor's database is damaged ({type(error).__name__}).") from None
