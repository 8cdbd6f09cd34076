"""Times are UTC, whatever the machine's time zone is."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from compass.endpoint import retry_after
from compass.registry import RegistryEvent
from compass.steps.watch_events import iso_time


@pytest.fixture(params=["UTC", "Pacific/Kiritimati", "America/St_Johns", "Asia/Kathmandu"])
def _zone(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", request.param)
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("_zone")
def test_no_time_depends_on_the_zone() -> None:
    """Events of two machines would be out of order, and a page would say a time that never was."""
    assert iso_time(0.0) == "1970-01-01T00:00:00+00:00"
    at = datetime.fromisoformat(RegistryEvent("drift", "cy", "x").at)
    assert at.utcoffset() == timedelta(0)
    assert abs(at.timestamp() - time.time()) < 60
    soon = datetime.now(UTC) + timedelta(seconds=100)
    header = format_datetime(soon, usegmt=True)
    assert 90 < (retry_after(header, datetime.now(UTC)) or 0.0) <= 100
