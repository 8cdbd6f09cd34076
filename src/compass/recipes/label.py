"""What a person should answer first: read `label` top to bottom.

usage, training data, pool -> encoder -> semantic space -> what nothing serves yet -> files to write answers in

Nothing is trained. The answers come back as training data: `--train` reads the files, and what Argilla and Label Studio
export.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from compass.config import AdaptConfig, LabelConfig, MonitorConfig, validate
from compass.config.label import LabelOptions
from compass.data.example import Example
from compass.data.label_files import check_label_files, write_label_files
from compass.data.label_list import LabelList
from compass.drift import read_kept
from compass.drift.tables import database_in
from compass.encoders import CachedEncoder
from compass.errors import DataError, RunError
from compass.recipes.adapt import check_language, write_config
from compass.report import build_report
from compass.runs import layout
from compass.runs.folder import Run, refuse_version
from compass.semantic.space import SemanticSpace
from compass.steps.label import PROMPTS_LISTED, find_labels, keep_labels
from compass.steps.lengths import keep_measured
from compass.steps.prefilter import keep_stored
from compass.steps.read import read_data
from compass.steps.reference import config_of
from compass.steps.resources import Resources
from compass.steps.space import embed, place
from compass.steps.state import Placed
from compass.steps.stored_data import stored_data

SECONDS_PER_DAY = 86_400.0
OF_A_VERSION = "Give a folder for the files with --label-dir."


@dataclass(frozen=True)
class Labelled:
    """The prompts to answer first, and the files to answer them in."""

    labels: LabelList
    files: Mapping[str, Path]
    """By format: `jsonl`, `csv`, `argilla` (a folder) and `label_studio`."""
    report: Path | None
    """The run's report with the list in it; None where the run folder is not written to."""


def label(
    source: AdaptConfig | str | Path,
    n: int = PROMPTS_LISTED,
    *,
    label_dir: str | Path = "",
    kept: MonitorConfig | None = None,
    allow_endpoint: str = "",
    encoder: CachedEncoder | None = None,
) -> Labelled:
    """List the n usage prompts whose answers help most, and write files to answer them in.

    source: options, whose data are read into `output_dir` as `compass select` does, or the folder of a run that has
    read its data. label_dir: folder of the files, by default `label` in the run folder; a run folder that is given
    beside it is not written to. kept: take for usage the prompts that the run's monitor keeps; its options say where
    and for how long. allow_endpoint: the encoder endpoint that the run folder may name. encoder: the run's, where it is
    open already. Raises CompassError with a message for people.
    """
    validate(LabelOptions(label=LabelConfig(n=n, label_dir=str(label_dir))))
    new = isinstance(source, AdaptConfig)
    if isinstance(source, AdaptConfig):
        resources = Resources(source, encoder=encoder)
        folder = Path(resources.config.run.output_dir)
        _refuse_finished(folder)
    else:
        folder = Path(source)
        resources = Resources(config_of(folder, allow_endpoint=allow_endpoint), encoder=encoder)
    config, run, report = resources.config, Run(folder), None
    target = Path(label_dir) if label_dir else folder / layout.LABEL
    check_label_files(target)
    if kept or (label_dir and not new):
        # Kept prompts have a time to be deleted: they go to the files alone, not into the run's report.
        placed = _of_kept(folder, resources, kept) if kept else _of_run(folder, resources)
        labels = find_labels(placed, n, options=config.selection, seed=config.run.seed)
    else:
        refuse_version(folder, OF_A_VERSION)
        with run.locked():
            # 1. The three sets and their space: of a run that is there, or of a new one, which `adapt` goes on with.
            if new:
                check_language(run, config)
                write_config(run, config)
                placed = place(run, resources, keep_measured(run, read_data(run, config.data, seed=config.run.seed)))
            else:
                placed = _of_run(folder, resources)

            # 2. What usage needs, less what training data and pool serve, spread over it.
            labels = keep_labels(run, resources, placed, n)
            report = build_report(folder)

    # 3. Files for spreadsheets, for Argilla and for Label Studio. Answers that are there are never written over.
    if not label_dir:
        refuse_version(folder, OF_A_VERSION)
    files = write_label_files(target, labels.prompts, name=f"label-{config.data.language}")
    return Labelled(labels, files, report)


def _of_run(folder: Path, resources: Resources) -> Placed:
    """Return a run's cleaned data in its space. Raises RunError if it has not come that far."""
    needed = (layout.USAGE, layout.TRAIN, layout.POOL, layout.TEST_NAMES, layout.SPACE_WEIGHTS)
    if missing := [name for name in needed if not (folder / name).is_file()]:
        raise RunError(
            f"{folder} has no {missing[0]} yet. Run `compass select` or `compass adapt` in it first, or give --usage, "
            "--train and --pool in place of a run folder."
        )
    data = keep_stored(Run(folder), keep_measured(Run(folder), stored_data(folder)))
    return Placed(data, embed(resources.encoder, data), SemanticSpace.load(folder / layout.SPACE))


def _of_kept(folder: Path, resources: Resources, kept: MonitorConfig) -> Placed:
    """Return a run's data with the prompts that its monitor keeps for usage. Raises DataError if there are none."""
    language, state = resources.config.data.language, folder / layout.MONITOR_STATE
    if not kept.database and not state.is_file():
        raise DataError(
            f"{folder} has no monitor: {layout.MONITOR_STATE} is missing. If its state is in another database, give "
            "that with --database."
        )
    database = kept.database or database_in(state)
    oldest = time.time() - kept.retention_days * SECONDS_PER_DAY
    prompts = read_kept(database, ("monitor", f"watch-{language}"), language, oldest=oldest)
    if not prompts:
        raise DataError(
            f"The monitor of {folder} keeps no prompt in {language}. Run it with --reservoir redacted or full, and "
            "wait for prompts. Prompts older than --retention-days are left out."
        )
    rows = tuple(
        Example(f"kept-{place}", prompt.text, language=language, source="monitor")
        for place, prompt in enumerate(prompts, 1)
    )
    run = _of_run(folder, resources)
    # As in the monitor: no trace of a kept prompt in the cache on disk.
    vectors = resources.encoder.encoder.encode([row.prompt for row in rows])
    return Placed(dataclasses.replace(run.data, usage=rows), dataclasses.replace(run.vectors, usage=vectors), run.space)


def _refuse_finished(folder: Path) -> None:
    if (folder / layout.ADAPTER_WEIGHTS).is_file():
        raise RunError(
            f"{folder} holds a finished run, whose data would be replaced. Name it as the run folder, `compass label "
            f"{folder}`, or give another --output-dir."
        )
