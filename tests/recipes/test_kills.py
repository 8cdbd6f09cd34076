"""A run of `adapt` that is killed in each of its stages, again and again, ends with the files of an undisturbed one."""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from compass.runs.files import file_hash
from forked import run_script

pytestmark = pytest.mark.integration

DRIVER = Path(__file__).with_name("driver.py")
PLACES = (
    "data/pool.jsonl", "logs/stages/data.json", "data/lengths.json",
    "embedded:20", "embedded:50",
    "space/clusters.json", "logs/stages/space.json",
    "selection/summary.json", "logs/stages/selection.json",
    "checkpoint-1/complete", "checkpoint-3/complete", "run/adapter", "logs/stages/training.json",
    "eval/base/english.predictions.jsonl", "logs/stages/evaluation-base.json",
    "eval/adapter/cy.json", "logs/stages/evaluation-adapter.json",
    "run/lock.json", "run/report.html",
)  # fmt: skip
"""Names of files, in the order in which a run gives them: in the middle of each stage, and at its end."""
COSTS = ("logs/", "training/", "report.html")
"""What holds seconds and memory, which no two runs have alike."""


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("kills")
    environment = {**os.environ, "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"}
    done = run_script(DRIVER, [str(folder), *PLACES], environment, folder)
    assert done.returncode == 0, done.stderr
    return folder, json.loads(done.stdout.splitlines()[-1])


def test_each_kill_came_where_it_was_meant_to(runs: tuple[Path, dict[str, Any]]) -> None:
    """A run that is never killed would pass for one that survives it."""
    _, told = runs
    killed = {name: code for name, code in told["codes"].items() if name not in ("whole", "last")}
    assert (told["codes"]["whole"], told["codes"].get("last")) == (0, 0), told["errors"]
    assert set(killed.values()) == {-9}, (killed, told["errors"])
    assert killed.keys() >= set(PLACES)


def test_a_run_that_was_killed_in_every_stage_has_the_same_files_to_the_bit(runs: tuple[Path, dict[str, Any]]) -> None:
    """Rows would be lost, doubled or trained on differently, or half a file would pass for a whole one."""
    folder, _ = runs

    def files(root: Path) -> dict[str, str]:
        found = {path.relative_to(root).as_posix(): path for path in root.rglob("*") if path.is_file()}
        return {name: file_hash(path) for name, path in found.items() if not name.startswith(COSTS)}

    whole, killed = files(folder / "whole"), files(folder / "run")
    different = {name for name in whole.keys() | killed.keys() if whole.get(name) != killed.get(name)}
    # These two name the cache, or the hash of what does.
    assert different <= {"compass.yaml", "lock.json"}
    assert (folder / "run" / "report.html").is_file()
    assert not list((folder / "run").rglob("*.partial"))


def test_no_text_is_embedded_twice_beyond_the_batch_that_a_kill_cut(runs: tuple[Path, dict[str, Any]]) -> None:
    folder, _ = runs
    times = Counter((folder / "embedded.log").read_text("utf-8").splitlines())
    assert times.keys() == set((folder / "whole.log").read_text("utf-8").splitlines())
    assert max(times.values()) == 1, "each chunk was on disk before the next one was embedded"
