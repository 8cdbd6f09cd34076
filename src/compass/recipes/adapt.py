"""START HERE. The method from end to end: read `adapt` top to bottom.

texts -> encoder -> semantic space -> gap -> selection -> training -> evaluation -> report

Selection never sees a model and training never sees a cluster. Only the chosen examples pass between them, here. Every
step keeps its result in the run folder and is skipped if it was finished with the same inputs, so the same command
resumes a killed run. Each step is a file of its own in `compass/steps/`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from compass.config import AdaptConfig, dump_config, read_stored
from compass.data.languages import normalize_tag
from compass.errors import ConfigError, RunError
from compass.evaluation import Evaluation
from compass.records import Difference
from compass.report import build_report
from compass.runs import layout
from compass.runs.files import write_text
from compass.runs.folder import Run
from compass.steps.card import write_card
from compass.steps.evaluate import evaluate, evaluate_one
from compass.steps.label import suggest_labels
from compass.steps.lengths import keep_fitting, keep_measured
from compass.steps.lock import is_trained_on_its_picks, write_lock
from compass.steps.preflight import preflight
from compass.steps.read import read_data
from compass.steps.resources import Resources
from compass.steps.select import select as select_rows
from compass.steps.space import place
from compass.steps.state import Placed, Selected
from compass.steps.train import train


@dataclass(frozen=True)
class Adapted:
    """Where a finished run keeps its results."""

    run_dir: Path
    adapter: Path
    report: Path
    evaluations: Mapping[str, Mapping[str, Evaluation]]
    """Test name -> `base` and `adapter` -> what was measured."""
    differences: tuple[Difference, ...]
    """adapter − base for each test and metric, with paired intervals."""


def adapt(config: AdaptConfig, resources: Resources | None = None) -> Adapted:
    """Find what usage needs and the training data lacks, fill it from the pool, train an adapter, report the gain.

    Everything is written to `config.run.output_dir`. resources: the encoder and the model, if they are already open.
    Raises CompassError with a message for people; finished work is kept.
    """
    resources = resources or Resources(config)
    preflight(resources)
    with opened(resources) as run:
        # 1. Three sets in one schema: usage E, training data D, pool A.
        data = read_data(run, resources.config.data, seed=resources.config.run.seed)

        # Leave out rows that are too long for the model, and stop now if its chat template refuses rows.
        data = keep_fitting(run, resources, data)

        # 2. A vector for each text, with language removed, and clusters of meaning.
        placed = place(run, resources, data)

        # 3. The gap between usage and training data, and the pool rows that fill it.
        selected = select_rows(run, resources, placed)
        # For the report, the prompts that a person should answer first: one answer is worth several picks.
        suggest_labels(run, resources, placed)

        # 4. An adapter of the base model, trained on the picks and the training data.
        adapter = train(run, resources, selected)

        # 5. Base model and adapter on the same held-out rows.
        evaluated = evaluate(run, resources, adapter, selected)

        # 6. The lock that makes the run repeatable, the model card and the report.
        write_lock(run, resources, trained=True)
        write_card(run, resources, selected, evaluated.differences)
        report = build_report(run.folder)
    by_test = {name: {"base": evaluated.base[name], "adapter": evaluated.adapter[name]} for name in evaluated.base}
    return Adapted(run.folder, adapter, report, by_test, evaluated.differences)


def select(config: AdaptConfig, resources: Resources | None = None) -> Selected:
    """Do only the first half: pick the rows and write the audit, without a model and without training.

    resources: the encoder, if it is already open. In the folder of a finished run, other picks remove its adapter from
    the lock and its results from the report; the same picks change nothing.
    """
    resources = resources or Resources(config)
    preflight(resources, training=False)
    run = Run(Path(resources.config.run.output_dir))
    with run.locked():
        check_language(run, resources.config)
        if not (run.folder / layout.ADAPTER_WEIGHTS).is_file():
            write_config(run, resources.config)
        data = read_data(run, resources.config.data, seed=resources.config.run.seed)
        selected = select_rows(run, resources, place(run, resources, keep_measured(run, data)))
        suggest_labels(run, resources, selected)
        if not is_trained_on_its_picks(run.folder):
            write_config(run, resources.config)
            write_lock(run, resources, trained=False)
        build_report(run.folder)
    return selected


def prepare(config: AdaptConfig, resources: Resources | None = None) -> Placed:
    """Do what all strategies share: read, embed, place, and evaluate the base model; `compare` starts here."""
    resources = resources or Resources(config)
    with opened(resources) as run:
        data = read_data(run, resources.config.data, seed=resources.config.run.seed)
        placed = place(run, resources, keep_fitting(run, resources, data))
        evaluate_one(run, resources, "base", None, placed)
    return placed


@contextmanager
def opened(resources: Resources) -> Iterator[Run]:
    """Lock the run folder for this process, and write the options into it."""
    run = Run(Path(resources.config.run.output_dir))
    with run.locked():
        check_language(run, resources.config)
        write_config(run, resources.config)
        yield run


def write_config(run: Run, config: AdaptConfig) -> None:
    """Write the options into the run folder, where other commands read them."""
    write_text(run.path(layout.CONFIG), dump_config(config))


def check_language(run: Run, config: AdaptConfig) -> None:
    """Refuse the folder of a run of another language, whose results would be replaced. Raises RunError."""
    path, language = run.folder / layout.CONFIG, normalize_tag(config.data.language)
    if not path.is_file():
        return
    with suppress(ConfigError):
        there = normalize_tag(read_stored(path).data.language)
        if there != language:
            raise RunError(
                f"{run.folder} is a run of {there}, and this one is of {language}: its results would be replaced. Name "
                "another folder with --output-dir."
            )
