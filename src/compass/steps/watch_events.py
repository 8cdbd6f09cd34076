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
    new = [row for row in watching.events() if row["at"] > site.state.told]
    for row in new:
        if row["kind"] == "drift":
            drift = DriftEvent.from_dict(row)
            name = f"{drift.check.stream}-{drift.check.test}"
            site.tell(
                RegistryEvent(
                    "drift", site.language, describe(drift), version.id, drift.to_dict(examples=False),
                    id=f"watch-{site.language}-drift-{row['at']:.6f}-{name}", at=iso_time(row["at"]),
                )
            )  # fmt: skip
    if new:
        site.remember(told=max(row["at"] for row in new))


def update_event(
    site: Site, number: int, kind: str, message: str, version: str, details: Mapping[str, Any] | None = None
) -> RegistryEvent:
    """Return an event of an update; the same update has the same ids again after a kill."""
    identity = f"watch-{site.language}-{site.state.born}{number:04d}-{kind}"
    return RegistryEvent(kind, site.language, message, version, details or {}, id=identity)


def iso_time(seconds: float) -> str:
    """Return seconds of the epoch as ISO 8601, UTC."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
