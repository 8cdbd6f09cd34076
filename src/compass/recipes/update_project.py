"""`compass update` for each language of a project: its newest run follows its new usage."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from compass.config import DataConfig
from compass.errors import CompassError
from compass.recipes.project import ProjectDone, message_of, read_records, write_records
from compass.recipes.project_runs import newest, result_of, write_project_page
from compass.recipes.update import NewData
from compass.recipes.workers import Job, in_parallel
from compass.report.project import FAILED, FINISHED, UNCHANGED
from compass.runs import layout
from compass.runs.files import fingerprint
from compass.runs.folder import Run
from compass.steps.read import check_sources, fill_in, source_identities

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class LanguageUpdate:
    """What an update of one language is made of: sources by name, `{language}` in them, and flags of its command."""

    folder: Path
    """The run folder that `adapt` made; updates lie beside it, as `cy-2`, `cy-3`."""
    window: str
    train: str = ""
    test: str = ""
    flags: Sequence[str] = ()


def update_project(
    folder: Path, updates: Mapping[str, LanguageUpdate], *, languages: Collection[str] = ()
) -> ProjectDone:
    """Update the newest run of each language on its new usage, and make a page over the newest runs.

    languages: all of the project, for its page; empty: those that are updated. An update whose window, rows, test and
    flags are those of the newest run's is not made again. What goes wrong with one language is in its result, and
    leaves the others.
    """
    failures: dict[str, str] = {}
    states, targets, inputs, jobs = {}, {}, {}, {}
    for tag, update in updates.items():
        try:
            parent, target = newest(update.folder)
            new = named(tag, update)
            inputs[tag] = _inputs(new, update.flags)
            unchanged = read_records(folder).get(parent.name, {}).get("inputs") == inputs[tag]
            states[tag], targets[tag] = (UNCHANGED, parent) if unchanged else (FINISHED, target)
            if not unchanged:
                jobs[tag] = _job(parent, target, new, update.flags)
                log = target / layout.ADAPT_LOG
                logger.info("%s: %s is updated in a process of its own; its log is %s", tag, parent, log)
        except CompassError as error:
            failures[tag], targets[tag] = str(error), update.folder
            logger.error("%s failed: %s", tag, error)
    # Before they begin: what is finished when the whole is stopped is not made again.
    write_records(folder, {targets[tag].name: {"inputs": inputs[tag]} for tag in jobs})
    failures |= {tag: message_of(error) for tag, error in in_parallel("Updates", jobs, 0).items()} if jobs else {}
    results = tuple(
        result_of(tag, targets[tag], FAILED if tag in failures else states[tag], failures.get(tag, ""))
        for tag in updates
    )
    page = write_project_page(folder, languages or updates, {one.language: one for one in results})
    return ProjectDone(folder, page, results)


def named(tag: str, update: LanguageUpdate) -> NewData:
    """Return the sources of an update with the tag filled in. Raises DataError for one that is missing."""
    window, train, test = (fill_in(source, language=tag) for source in (update.window, update.train, update.test))
    check_sources(window, train, test)
    return NewData(window, train=train, test=test)


def _inputs(new: NewData, flags: Sequence[str]) -> str:
    names = [str(new.window), str(new.train), str(new.test)]
    data = DataConfig(usage=names[0], train=(names[1],), test=names[2], pool=())
    return fingerprint({"sources": names, "identities": source_identities(data), "flags": list(flags)})


def _job(parent: Path, target: Path, new: NewData, flags: Sequence[str]) -> Job:
    log = Run(target).path(layout.ADAPT_LOG)
    given = {"--new-data": new.train, "--new-test": new.test, "--output-dir": str(target)}
    sources = [part for flag, value in given.items() for part in (flag, str(value)) if value]
    command = ["update", str(parent), str(new.window), *sources, *flags]
    return lambda processes, environment: processes.run(command, log, environment)
