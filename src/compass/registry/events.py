"""What happens to a language's adapter, as records for hooks, logs and the status page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

from compass.config import HOOK_EVENTS
from compass.errors import RegistryError
from compass.registry.files import read_lines

EVENTS = "events.jsonl"
ACTION = "action"
"""What a person did, or was refused, on the dashboard, or did about a damaged history. Hooks are not called on it."""
KINDS = (*HOOK_EVENTS, ACTION)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


@dataclass(frozen=True)
class RegistryEvent:
    """One thing that happened. `details` leave the machine through hooks: put figures and ids there, no prompts."""

    kind: str
    """`drift`, `update`, `canary`, `promotion`, `refusal` or `action`."""
    language: str
    message: str
    """One sentence for people."""
    version: str = ""
    """Id of the version that it is about; empty where there is none."""
    details: Mapping[str, Any] = field(default_factory=dict)
    """JSON values."""
    id: str = field(default_factory=lambda: uuid4().hex)
    """Receivers tell by it that a second delivery is the same event."""
    at: str = field(default_factory=_now)
    """ISO 8601, UTC."""

    def __post_init__(self) -> None:
        """Raise ValueError for an unknown kind."""
        if self.kind not in KINDS:
            raise ValueError(f"kind must be one of {', '.join(KINDS)}; got {self.kind!r}")

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return asdict(self)

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> RegistryEvent:
        """Read back what `to_dict` returned. Raises ValueError for what it did not return."""
        for name, value in content.items():
            kind = Mapping if name == "details" else str
            if not isinstance(value, kind):
                raise ValueError(f"{name} of an event can't be {type(value).__name__}")
        try:
            return cls(**content)
        except TypeError as error:
            raise ValueError(f"no event has these fields: {', '.join(content)}") from error


def read_events(path: Path) -> tuple[RegistryEvent, ...]:
    """Return the events of a language's log, oldest first. Raises RegistryError for a line that is none."""
    found = []
    for number, line in enumerate(read_lines(path), start=1):
        try:
            found.append(RegistryEvent.from_dict(line))
        except ValueError as error:
            raise RegistryError(f"{path}, line {number}, is damaged: {error}.") from error
    return tuple(found)
