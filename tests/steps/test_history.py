"""A run folder from somebody else as an update reads it: damage is named, whatever stands where a value should be."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from compass.errors import RunError
from compass.steps.history import read_version
from compass.steps.reference import clusters_of

RUN = Path(__file__).parent.parent / "fixtures" / "v0_1" / "run"


@pytest.mark.parametrize("update", [None, [], "x", {"period": None}, {"period": "x"}, {"period": -3}, {"period": True}])
def test_a_period_that_is_none_is_named(tmp_path: Path, update: object) -> None:
    run = Path(shutil.copytree(RUN, tmp_path / "run"))
    lock = json.loads((run / "lock.json").read_text("utf-8"))
    (run / "lock.json").write_text(json.dumps({**lock, "update": update}), encoding="utf-8")
    with pytest.raises(RunError, match=r"lock\.json is damaged: update\.period is no whole number"):
        read_version(run)


def test_a_history_without_periods_is_named(tmp_path: Path) -> None:
    """The lock says that it is an update, and its rows are those of a first run."""
    run = Path(shutil.copytree(RUN, tmp_path / "run"))
    lock = json.loads((run / "lock.json").read_text("utf-8"))
    (run / "lock.json").write_text(json.dumps({**lock, "update": {"period": 1}}), encoding="utf-8")
    with pytest.raises(RunError, match=r"current\.jsonl is damaged: it does not say which period row .* belongs to"):
        read_version(run)


@pytest.mark.parametrize("rows", ["[1]", '[{"a": 1}]', '[{"name": "x", "cluster": "y", "examples": []}]'])
def test_damaged_names_of_clusters_are_named(tmp_path: Path, rows: str) -> None:
    (tmp_path / "space").mkdir()
    (tmp_path / "space" / "clusters.json").write_text(rows, encoding="utf-8")
    with pytest.raises(RunError, match=r"clusters\.json is damaged"):
        clusters_of(tmp_path)
