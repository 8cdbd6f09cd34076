"""What the watch loop tells: hooks, registry and status page of each drift, and how its events are named."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from compass.drift import DriftEvent, Monitor, describe
from compass.registry import RegistryEvent, Version
from compass.steps.watch_state import Site


def tell_drift(site: Site, watching: Monitor, version: Version) -> None:
    """Tell hooks of each drift in the monitor's state that they were not told of, also after a kill."""
    events = watching.events()
    told = site.state.told_event
    if told > max((row["id"] for row in events), default=0):
        # Another database than the ids were of.
        told = 0
    elif not told:
        told = max((row["id"] for row in events if row["at"] <= site.state.told), default=0)
    new = [row for row in events if row["id"] > told]
    for row in new:
        if row["kind"] == "drift":
            drift = DriftEvent.from_dict(row)
            name = f"{drift.check.stream}-{drift.check.test}"
            site.tell(
                RegistryEvent(
                    "drift", site.language, describe(drift), version.id, drift.to_dict(examples=False),
                    id=f"watch-{site.language}-drift-{row['at']:.6f}-{name}-{row['id']}", at=iso_time(row["at"]),
                )
            )  # fmt: skip
    if new:
        site.remember(told_event=new[-1]["id"])


def update_event(
    site: Site, number: int, kind: str, message: str, version: str, details: Mapping[str, Any] | None = None
) -> RegistryEvent:
    """Return an event of an update; the same update has the same ids again after a kill."""
    identity = f"watch-{site.language}-{site.state.born}{number:04d}-{kind}"
    return RegistryEvent(kind, site.language, message, version, details or {}, id=identity)


def iso_time(seconds: float) -> str:
    """Return seconds of the epoch as ISO 8601, UTC."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
