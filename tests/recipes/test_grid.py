"""How long the rest of a comparison takes, and what becomes of its processes."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from compass.config import (
    AdaptConfig,
    CompareConfig,
    DataConfig,
    EncoderConfig,
    GridConfig,
    RunConfig,
    SelectionConfig,
    TrainingConfig,
)
from compass.data.example import Example
from compass.recipes.grid import cells_of, draw_config, run_draws, seconds_needed
from compass.steps.comparison import Cell
from compass.steps.state import RunData
from processes import is_alive, wait_for


def cell(folder: Path, steps: int, seconds: float = 0.0, model: str = "org/model") -> Cell:
    """A cell that took so many seconds, or that waits."""
    config = replace(AdaptConfig(), training=TrainingConfig(max_steps=steps, model_name_or_path=model))
    folder = folder / f"{steps}-{seconds}"
    if seconds:
        (folder / "logs").mkdir(parents=True)
        stages = [{"stage": "training", "seconds": seconds, "skipped": False},
                  {"stage": "data", "seconds": 99, "skipped": True}]  # fmt: skip
        (folder / "logs" / "stages.jsonl").write_text("".join(json.dumps(stage) + "\n" for stage in stages))
        (folder / "cell.json").write_text("{}")
    return Cell("random", 10, "cy", 0, folder, config)


def test_the_rest_takes_time_by_its_steps_as_the_finished_cells_did(tmp_path: Path) -> None:
    """Budgets differ: by the mean of finished small cells, a night of large ones would look like an hour."""
    cells = [cell(tmp_path, 10, 20.0), cell(tmp_path, 30, 70.0), cell(tmp_path, 100), cell(tmp_path, 60)]
    assert seconds_needed(cells, 2) == pytest.approx(160 * 90 / 40 / 2)
    assert seconds_needed(cells[:2], 1) == 0


def test_before_the_first_cell_only_the_embedded_models_are_known(tmp_path: Path) -> None:
    """A made-up figure for a model that nobody timed is worse than none."""
    assert math.isnan(seconds_needed([cell(tmp_path, 10)], 1))
    embedded = [cell(tmp_path, steps, model="embedded:gemma3-270m") for steps in (10, 30)]
    assert 10 < seconds_needed(embedded, 1) < 1000
    assert math.isnan(seconds_needed([cell(tmp_path, 0)], 1))


def test_a_file_with_other_rows_makes_other_cells(tmp_path: Path) -> None:
    """Under the name of finished cells, results on the old rows would be shown as those on the new ones."""
    read = ("pool-1.jsonl", "picks-cy-1-10.txt", "transfer.jsonl", "adapter_model.safetensors", "model/config.json")
    files = {name: tmp_path / name for name in (*read, "encoder/a", "picks-cy-2-10.txt")}
    for path in files.values():
        path.parent.mkdir(exist_ok=True)
        path.write_text("a")
    adapt = AdaptConfig(
        data=DataConfig(pool=(str(tmp_path / "pool-{seed}.jsonl"),)),
        training=TrainingConfig(adapter=str(tmp_path), model_name_or_path=str(tmp_path / "model")),
        encoder=EncoderConfig(encoder=str(tmp_path / "encoder")),
        run=RunConfig(output_dir=str(tmp_path)),
    )
    strategies = (
        "random",
        f"given:picks={tmp_path / 'picks-{language}-{seed}-{budget}.txt'}",
        f"langrank:transfer_results={files['transfer.jsonl']}",
    )
    config = CompareConfig(adapt, GridConfig(strategies=strategies, budgets=(10,)))
    rows = (Example("1", "helo", "x", "cy"),) * 10
    data = RunData(usage=rows, train=rows, pool=rows, tests={})

    def names() -> dict[str, str]:
        cells = cells_of(config, draw_config(config, "cy", 1), data, 1.0)
        assert all(cell.folder.parent == tmp_path / "cells" for cell in cells)
        return {cell.strategy.partition(":")[0]: cell.folder.name for cell in cells}

    changed = {}
    for name, path in files.items():
        before = names()
        path.write_text("b")
        changed[name] = {strategy for strategy, cell in names().items() if cell != before[strategy]}
    assert changed == {
        "pool-1.jsonl": {"random", "given", "langrank"},
        "picks-cy-1-10.txt": {"given"},
        "transfer.jsonl": {"langrank"},
        "adapter_model.safetensors": {"random", "given", "langrank"},
        "model/config.json": {"random", "given", "langrank"},
        "encoder/a": {"random", "given", "langrank"},
        "picks-cy-2-10.txt": set(),
    }


def test_a_cell_is_known_by_its_strategys_own_parameters_and_caps() -> None:
    """Another file for `langrank`, or caps that a strategy does not have, would train finished cells again; a parameter
    that does not count would show the results of another one."""
    rows = (Example("1", "helo", "x", "cy"),) * 10
    data = RunData(usage=rows, train=rows, pool=rows, tests={})
    everyone = ("compass", "random", "given", "langrank", "less", "nearest")

    def names(*strategies: str, **options: object) -> set[str]:
        adapt = replace(AdaptConfig(), selection=SelectionConfig(**options))
        config = CompareConfig(adapt, GridConfig(strategies=strategies, budgets=(10,)))
        cells = cells_of(config, draw_config(config, "cy", 1), data, 1.0)
        return {f"{cell.strategy.partition(':')[0]} {cell.folder.name[-10:]}" for cell in cells}

    plain = names(*everyone)
    assert names(*everyone, strategy="rds") == names("nearest:neighbours=3", *everyone[:-1]) == plain
    others = ("compass:class_quotas=false", "given:picks=a.txt", "langrank:transfer_results=a.jsonl", "less:max_pool=7",
              "nearest:neighbours=9")  # fmt: skip
    assert not names(*others) & plain
    tight = names(*everyone, language_cap=0.5)
    assert {name.split()[0] for name in tight - plain} == {"compass", "langrank"}


def test_a_comparison_that_is_terminated_takes_its_cells_with_it(tmp_path: Path) -> None:
    """Job schedulers send SIGTERM: cells that went on would hold their locks against the resubmitted job."""
    sleeper, pids = tmp_path / "sleeper", tmp_path / "pids"
    sleeper.write_text(f"#!/bin/sh\necho $$ >> {pids}\nexec sleep 600\n")
    sleeper.chmod(0o700)
    program = (
        "import sys; from pathlib import Path; from compass.recipes import workers\n"
        f"sys.executable = {str(sleeper)!r}\n"
        f"job = lambda processes, environment: processes.run([], Path({str(tmp_path / 'log')!r}), environment)\n"
        "workers.in_parallel('Cells', {'a': job, 'b': job, 'c': job}, 2)\n"
    )
    # Named devices need no torch to be counted.
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    process = subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.DEVNULL, env=environment)
    wait_for(lambda: pids.is_file() and len(pids.read_text().split()) == 2)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 128 + signal.SIGTERM
    started = [int(pid) for pid in pids.read_text().split()]
    assert len(started) == 2, "the third never starts"
    wait_for(lambda: not any(is_alive(pid) for pid in started))


def test_draws_that_fail_are_left_to_the_error_of_the_caller(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two draws without their files: both are tried, each leaves its log, and nothing is raised here."""
    none = str(tmp_path / "none.jsonl")
    data = DataConfig(language="cy", usage=none, train=(none,), pool=(none,))
    draws = [AdaptConfig(data=data, run=RunConfig(output_dir=str(tmp_path / name))) for name in ("cy-0", "cy-1")]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    run_draws(draws, 2)
    assert {"cy-0 failed; the others go on", "cy-1 failed; the others go on"} <= set(caplog.messages)
    for name in ("cy-0", "cy-1"):
        assert "none.jsonl" in (tmp_path / name / "logs" / "draw.log").read_text()
