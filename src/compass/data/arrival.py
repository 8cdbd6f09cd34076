"""When a row came and whose conversation it is of, by the fields that logs and data sets use."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from datetime import UTC, date, datetime, time
from typing import Any

TIME_FIELDS = ("timestamp", "created_at", "created", "time", "ts")
SESSION_FIELDS = ("session_id", "conversation_id", "session", "thread_id", "user")
"""In the order in which they are asked; a user stands for a session where there is nothing closer."""
UNITS = (1.0, 1e3, 1e6, 1e9)
"""Parts of a second that numbers since 1970 count."""
EARLIEST, LATEST = datetime(1995, 1, 1, tzinfo=UTC).timestamp(), datetime(2100, 1, 1, tzinfo=UTC).timestamp()
"""What lies outside is no time of a prompt."""
LONGEST_ID = 200


def time_of(row: Mapping[str, Any]) -> float:
    """Return when a row came, in seconds since 1970, UTC; NaN if it does not say."""
    if row.keys().isdisjoint(TIME_FIELDS):
        return math.nan
    return next((when for name in TIME_FIELDS if not math.isnan(when := seconds(row.get(name)))), math.nan)


def session_of(row: Mapping[str, Any], prompt: str = "") -> str:
    """Return what the rows of a conversation share, and no others: a hash of its id; empty if the row has none.

    prompt: a field that holds it is no id, as `user` in some data sets.
    """
    if row.keys().isdisjoint(SESSION_FIELDS):
        return ""
    for name in SESSION_FIELDS:
        value = row.get(name)
        if isinstance(value, bool) or not isinstance(value, str | int) or value == prompt:
            continue
        text = str(value).strip()
        if text and len(text) <= LONGEST_ID:
            return hashlib.blake2b(f"{name}={text}".encode("utf-8", "replace"), digest_size=8).hexdigest()
    return ""


def seconds(value: Any) -> float:
    """Return a time as seconds since 1970: ISO 8601 (without a zone, UTC), or seconds, milli-, micro-, nanoseconds.

    NaN for anything else.
    """
    if isinstance(value, str):
        text = value.strip()
        try:
            value = float(text)
        except ValueError:
            try:
                value = datetime.fromisoformat(text)
            except ValueError:
                return math.nan
    if isinstance(value, date) and not isinstance(value, datetime):
        value = datetime.combine(value, time())
    if isinstance(value, datetime):
        value = (value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp()
    if isinstance(value, bool) or not isinstance(value, int | float):
        return math.nan
    try:
        return next((when for unit in UNITS if EARLIEST <= (when := value / unit) < LATEST), math.nan)
    except OverflowError:
        return math.nan
