"""What the gateway says and serves where the registry can't be read."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path
from unittest.mock import Mock

import pytest

from compass.registry import Registry
from compass.serve.desired import DesiredState
from compass.serve.fleet import Fleet
from compass.serve.measures import Measures


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


def test_aliases_that_are_all_gone_are_no_order_to_unload(registry: Registry, caplog: pytest.LogCaptureFixture) -> None:
    """What is served would be unloaded, since a language without aliases has nothing in production."""
    state = DesiredState(registry)
    before = state.read({})
    language = next(iter(before))
    folder = registry.folder(language)
    for name in ("state.json", "history.jsonl"):
        (folder / name).rename(folder / f"{name}.away")
    for _ in range(2):
        assert state.read({}) == before
    (said,) = (record.getMessage() for record in caplog.records)
    assert said.startswith(f"What is served of {language} stays as it is: {folder}/state.json and history.jsonl are")
    assert f"`compass registry promote {language} NUMBER --registry-dir {registry.root}`" in said
    assert set(state.problems) == {language}
    fleet = Fleet([], state.read, problems=state.problems)
    assert f'compass_registry_problem{{language="{language}"}} 1.0' in Measures(fleet).text().decode()
    for name in ("state.json", "history.jsonl"):
        (folder / f"{name}.away").rename(folder / name)
    assert state.read({}) == before
    assert state.problems == {}


def test_the_problem_of_a_language_that_was_taken_away_is_none(registry: Registry) -> None:
    """Breaks if an alert fires until the gateway's next start for a damaged language that nobody ever served."""
    damaged = registry.root / "ne"
    damaged.mkdir()
    (damaged / "state.json").write_text("?", "utf-8")
    state = DesiredState(registry)
    state.read({})
    assert set(state.problems) == {"ne"}
    shutil.rmtree(damaged)
    state.read({})
    assert state.problems == {}
