"""The cells of a comparison: one run of `adapt` each, in a process of its own; finished cells are never run again.

The draws that they start from are prepared in the same way, several at a time.
"""

from __future__ import annotations

import dataclasses
import errno
import json
import logging
import math
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from queue import SimpleQueue

from compass.config import AdaptConfig, CompareConfig, SelectionConfig, dump_config
from compass.progress import progress
from compass.runs.folder import file_hash, fingerprint, write_json, write_text
from compass.signals import ended, handled
from compass.steps.features import given_file
from compass.steps.plan import training_seconds
from compass.steps.read import Gathered, filled_in, source_identities
from compass.steps.resources import folder_contents, start_adapter
from compass.training.balance import repeats_by_answer
from compass.training.soup import identity as training_identity

logger = logging.getLogger(__name__)

CORES_OF_A_WORKER = 4
SHARED = ("data", "space", "eval/base")
"""Folders of a draw that its cells take over."""
SHARED_STAGES = ("data", "space", "evaluation-base")
OWN_OPTIONS = {
    "given_": "given", "transfer_results": "langrank", "less_": "less", "answer_": "compass", "draw_window": "compass",
    "neighbours": "nearest",
}  # fmt: skip
"""How options begin that one strategy alone reads -> that strategy: they do not tell the cells of others apart."""
LOG_LINES = 15
"""Lines of a failed cell's log that are shown."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One strategy with one budget on one draw."""

    strategy: str
    budget: int
    language: str
    seed: int
    folder: Path
    config: AdaptConfig

    @property
    def finished(self) -> bool:
        """Whether the cell was measured."""
        return (self.folder / "cell.json").is_file()


def draw_config(config: CompareConfig, language: str, seed: int) -> AdaptConfig:
    """Return the options of what all cells of a language and seed share."""
    draw = config.adapt
    # No draw spends a budget; the grid's own keeps the default from being warned of in its log.
    selection = dataclasses.replace(draw.selection, budget=min(config.grid.budgets))
    draw = dataclasses.replace(draw, data=dataclasses.replace(draw.data, language=language), selection=selection)
    identity = fingerprint(
        {"data": asdict(draw.data), "encoder": asdict(draw.encoder), "space": asdict(draw.space),
         "evaluation": asdict(draw.evaluation), "model": _model(draw), "seed": seed}
    )  # fmt: skip
    folder = Path(config.adapt.run.output_dir) / "draws" / f"{language}-{seed}-{identity[:10]}"
    return dataclasses.replace(draw, run=dataclasses.replace(draw.run, seed=seed, output_dir=str(folder)))


def cells_of(config: CompareConfig, draw: AdaptConfig, data: Gathered, mean_cost: float) -> list[Cell]:
    """Return the cells of one draw. The folder's name holds a hash of all options and of the files that they name.

    mean_cost: what a pool row costs of the budget on average; it says how many rows a budget is, and so how many
    optimiser steps every strategy gets.
    """
    cells = []
    files = source_identities(filled_in(draw.data, draw.run.seed)) | start_adapter(draw) | folder_contents(draw)
    for budget in config.grid.budgets:
        steps = _steps(config, data, budget / mean_cost) if config.grid.equal_steps else draw.training.max_steps
        for strategy in config.grid.strategies:
            cell = dataclasses.replace(
                draw,
                selection=dataclasses.replace(draw.selection, strategy=strategy, budget=budget),
                training=dataclasses.replace(draw.training, max_steps=steps),
            )
            read = dataclasses.replace(cell, selection=_read_by(cell.selection))
            told = {"run": {"seed": cell.run.seed}, "files": files | _own_file(cell)}
            identity = fingerprint(asdict(read) | {"training": training_identity(read.training)} | told)
            language, seed = cell.data.language, cell.run.seed
            name = f"{language}-{seed}-{strategy}-{budget}-{identity[:10]}"
            folder = Path(config.adapt.run.output_dir) / "cells" / name
            cell = dataclasses.replace(cell, run=dataclasses.replace(cell.run, output_dir=str(folder)))
            cells.append(Cell(strategy, budget, language, seed, folder, cell))
    return cells


def run_draws(draws: Sequence[AdaptConfig], workers: int) -> None:
    """Prepare draws that were never finished, `workers` at a time (0: see `default_workers`).

    One that fails is left to the caller's own `prepare`, whose error names the file and the line.
    """
    last = Path("logs", "stages", f"{SHARED_STAGES[-1]}.json")
    folders = {Path(draw.run.output_dir): draw for draw in draws}
    waiting = {folder: draw for folder, draw in folders.items() if not (folder / last).is_file()}
    # A single one shows its own progress in this process.
    if min(len(waiting), workers_at_once(workers)) > 1:
        jobs = {folder.name: partial(_run_draw, draw) for folder, draw in waiting.items()}
        _in_parallel("Draws", jobs, workers_at_once(workers), _devices())


def run_cells(cells: Sequence[Cell], draws: Mapping[tuple[str, int], Path], workers: int) -> dict[str, str]:
    """Run the cells that are not finished, `workers` at a time (0: see `default_workers`).

    A cell that fails does not stop the others. Returns the name of each failed cell -> the last lines of its log.
    """
    waiting = [cell for cell in cells if not cell.finished]
    if not waiting:
        return {}
    jobs = {cell.folder.name: partial(_run_cell, cell, draws[cell.language, cell.seed]) for cell in waiting}
    return _in_parallel("Cells", jobs, workers_at_once(workers), _devices())


class _Processes:
    """Commands of ours in processes of their own, which end when the comparison does."""

    def __init__(self) -> None:
        self._running: set[subprocess.Popen[bytes]] = set()
        self.stopped = threading.Event()

    def run(self, arguments: Sequence[str], log: Path, environment: Mapping[str, str]) -> str:
        """Run `compass` with its output in a file; return the end of that if it failed."""
        command = [sys.executable, "-m", "compass.cli", *arguments]
        with log.open("ab") as file:
            process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, env=environment)
            self._running.add(process)
            try:
                if self.stopped.is_set():
                    process.terminate()
                code = process.wait()
            finally:
                self._running.discard(process)
        if code:
            return "\n".join(log.read_text("utf-8", "replace").splitlines()[-LOG_LINES:]) or f"exit code {code}"
        return ""

    def stop(self) -> None:
        """End them all, and those that are about to start."""
        self.stopped.set()
        for process in list(self._running):
            process.terminate()


Job = Callable[[_Processes, Mapping[str, str]], str]
"""Does its work through the processes, in an environment that names its device; returns what went wrong, or nothing."""


def _in_parallel(title: str, jobs: Mapping[str, Job], count: int, devices: Sequence[str]) -> dict[str, str]:
    """Run all jobs, `count` at a time, and return name -> error of those that failed."""
    free: SimpleQueue[int] = SimpleQueue()
    for worker in range(count):
        free.put(worker)
    processes = _Processes()

    def work(job: Job) -> str:
        if processes.stopped.is_set():
            return ""
        worker = free.get()
        try:
            return job(processes, _environment(worker, count, devices))
        except OSError as error:
            if error.errno == errno.ENOSPC:
                raise
            return str(error)
        finally:
            free.put(worker)

    failures: dict[str, str] = {}
    # Killed at once, this process would leave those that it started at work.
    terminable = handled(signal.SIGTERM, ended)
    with terminable, progress(title, len(jobs), title.lower()) as advance, ThreadPoolExecutor(count) as pool:
        names: dict[Future[str], str] = {pool.submit(work, job): name for name, job in jobs.items()}
        left = set(names)
        try:
            while left:
                done, left = wait(left, return_when=FIRST_COMPLETED)
                for future in done:
                    advance()
                    if error := future.result():
                        failures[names[future]] = error
                        logger.warning("%s failed; the others go on", names[future])
        except BaseException:
            processes.stop()
            raise
    return failures


def workers_at_once(workers: int) -> int:
    """Return how many cells run at a time where `workers` are asked for (0: as many as the machine is for)."""
    return workers or default_workers(len(_devices()))


def default_workers(n_devices: int) -> int:
    """Return how many cells run at a time: one for each GPU, or one for each four cores."""
    return n_devices or max(1, (os.cpu_count() or 1) // CORES_OF_A_WORKER)


def _run_draw(draw: AdaptConfig, processes: _Processes, environment: Mapping[str, str]) -> str:
    folder = Path(draw.run.output_dir)
    (folder / "logs").mkdir(mode=0o700, parents=True, exist_ok=True)
    write_text(folder / "compass.yaml", dump_config(draw))
    return processes.run(
        ["prepare", "--config", str(folder / "compass.yaml")], folder / "logs" / "draw.log", environment
    )


def _run_cell(cell: Cell, draw: Path, processes: _Processes, environment: Mapping[str, str]) -> str:
    _take_over(draw, cell.folder)
    config = cell.folder / "compass.yaml"
    write_text(config, dump_config(cell.config))
    error = processes.run(["adapt", "--config", str(config)], cell.folder / "logs" / "cell.log", environment)
    if not error:
        write_json(
            cell.folder / "cell.json",
            {"strategy": cell.strategy, "budget": cell.budget, "language": cell.language, "seed": cell.seed},
        )
    return error


def _take_over(draw: Path, folder: Path) -> None:
    """Let a cell start from its draw: its data, space and base evaluation, linked where the disk can."""
    if (folder / "logs" / "stages").is_dir():
        return
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    # The records go last: a stage counts as finished only when its files are there.
    stages = [draw / "logs" / "stages" / f"{stage}.json" for stage in SHARED_STAGES]
    files = [file for name in SHARED for file in sorted((draw / name).rglob("*")) if file.is_file()]
    for file in [*files, *stages]:
        target = folder / file.relative_to(draw)
        target.parent.mkdir(parents=True, exist_ok=True)
        # A strategy that wants another space writes its own over it, so the space is copied and never shared.
        if file.is_relative_to(draw / "data"):
            try:
                os.link(file, target)
                continue
            except FileExistsError:
                continue
            except OSError:
                logger.debug("%s can't be linked, it is copied", file)
        shutil.copy2(file, target)


def _steps(config: CompareConfig, data: Gathered, rows: float) -> int:
    training = config.adapt.training
    if training.max_steps > 0:
        return training.max_steps
    # `current_weight` shifts the steps to the data at hand and adds none: mixtures are compared at equal steps.
    total = rows + sum(repeats_by_answer(data.current, training.answer_balance))
    batch = training.per_device_train_batch_size * training.gradient_accumulation_steps
    return max(1, math.ceil(total * training.num_train_epochs / batch))


def _read_by(selection: SelectionConfig) -> SelectionConfig:
    """Return the options with their defaults for those that only another strategy reads."""
    plain = SelectionConfig()
    foreign = {
        field.name: getattr(plain, field.name)
        for field in dataclasses.fields(selection)
        for start, owner in OWN_OPTIONS.items()
        if field.name.startswith(start) and selection.strategy != owner
    }
    return dataclasses.replace(selection, **foreign)


def _own_file(config: AdaptConfig) -> dict[str, str]:
    """Return the file that the cell's strategy alone reads, with its hash; nothing for most strategies."""
    read = {
        "given": given_file(config, config.data.language),
        "langrank": Path(config.selection.transfer_results),
    }
    own = read.get(config.selection.strategy)
    return {str(own): file_hash(own)} if own and own.is_file() else {}


def _model(config: AdaptConfig) -> list[object]:
    training = config.training
    return [training.model_name_or_path, training.model_revision, training.dtype, training.load_in_4bit]


def _devices() -> list[str]:
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [device for device in visible.split(",") if device.strip()]
    from compass.training import gpu_names

    return [str(i) for i in range(len(gpu_names()))]


def _environment(worker: int, count: int, devices: Sequence[str]) -> dict[str, str]:
    environment = dict(os.environ)
    if devices:
        environment["CUDA_VISIBLE_DEVICES"] = devices[worker % len(devices)]
    environment.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // count)))
    return environment


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
        rows = training.per_device_train_batch_size * training.gradient_accumulation_steps
        each = training.averaged_trainings * training_seconds(rows, max(1, (os.cpu_count() or 1) // workers))
    else:
        return math.nan
    return waiting * each / workers


def _seconds(cell: Cell) -> float:
    """Return the seconds that a finished cell's own stages took."""
    path = cell.folder / "logs" / "stages.jsonl"
    if not path.is_file():
        return 0.0
    entries = [json.loads(line) for line in path.read_text("utf-8").splitlines() if line]
    return sum(float(entry["seconds"]) for entry in entries if not entry["skipped"])
