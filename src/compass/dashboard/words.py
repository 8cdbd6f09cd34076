"""Times, shares and counts as the pages say them."""

from __future__ import annotations

from datetime import UTC, datetime

from compass.report.wording import number, plural

__all__ = ["ago", "at_iso", "at_time", "number", "percent", "plural"]


def percent(share: float) -> str:
    """Return a share in [0, 1] as `12 %`."""
    return f"{number(100 * share)}\u00a0%"


def at_time(seconds: float) -> str:
    """Return seconds since 1970 as `2026-04-22 09:30 UTC`; a dash where they are not known."""
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC") if seconds else "–"
    except (OverflowError, OSError, ValueError):
        return "–"


def at_iso(text: str) -> str:
    """Return an ISO time as `2026-04-22 09:30 UTC`."""
    return f"{text[:16].replace('T', ' ')} UTC"


def ago(seconds: float) -> str:
    """Return how long ago something was."""
    for unit, size in (("day", 86_400), ("hour", 3600), ("minute", 60)):
        if seconds >= size:
            return f"{plural(int(seconds // size), unit)} ago"
    return "just now"
