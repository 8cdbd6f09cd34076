"""Answers and what users said of them, in an SQL database, so that feedback by an answer's id finds who gave it.

Of an answer are kept id, version and a hash of the conversation; prompt and answer only as the option `reservoir` says.
Answers without feedback go after FEEDBACK_HOURS, those with it after `retention_days`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Boolean, Float, Integer, String, Text, delete, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Mapped, Session, mapped_column

from compass.drift.tables import Base, open_database
from compass.errors import MonitorError
from compass.sanitize import without_secrets

DATABASE = "serve.db"
"""In the gateway's folder, where the option `database` names no other."""
FEEDBACK_HOURS = 72.0
"""How long feedback on an answer is taken [ours]."""


class AnswerRow(Base):
    """One answer."""

    __tablename__ = "compass_answers"
    id: Mapped[str] = mapped_column(String(200), primary_key=True)
    conversation: Mapped[str] = mapped_column(String(32), index=True)
    key: Mapped[str] = mapped_column("client", String(200))
    language: Mapped[str] = mapped_column(String(40), index=True)
    version: Mapped[int] = mapped_column(Integer)
    candidate: Mapped[bool] = mapped_column(Boolean)
    at: Mapped[float] = mapped_column(Float, index=True)
    content: Mapped[dict[str, Any]]
    """`prompt`, `response` and `context`; empty where no texts are kept."""
    thumb: Mapped[int | None] = mapped_column(Integer)
    """1: up, 0: down."""
    correction: Mapped[str | None] = mapped_column(Text)
    said_at: Mapped[float | None] = mapped_column(Float, index=True)
    """When something was first said of it: who says it again changes no order."""
    exact: Mapped[bool | None] = mapped_column(Boolean)
    """Whether the request named the version; None in rows of before this was kept."""


@dataclass(frozen=True)
class Answer:
    """An answer as it is kept."""

    id: str
    conversation: str
    key: str
    language: str
    version: int
    candidate: bool
    at: float
    content: dict[str, Any]
    thumb: int | None = None
    correction: str | None = None
    exact: bool = False
    """Whether the request named the version."""

    @property
    def pleased(self) -> bool:
        """Whether who said something of it was content: a thumb decides, and a correction alone says it was wrong."""
        return self.thumb == 1


@dataclass(frozen=True)
class Said:
    """What a user says of an answer. None: nothing."""

    id: str
    key: str
    thumb: int | None
    correction: str | None


class Store:
    """The answers of all gateways that share a database."""

    def __init__(self, url: str) -> None:
        """Open or make the database. Raises MonitorError if it can't be reached."""
        self._engine = open_database(url)
        self._insert = postgresql.insert if self._engine.dialect.name == "postgresql" else sqlite.insert

    def close(self) -> None:
        """Give the connections back."""
        self._engine.dispose()

    def add(self, answers: Sequence[Answer]) -> None:
        """Write answers; of an id that is there already the first one stays."""
        rows = [{**vars(answer), "client": answer.key, "said_at": None} for answer in answers]
        rows = [{name: value for name, value in row.items() if name != "key"} for row in rows]
        with self._session() as session:
            if rows:
                session.execute(self._insert(AnswerRow.__table__).on_conflict_do_nothing(), rows)  # type: ignore[arg-type]

    def say(self, said: Said, at: float) -> Answer | None:
        """Write down what a user says, over what was said before; return the answer, None where there is none."""
        with self._session() as session:
            row = session.get(AnswerRow, said.id)
            if row is None or row.key != said.key:
                return None
            row.thumb = row.thumb if said.thumb is None else said.thumb
            row.correction = row.correction if said.correction is None else said.correction
            row.said_at = at if row.said_at is None else row.said_at
            return _answer(row)

    def said(self, language: str = "") -> list[Answer]:
        """Return the answers that somebody said something of, oldest first; of one language, or of all."""
        query = select(AnswerRow).where(AnswerRow.said_at.is_not(None)).order_by(AnswerRow.at, AnswerRow.id)
        with self._session() as session:
            rows = session.scalars(query.where(AnswerRow.language == language) if language else query)
            return [_answer(row) for row in rows]

    def outcomes(self, language: str, versions: Collection[int], since: float) -> list[tuple[int, bool]]:
        """Return what users said of versions, in their order: the version, and whether they were content.

        since: of answers from then on. Of a conversation the first word counts: its others are about the same. Answers
        of a version that was asked for by name are left out.
        """
        query = select(AnswerRow).where(
            AnswerRow.language == language, AnswerRow.version.in_(list(versions)), AnswerRow.at >= since,
            AnswerRow.said_at.is_not(None), AnswerRow.exact.is_not(True),
        )  # fmt: skip
        first: dict[str, tuple[int, bool]] = {}
        with self._session() as session:
            for row in session.scalars(query.order_by(AnswerRow.said_at, AnswerRow.id)):
                first.setdefault(row.conversation, (row.version, _answer(row).pleased))
        return list(first.values())

    def of(self, conversation: str) -> list[Answer]:
        """Return a conversation's answers."""
        with self._session() as session:
            rows = session.scalars(select(AnswerRow).where(AnswerRow.conversation == conversation))
            return [_answer(row) for row in rows]

    def forget(self, conversation: str) -> None:
        """Delete a conversation's answers."""
        with self._session() as session:
            session.execute(delete(AnswerRow).where(AnswerRow.conversation == conversation))

    def purge(self, *, now: float, retention_seconds: float, texts: bool) -> None:
        """Delete what is older than it may be; texts: whether texts may be kept, else they go at once."""
        unsaid = now - min(FEEDBACK_HOURS * 3600, retention_seconds)
        with self._session() as session:
            session.execute(delete(AnswerRow).where(AnswerRow.said_at.is_(None), AnswerRow.at < unsaid))
            session.execute(delete(AnswerRow).where(AnswerRow.at < now - retention_seconds))
            if not texts:
                session.execute(update(AnswerRow).values(content={}, correction=None))

    @contextmanager
    def _session(self) -> Iterator[Session]:
        try:
            with Session(self._engine) as session, session.begin():
                yield session
        except SQLAlchemyError as error:
            # Its own message may hold the address with the password.
            reason = without_secrets(str(getattr(error, "orig", None) or type(error).__name__))
            raise MonitorError(f"The database of answers can't be used: {reason}") from None


def storable_id(id: str) -> str:
    """Return an id as the database takes it: one that is too long, or odd, becomes its hash."""
    if id.isprintable() and len(id) <= 200:
        return id
    return hashlib.sha256(id.encode("utf-8", "replace")).hexdigest()


def _answer(row: AnswerRow) -> Answer:
    return Answer(
        row.id, row.conversation, row.key, row.language, row.version, row.candidate, row.at, dict(row.content),
        row.thumb, row.correction, bool(row.exact),
    )  # fmt: skip
