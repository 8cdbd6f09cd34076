"""How much is asked, of whom, and what users say of the answers: from the gateway's database."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from sqlalchemy import Engine, Integer, case, cast, func, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from compass.drift.tables import open_to_read
from compass.errors import MonitorError
from compass.sanitize import without_secrets
from compass.serve.store import AnswerRow

HOURS = 24
HOUR = 3600.0
SHORTEST_PAUSE, PATIENCE = 1.0, 20.0
"""A query is asked again after so many times as long as it took, and not before the former, in seconds [ours]."""


@dataclass(frozen=True)
class Traffic:
    """Answers of a language in the last 24 hours."""

    hours: tuple[int, ...] = (0,) * HOURS
    """Answers by hour, the latest last."""
    versions: Mapping[int, int] = field(default_factory=dict)
    """Answers by version; 0 is the base model."""
    up: int = 0
    down: int = 0
    """Thumbs."""
    corrections: int = 0

    @property
    def day(self) -> int:
        """Answers in 24 hours."""
        return sum(self.hours)

    @property
    def hour(self) -> int:
        """Answers in the last hour."""
        return self.hours[-1]


class TrafficReader:
    """Reads the traffic of all languages, no more often than it can be done quickly."""

    def __init__(self, url: str, clock: Callable[[], float] = time.time) -> None:
        self._url, self._clock = url, clock
        self._found: dict[str, Traffic] | str = {}
        self._due = float("-inf")
        self._lock = threading.Lock()

    def read(self) -> dict[str, Traffic] | str:
        """Return traffic by language, or why it can't be read; nothing where no gateway has run yet."""
        with self._lock:
            now = time.monotonic()
            if now < self._due:
                return self._found
            self._found = self._read()
            took = time.monotonic() - now
            self._due = now + max(SHORTEST_PAUSE, PATIENCE * took)
            return self._found

    def _read(self) -> dict[str, Traffic] | str:
        try:
            engine = open_to_read(self._url)
        except MonitorError as error:
            return str(error)
        if engine is None:
            return {}
        try:
            return _traffic(engine, self._clock())
        except SQLAlchemyError as error:
            reason = without_secrets(str(getattr(error, "orig", None) or type(error).__name__))
            return f"The database of answers can't be read: {reason}."


def _traffic(engine: Engine, now: float) -> dict[str, Traffic]:
    since = now - HOURS * HOUR
    # By name in GROUP BY: PostgreSQL takes an expression with another parameter for another one.
    ago = (cast(now - AnswerRow.at, Integer) // int(HOUR)).label("ago")
    thumbs = [func.sum(case((AnswerRow.thumb == value, 1), else_=0)) for value in (1, 0)]
    query = (
        select(AnswerRow.language, AnswerRow.version, ago, func.count(), *thumbs, func.count(AnswerRow.correction))
        .where(AnswerRow.at > since, AnswerRow.at <= now)
        .group_by(AnswerRow.language, AnswerRow.version, "ago")
    )
    found: dict[str, tuple[list[int], dict[int, int], list[int]]] = {}
    with engine.connect() as connection:
        if not connection.dialect.has_table(connection, AnswerRow.__tablename__):
            return {}
    with Session(engine) as session:
        for language, version, hours_ago, n, up, down, corrections in session.execute(query):
            hours, versions, said = found.setdefault(language, ([0] * HOURS, {}, [0, 0, 0]))
            hours[HOURS - 1 - min(int(hours_ago), HOURS - 1)] += n
            versions[version] = versions.get(version, 0) + n
            for place, value in enumerate((up, down, corrections)):
                said[place] += int(value or 0)
    return {
        language: Traffic(tuple(hours), dict(sorted(versions.items())), *said)
        for language, (hours, versions, said) in found.items()
    }
