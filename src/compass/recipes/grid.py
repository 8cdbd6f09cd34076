"""The cells of a comparison: one run of `adapt` each, in a process of its own; finished cells are never run again.

The draws that they start from are prepared in the same way, several at a time.
"""

from __future__ import annotations

import dataclasses
import logging
import math
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from compass.config import AdaptConfig, CompareConfig, dump_config, read_stored, recorded
from compass.errors import CompassError
from compass.recipes.workers import Processes, in_parallel, workers_at_once
from compass.runs import layout
from compass.runs.files import fingerprint, read_jsonl, write_json, write_text
from compass.runs.folder import Run
from compass.steps.comparison import Cell
from compass.steps.features import strategy_files
from compass.steps.plan import training_seconds
from compass.steps.read import filled_in, source_identities
from compass.steps.resources import Resources, folder_contents, spelt_once, start_adapter
from compass.steps.state import RunData
from compass.steps.train import training_identity

logger = logging.getLogger(__name__)

SHARED = (layout.DATA, layout.SPACE, layout.BASE_EVALUATION)
"""Folders of a draw that its cells take over."""
SHARED_STAGES = ("data", "space", "evaluation-base")
LONGEST_NAME = 40
"""Characters of a strategy in the name of its cells' folders; the hash behind it tells them apart."""


def draw_config(config: CompareConfig, language: str, seed: int) -> AdaptConfig:
    """Return the options of what all cells of a language and seed share."""
    draw = config.adapt
    # No draw spends a budget; the grid's own keeps the default from being warned of in its log.
    selection = dataclasses.replace(draw.selection, budget=min(config.grid.budgets))
    draw = dataclasses.replace(draw, data=dataclasses.replace(draw.data, language=language), selection=selection)
    folder = _draw_folder(draw, language, seed)
    if not folder.is_dir():
        # One that was made under another spelling of its models stays.
        draw = spelt_once(draw)
        folder = _draw_folder(draw, language, seed)
    return dataclasses.replace(draw, run=dataclasses.replace(draw.run, seed=seed, output_dir=str(folder)))


def _draw_folder(draw: AdaptConfig, language: str, seed: int) -> Path:
    """Return the folder of a draw; one that was made with options that are no more keeps its name."""
    identity, home = _draw_identity(draw, seed), Path(draw.run.output_dir) / "draws"
    folder = home / f"{language}-{seed}-{identity[:10]}"
    if folder.is_dir():
        return folder
    for earlier in sorted(home.glob(f"{language}-{seed}-*")):
        try:
            if _draw_identity(read_stored(earlier / layout.CONFIG), seed) == identity:
                return earlier
        except CompassError as error:
            logger.debug("%s is not read: %s", earlier, error)
    return folder


def _draw_identity(draw: AdaptConfig, seed: int) -> str:
    return fingerprint(
        {"data": recorded(draw.data), "encoder": recorded(draw.encoder), "space": asdict(draw.space),
         "evaluation": recorded(draw.evaluation), "model": _model(draw), "seed": seed}
    )  # fmt: skip


def cells_of(config: CompareConfig, draw: AdaptConfig, data: RunData, mean_cost: float) -> list[Cell]:
    """Return the cells of one draw. A cell is known by its options and by the files that they name.

    mean_cost: what a pool row costs of the budget on average; it says how many rows a budget is, and so how many
    optimiser steps every strategy gets.
    """
    cells, home = [], cells_home(config)
    sources = source_identities(filled_in(draw.data, draw.run.seed))
    files = sources | start_adapter(draw) | folder_contents(draw)
    for budget in config.grid.budgets:
        steps = _steps(config, data, budget / mean_cost) if config.grid.equal_steps else draw.training.max_steps
        for strategy in config.grid.strategies:
            cell = dataclasses.replace(
                draw,
                selection=dataclasses.replace(draw.selection, strategy=strategy, budget=budget),
                training=dataclasses.replace(draw.training, max_steps=steps, num_train_epochs=draw.training.epochs),
            )
            payload = cell_payload(cell)
            identity = cell_identity(cell, files)
            language, seed = cell.data.language, cell.run.seed
            short = re.sub(r"[^\w.-]+", "-", strategy)[:LONGEST_NAME]
            folder = home / f"{language}-{seed}-{short}-{budget}-{identity[:10]}"
            if not folder.is_dir():
                of_0_1 = home.glob(f"{language}-{seed}-{strategy.partition(':')[0]}-{budget}-*")
                folder = _known(sorted(of_0_1), payload, sources) or folder
            cell = dataclasses.replace(cell, run=dataclasses.replace(cell.run, output_dir=str(folder)))
            cells.append(Cell(strategy, budget, language, seed, folder, cell))
    return cells


def cells_home(config: CompareConfig) -> Path:
    """Return the folder of all cells."""
    return Path(config.adapt.run.output_dir) / "cells"


def cell_identity(cell: AdaptConfig, files: Mapping[str, str]) -> str:
    """Return the hash that a cell is known by; files: hashes of what its draw reads."""
    return fingerprint(cell_payload(cell) | {"files": {**files, **strategy_files(Resources(cell))}})


def cell_payload(cell: AdaptConfig) -> dict[str, Any]:
    """Return what tells a cell from others, JSON-ready, but for the contents of files.

    Of the strategy that is its own parameters, and the caps if it has any.
    """
    strategy, options = Resources(cell).strategy, cell.selection
    return {
        **asdict(cell),
        "evaluation": recorded(cell.evaluation),
        "run": {"seed": cell.run.seed},
        "selection": {
            "name": strategy.name,
            "strategy": asdict(strategy),
            "budget": options.budget,
            "budget_unit": options.budget_unit,
        },
        "training": training_identity(cell.training),
    }


def _known(folders: Sequence[Path], payload: Mapping[str, Any], sources: Mapping[str, str]) -> Path | None:
    """Return the finished cell of the same options that was made from the same sources; None if there is none.

    Cells of version 0.1 have other hashes in their names; their options tell that they are the same.
    """
    for folder in folders:
        if not (folder / layout.CELL).is_file():
            continue
        try:
            same = fingerprint(cell_payload(read_stored(folder / layout.CONFIG))) == fingerprint(payload)
        except CompassError as error:
            logger.debug("%s is not read: %s", folder, error)
            continue
        changed = Run(folder).changed("data", {"sources": sources})
        if same and changed is not None and "sources" not in changed:
            return folder
    return None


def run_draws(draws: Sequence[AdaptConfig], workers: int) -> None:
    """Prepare draws that were never finished, `workers` at a time (0: see `default_workers`).

    One that fails is left to the caller's own `prepare`, whose error names the file and the line.
    """
    last = layout.stage_record(SHARED_STAGES[-1])
    folders = {Path(draw.run.output_dir): draw for draw in draws}
    waiting = {folder: draw for folder, draw in folders.items() if not (folder / last).is_file()}
    # A single one shows its own progress in this process.
    if min(len(waiting), workers_at_once(workers)) > 1:
        jobs = {folder.name: partial(_run_draw, draw) for folder, draw in waiting.items()}
        in_parallel("Draws", jobs, workers)


def run_cells(cells: Sequence[Cell], draws: Mapping[tuple[str, int], Path], workers: int) -> dict[str, str]:
    """Run the cells that are not finished, `workers` at a time (0: see `default_workers`).

    A cell that fails does not stop the others. Returns the name of each failed cell -> the last lines of its log.
    """
    waiting = [cell for cell in cells if not cell.finished]
    if not waiting:
        return {}
    jobs = {cell.folder.name: partial(_run_cell, cell, draws[cell.language, cell.seed]) for cell in waiting}
    return in_parallel("Cells", jobs, workers)


def _run_draw(draw: AdaptConfig, processes: Processes, environment: Mapping[str, str]) -> str:
    folder = Path(draw.run.output_dir)
    (folder / layout.LOGS).mkdir(mode=0o700, parents=True, exist_ok=True)
    config = folder / layout.CONFIG
    write_text(config, dump_config(draw))
    return processes.run(["prepare", "--config", str(config)], folder / layout.DRAW_LOG, environment)


def _run_cell(cell: Cell, draw: Path, processes: Processes, environment: Mapping[str, str]) -> str:
    _take_over(draw, cell.folder)
    config = cell.folder / layout.CONFIG
    write_text(config, dump_config(cell.config))
    error = processes.run(["adapt", "--config", str(config)], cell.folder / layout.CELL_LOG, environment)
    if not error:
        write_json(
            cell.folder / layout.CELL,
            {"strategy": cell.strategy, "budget": cell.budget, "language": cell.language, "seed": cell.seed},
        )
    return error


def _take_over(draw: Path, folder: Path) -> None:
    """Let a cell start from its draw: its data, space and base evaluation, linked where the disk can."""
    if (folder / layout.STAGE_RECORDS).is_dir():
        return
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    # The records go last: a stage counts as finished only when its files are there.
    stages = [draw / layout.stage_record(stage) for stage in SHARED_STAGES]
    files = [file for name in SHARED for file in sorted((draw / name).rglob("*")) if file.is_file()]
    for file in [*files, *stages]:
        target = folder / file.relative_to(draw)
        target.parent.mkdir(parents=True, exist_ok=True)
        # A strategy that wants another space writes its own over it, so the space is copied and never shared.
        if file.is_relative_to(draw / layout.DATA):
            try:
                os.link(file, target)
                continue
            except FileExistsError:
                continue
            except OSError:
                logger.debug("%s can't be linked, it is copied", file)
        shutil.copy2(file, target)


def _steps(config: CompareConfig, data: RunData, rows: float) -> int:
    from compass.training.balance import class_repeats

    training = config.adapt.training
    return training.optimiser_steps(rows + sum(class_repeats(data.train, training.class_balance)))


def _model(config: AdaptConfig) -> list[object]:
    training = config.training
    return [training.model_name_or_path, training.model_revision, training.dtype, training.load_in_4bit]


def seconds_needed(cells: Sequence[Cell], workers: int) -> float:
    """Estimate the seconds that the cells need which are not finished, nan if there is no ground for it.

    A cell takes time by its optimiser steps, as the finished ones did; before the first, as the embedded models do.
    """
    waiting = sum(cell.config.training.max_steps for cell in cells if not cell.finished)
    done = [(seconds, cell.config.training.max_steps) for cell in cells if cell.finished if (seconds := _seconds(cell))]
    training = cells[0].config.training
    if min(cell.config.training.max_steps for cell in cells) <= 0:
        return math.nan
    if done:
        each = sum(seconds for seconds, _ in done) / sum(steps for _, steps in done)
    elif training.model_name_or_path.startswith("embedded:"):
        each = training.averaged_trainings * training_seconds(
            training.rows_per_step, max(1, (os.cpu_count() or 1) // workers)
        )
    else:
        return math.nan
    return waiting * each / workers


def _seconds(cell: Cell) -> float:
    """Return the seconds that a finished cell's own stages took."""
    path = cell.folder / layout.STAGE_LOG
    entries = read_jsonl(path) if path.is_file() else []
    return sum(float(entry["seconds"]) for entry in entries if not entry["skipped"])
