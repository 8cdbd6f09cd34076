"""What an update of the watch loop is made of: its options, and its usage, training rows and test."""

from __future__ import annotations

import dataclasses
import logging
from dataclasses import dataclass
from pathlib import Path

from compass.config import AdaptConfig, load_stored, read_stored
from compass.data.example import Dropped, Example
from compass.data.feedback_rows import TEST, TRAIN, rows_file
from compass.data.readers import SourceAccount, read_jsonl
from compass.drift import Monitor
from compass.errors import DataError
from compass.registry import Version
from compass.runs import layout
from compass.steps.language_rows import in_others, is_in
from compass.steps.read import read_set
from compass.steps.watch_state import Site

logger = logging.getLogger(__name__)

TOO_FEW = "too few tests for the gate yet"
"""Why tests of users' feedback wait for a later update."""
OLD_USAGE = Path(layout.USAGE).name
"""In the folder of an update that version 0.1 began: its usage, which is read into a run folder now."""


def options_of_update(site: Site, parent: Version, number: int) -> AdaptConfig:
    """Return the options of an update: the parent's, under those that the loop was given."""
    rows = site.options.watch.gate_rows
    folder = str(site.work(number) / "run")
    overrides = {"max_test_rows": rows, "max_retention_rows": rows, **site.overrides, "output_dir": folder}
    granted = site.options.folder.allow_endpoint
    return load_stored(parent.folder / layout.CONFIG, overrides, allow_endpoint=granted)


@dataclass(frozen=True)
class UpdateRows:
    """The rows of an update, by what they are for."""

    usage: list[Example]
    train: list[Example]
    test: list[Example]
    left_out: dict[str, list[Dropped]]
    """What of the sources is not used, and why, by set."""


def rows_of_update(site: Site, watching: Monitor, version: Version) -> UpdateRows:
    """Read the update's usage, training rows and test; the last two are empty where there are none.

    Raises DataError if a source has fewer rows of usage than `min_usage_rows`.
    """
    options, language = site.options.watch, site.language
    data = dataclasses.replace(read_stored(version.folder / layout.CONFIG).data, language=language)
    left_out: dict[str, list[Dropped]] = {"usage": [], "current": [], f"test {language}": []}

    def read(source: str, part: str, name: str) -> list[Example]:
        accounts: list[SourceAccount] = []
        rows = read_set(data, part, source, accounts=accounts) if source else []
        others = in_others(rows, language)
        left_out[name] += [*(row for account in accounts for row in account.dropped), *others]
        if others:
            logger.warning("%s: %d rows in other languages than %s are left out", source, len(others), language)
        return [row for row in rows if is_in(row, language)]

    usage = read(options.update_usage, "usage", "usage") if options.update_usage else _kept_usage(site, watching)
    if options.update_usage and len(usage) < options.min_usage_rows:
        raise DataError(
            f"{options.update_usage} has {len(usage)} rows in {language}, and min_usage_rows asks for "
            f"{options.min_usage_rows}. Gather more usage."
        )
    train = read(options.update_train, "train", "current")
    test = read(options.update_test, "test", f"test {language}")
    said = {part: _feedback(site, part) for part in (TRAIN, TEST)}
    if len(test) + len(said[TEST]) < site.options.gate.gate_min_rows and said[TEST]:
        logger.info("%d tests of users' feedback are too few for the gate yet", len(said[TEST]))
        left_out[f"test {language}"] += [
            Dropped(row.id, TOO_FEW, f"gate_min_rows is {site.options.gate.gate_min_rows}") for row in said[TEST]
        ]
        said[TEST] = []
    return UpdateRows(usage, [*train, *said[TRAIN]], [*test, *said[TEST]], left_out)


def _feedback(site: Site, part: str) -> list[Example]:
    """Return rows that users' feedback became; none where there is none yet."""
    folder = site.options.watch.update_feedback
    path = rows_file(folder, site.language, part)
    return read_jsonl(path) if folder and path.is_file() else []


def rows_of_0_1(work: Path) -> tuple[list[Example], list[Example], list[Example]] | None:
    """Read what version 0.1 wrote down for an update that it began; None where it began none."""
    if not (work / OLD_USAGE).is_file():
        return None
    parts = (work / f"{name}.jsonl" for name in ("usage", "current", "test"))
    usage, train, test = (read_jsonl(path) if path.is_file() else [] for path in parts)
    return usage, train, test


def _kept_usage(site: Site, watching: Monitor) -> list[Example]:
    """Return prompts of the reservoir, newest first: what came since the alarm, and no fewer than an update needs."""
    options = site.options.watch
    kept = watching.kept_prompts(site.language, most=max(options.prompts_after_drift, options.min_usage_rows))
    return [
        Example(f"kept/{i}", prompt.text, language=site.language, source="production")
        for i, prompt in enumerate(reversed(kept))
    ]
