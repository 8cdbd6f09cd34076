"""Watch production prompts of an adapter for drift: read `monitor` top to bottom.

prompts -> encoder -> frozen space of the run -> windows -> tests -> events

The encoder is the run's, without its cache on disk. Only counts of prompts are stored, unless `reservoir` is on.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from compass.config import MonitorConfig, MonitorOptions, validate
from compass.drift import (
    MIX,
    DriftEvent,
    InputBatch,
    Monitor,
    Skipped,
    check_path,
    describe,
    label_next,
    read_files,
    read_stream,
)
from compass.drift.reading import read_skipped
from compass.drift.tables import database_in
from compass.encoders import CachedEncoder
from compass.errors import CompassError, RunError
from compass.records import Event
from compass.runs import layout
from compass.runs.folder import Run, refuse_version
from compass.signals import STOPPED
from compass.steps.counting import Counting
from compass.steps.read import columns_of
from compass.steps.reference import clusters_of, config_of, known_text, reference_of
from compass.steps.resources import Resources

logger = logging.getLogger(__name__)

STDIN = "-"
EXAMPLES_TOLD = 3
"""Kept prompts that the line of a drift quotes, private data replaced."""
LONGEST_EXAMPLE = 80
OF_A_VERSION = (
    "Watch what is in production with compass watch LANGUAGE, or name the run folder that it was registered from, or a "
    "copy of it."
)
ANSWER_KEPT = "compass label RUN --kept lists the kept prompts to answer first"


def monitor(
    run_dir: str | Path,
    source: str,
    options: MonitorConfig,
    *,
    reference: str = "",
    follow: bool = False,
    restart: bool = False,
    name: str = "monitor",
    allow_endpoint: str = "",
    stop: Callable[[], bool] = lambda: False,
    encoder: CachedEncoder | None = None,
) -> Iterator[Event]:
    """Count what `source` holds beyond what was counted before; yield each event, and the status.

    source: a JSON Lines file, a folder of them, or `-` for standard input; with `follow`, a file or folder is watched
    until `stop()`. reference: source of reference prompts; empty takes the run's held-out usage. encoder: the run's,
    where it is open already. allow_endpoint: the encoder endpoint that the run folder may name.
    Events are `drift`, `recovered` and `status`, which comes at the end, also when Ctrl-C or SystemExit is raised while
    prompts are read; with `follow` also at the start if a test is in alarm. Raises CompassError with a message for
    people.
    """
    # 1. What the adapter was trained with: its options, its encoder, its frozen space, the names of its clusters.
    validate(MonitorOptions(options))
    check_source(source)
    run = Run(Path(run_dir))
    refuse_version(run.folder, OF_A_VERSION)
    resources = Resources(config_of(run.folder, allow_endpoint=allow_endpoint), encoder=encoder)
    config, encoder = resources.config, resources.encoder
    names, examples = clusters_of(run.folder)

    # 2. What usage looked like then.
    fitted = reference_of(run.folder, run, config, encoder, reference, window=options.window)

    # 3. The monitor continues from its stored state; no prompt is counted twice.
    with Monitor(
        fitted, options, database=_database(run.folder, options), name=name, cluster_names=names,
        reference_examples=examples, restart=restart, seed=config.run.seed,
    ) as watching:  # fmt: skip
        # 4. Batch by batch: encode, count, check, report.
        for warning in watching.warnings():
            logger.warning("%s", warning)
        counting, before = Counting(config.data.language, known_text(examples)), watching.status()["prompts"]
        columns = columns_of(config.data, "usage")

        def status() -> Event:
            found = watching.status()
            found |= {"new_prompts": found["prompts"] - before, "skipped_lines": counting.skipped_lines}
            return Event("status", summary_of(found), details=found)

        if follow and watching.status()["drift"]:
            yield status()
        try:
            for batch in batches_of(source, watching, options, columns, follow=follow, stop=stop):
                if batch is None:
                    watching.purge()
                    continue
                for event in counting.count(watching, encoder, batch).events:
                    yield drift_event(event, watching, encoder)
        except STOPPED:
            yield from last_status(status)
            raise
        counting.finish(watching)
        yield status()


def last_status(status: Callable[[], Event]) -> Iterator[Event]:
    """Yield the status where reading is stopped; what stands in its way is logged, for the stop is what counts."""
    try:
        found = status()
    except CompassError as error:
        logger.warning("The status can't be told: %s", error)
        return
    yield found


def skipped(run_dir: str | Path, options: MonitorConfig, *, name: str = "monitor") -> list[Skipped]:
    """Return what the monitor of a run has skipped so far, the most frequent reason first; it holds no text.

    Raises RunError if it was never monitored.
    """
    folder = Path(run_dir)
    if not folder.is_dir():
        raise RunError(f"{folder} is not a run folder: there is no such folder.")
    found = None
    if options.database or (folder / layout.MONITOR_STATE).is_file():
        found = read_skipped(_database(folder, options), name)
    if found is None:
        raise RunError(f"{folder} was not monitored yet. If the state is in another database, give its --database.")
    return found


def _database(folder: Path, options: MonitorConfig) -> str:
    return options.database or database_in(folder / layout.MONITOR_STATE)


def drift_event(event: DriftEvent, watching: Monitor, encoder: CachedEncoder) -> Event:
    """Return what the monitor found as an event; kept prompts, as examples and to be answered, are in its details."""
    details = event.to_dict()
    summary = describe(event)
    if event.kind == "drift" and event.explanation:
        examples = [text for shift in event.explanation.grew for text in shift.examples][:EXAMPLES_TOLD]
        summary += "".join(f"; for example: {shortened(text)}" for text in examples)
    if event.kind == "drift" and (found := label_next(watching, encoder.encoder.encode, event.check.stream)):
        details["label_next"] = found
        summary += f"; {ANSWER_KEPT}"
    return Event(details.pop("kind"), summary, details=details)


def summary_of(status: Mapping[str, Any]) -> str:
    """Say how many prompts were counted, and what may be said of them."""
    full = [stream["window_full"] for stream in status["streams"].values()]
    state = "drift" if status["drift"] else "no drift" if any(full) else "too few to tell"
    new = f"{status['new_prompts']} new"
    if repeats := status["repeats"]:
        new += f", {repeats} {'repeat' if repeats == 1 else 'repeats'} left out so far"
    if status["answered_elsewhere"]:
        new += f", {status['answered_elsewhere']} answered by other adapters and left out so far"
    if status["skipped_lines"]:
        new += f", {status['skipped_lines']} skipped"
    if status["skipped"]:
        reasons = ", ".join(f"{lines} {reason}" for reason, lines in status["skipped"].items())
        new += f"; all skipped so far: {reasons}"
    return f"{status['prompts']} prompts counted ({new}): {state}{_worth(status)}"


def _worth(status: Mapping[str, Any]) -> str:
    """Say of each language what its window is worth, where its prompts hang together; empty where none do."""
    said = []
    for name, stream in status["streams"].items():
        traffic = stream["traffic"]
        if name != MIX and stream["window_full"] and traffic["effective_window"] < traffic["window"]:
            said.append(
                f"; {name}: a window of {traffic['window']} prompts is worth {traffic['effective_window']:.0f} "
                f"independent ones, the reference {traffic['effective_reference']:.0f}"
            )
            if traffic["matched"]:
                said.append(f", compared by {traffic['matched_by']}")
    return "".join(said)


def shortened(text: str) -> str:
    """Return a text as it fits into a line."""
    words = " ".join(text.split())
    return f"“{words if len(words) <= LONGEST_EXAMPLE else words[: LONGEST_EXAMPLE - 1] + '…'}”"


def batches_of(
    source: str,
    watching: Monitor,
    options: MonitorConfig,
    columns: Mapping[str, str] | None,
    *,
    follow: bool,
    stop: Callable[[], bool],
) -> Iterator[InputBatch | None]:
    """Yield what a source holds beyond what was counted; None where a followed source holds nothing new.

    columns: ours=theirs, as the run's usage was read.
    """
    size = options.monitor_batch_size
    if source == STDIN:
        return read_stream(sys.stdin.buffer, batch_size=size, columns=columns)
    return read_files(source, watching.offsets(), batch_size=size, columns=columns, follow=follow, stop=stop)


def check_source(source: str) -> None:
    """Raise DataError if a source is neither standard input nor a file or folder that is there."""
    if source != STDIN:
        check_path(source)
