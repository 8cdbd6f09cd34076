"""What the gateway says and serves where the registry can't be read."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from unittest.mock import Mock

import pytest

from compass.registry import Registry
from compass.serve.desired import DesiredState


def test_a_registry_that_cannot_be_read_is_told_once(
    registry: Registry, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What is served would be taken away; or the warning say twice that it can't be read."""
    state = DesiredState(registry)
    before = state.read({})
    monkeypatch.setattr(Path, "iterdir", Mock(side_effect=PermissionError(errno.EACCES, os.strerror(errno.EACCES))))
    for _ in range(2):
        assert state.read({}) == before
    (said,) = (record.getMessage() for record in caplog.records)
    assert said == (
        f"{registry.root} can't be read (Permission denied). Run this as its owner, or see to its permissions. What is "
        "served stays."
    )
