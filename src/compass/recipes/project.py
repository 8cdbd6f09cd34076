"""Several languages as one project: read `adapt_project` top to bottom.

all languages: read and clean -> rows that fit the model -> vectors and space    in this process, the pool once for all
each language: selection -> training -> evaluation -> report                     in a process of its own
-> one table, one page

Each language has an ordinary run folder, in which its own process goes on where the common part stopped: a project
adds nothing to what a single run computes. A language that fails leaves the others alone.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

from compass.config import AdaptConfig, Project
from compass.encoders import CachedEncoder
from compass.errors import CompassError, ConfigError, LanguageError
from compass.recipes.adapt import opened, select
from compass.recipes.project_runs import result_of, write_project_page
from compass.recipes.workers import Job, in_parallel
from compass.report.project import FAILED, FINISHED, UNCHANGED, LanguageResult
from compass.reuse import reusing
from compass.runs import layout
from compass.runs.files import file_hash, fingerprint, read_json, write_json
from compass.runs.finished import check_finished
from compass.runs.folder import Run
from compass.runs.machine import versions
from compass.steps.features import strategy_files
from compass.steps.lengths import keep_fitting
from compass.steps.preflight import preflight
from compass.steps.read import filled_in, read_data, source_identities
from compass.steps.resources import Resources, folder_contents, start_adapter
from compass.steps.space import place
from compass.steps.state import Placed, RunData

logger = logging.getLogger(__name__)

Result = TypeVar("Result")
Failures = Mapping[str, str]
"""Language -> why it failed."""
ERROR = "compass: "
"""What a command's error begins with."""


@dataclass(frozen=True)
class ProjectDone:
    """What became of the languages of a project that were asked for."""

    folder: Path
    page: Path
    languages: tuple[LanguageResult, ...]

    @property
    def failed(self) -> bool:
        """Whether any language failed."""
        return any(one.state == FAILED for one in self.languages)


def in_processes(folders: Mapping[str, Path]) -> Failures:
    """Run `compass adapt` in each run folder, one process each, one for each device at a time."""

    def job_of(folder: Path) -> Job:
        log = Run(folder).path(layout.ADAPT_LOG)
        command = ["adapt", "--config", str(folder / layout.CONFIG)]
        return lambda processes, environment: processes.run(command, log, environment)

    for tag, folder in folders.items():
        logger.info("%s: goes on in a process of its own; its log is %s", tag, folder / layout.ADAPT_LOG)
    return in_parallel("Languages", {tag: job_of(folder) for tag, folder in folders.items()}, 0) if folders else {}


def adapt_project(
    project: Project[AdaptConfig],
    *,
    finish: Callable[[Mapping[str, Path]], Failures] = in_processes,
    encoder: CachedEncoder | None = None,
) -> ProjectDone:
    """Run `adapt` for each language of a project, and make a page over their reports.

    finish: brings run folders to their end from where the common part stopped. encoder: in place of that of the
    options. Raises ConfigError for a tag that is no language; what else goes wrong is in the result of the language.
    The same call resumes; finished languages whose inputs are the same are not done again.
    """
    work = _Work(project, encoder)
    with reusing():
        inputs = work.each(_inputs)
        unchanged = {tag for tag, found in inputs.items() if work.is_finished(tag, found)}
        work.leave(unchanged)

        # 1. Everything is read and cleaned before anything long begins, so that what is wrong is told at once.
        read = work.each(_read)
        fitting = work.each(_fitting, read)

        # 2. A vector for each text, and a space for each language, which is fitted on its own usage and training data.
        work.each(_placed, fitting)
        del read, fitting

    # 3. Selection, training and evaluation: a run that is killed, or takes all memory, takes no other with it.
    failures = finish({tag: work.folder(tag) for tag in work.going_on()})
    for tag, error in failures.items():
        work.fail(tag, message_of(error))

    # 4. What is finished, so that the same command skips it; a table and a page over all.
    work.remember({tag: inputs[tag] for tag in work.going_on()})
    return work.done(unchanged)


def select_project(project: Project[AdaptConfig], *, encoder: CachedEncoder | None = None) -> ProjectDone:
    """Run `select` for each language of a project, and make a page over their reports; as `adapt_project`."""
    work = _Work(project, encoder)
    with reusing():
        work.each(lambda resources: select(resources.config, resources))
    return work.done(set())


def _inputs(resources: Resources) -> str:
    """Return what a language's results follow from: options, sources, models, versions."""
    config = resources.config
    return fingerprint(
        {
            "config": asdict(config),
            "sources": source_identities(filled_in(config.data, config.run.seed)),
            "folders": folder_contents(config),
            "adapter": start_adapter(config),
            "files": strategy_files(resources),
            "versions": versions(),
        }
    )


def _read(resources: Resources) -> RunData:
    preflight(resources)
    with opened(resources) as run:
        return read_data(run, resources.config.data, seed=resources.config.run.seed)


def _fitting(resources: Resources, data: RunData) -> RunData:
    with opened(resources) as run:
        return keep_fitting(run, resources, data)


def _placed(resources: Resources, data: RunData) -> Placed:
    with opened(resources) as run:
        return place(run, resources, data)


class _Work:
    """The languages of a project on their way, and what went wrong with some of them."""

    def __init__(self, project: Project[AdaptConfig], encoder: CachedEncoder | None) -> None:
        self._project = project
        self._resources = resources_of(project, encoder)
        self._left: set[str] = set()
        self._failures: dict[str, str] = {}

    def going_on(self) -> list[str]:
        """Return the languages that have neither failed nor been left out."""
        return [tag for tag in self._resources if tag not in self._failures and tag not in self._left]

    def each(self, step: Callable[..., Result], *given: Mapping[str, Any]) -> dict[str, Result]:
        """Do a step for each language; one that fails takes part in no further step.

        given: by language, what the step gets besides the language's resources.
        """
        results = {}
        for tag in self.going_on():
            resources = self._resources[tag]
            for other in self._resources.values():
                resources.share(other)
            try:
                results[tag] = step(resources, *(values[tag] for values in given))
            except Exception as error:
                # Whatever one language's data or model does, the others go on.
                logger.debug("The error of %s:", tag, exc_info=error)
                told = isinstance(error, (CompassError, OSError))
                self.fail(tag, str(error) if told else f"unexpected {type(error).__name__}")
        return results

    def fail(self, tag: str, message: str) -> None:
        """Take a language out, and say why at once."""
        logger.error("%s failed: %s", tag, message)
        self._failures[tag] = message

    def leave(self, tags: set[str]) -> None:
        """Take out languages that are finished already."""
        self._left |= tags
        for tag in sorted(tags):
            logger.info("%s: already finished with these inputs, skipped", tag)

    def folder(self, tag: str) -> Path:
        """Return the run folder of a language."""
        return Path(self._resources[tag].config.run.output_dir)

    def is_finished(self, tag: str, inputs: str) -> bool:
        """Say whether a language was finished with these inputs, and its folder is as the run left it."""
        record, folder = read_records(self._project.folder).get(tag, {}), self.folder(tag)
        try:
            check_finished(folder, more=(layout.REPORT,))
        except CompassError:
            return False
        return bool(record == {"inputs": inputs, "lock": file_hash(folder / layout.LOCK)})

    def remember(self, inputs: Mapping[str, str]) -> None:
        """Write down with which inputs languages were finished."""
        new = {tag: {"inputs": i, "lock": file_hash(self.folder(tag) / layout.LOCK)} for tag, i in inputs.items()}
        write_records(self._project.folder, new)

    def done(self, unchanged: set[str]) -> ProjectDone:
        """Return what became of each language, and write the page; it shows those that were not asked for, too."""
        states = {tag: FAILED if tag in self._failures else FINISHED for tag in self._resources}
        states |= dict.fromkeys(unchanged, UNCHANGED)
        results = tuple(
            result_of(tag, self.folder(tag), state, self._failures.get(tag, "")) for tag, state in states.items()
        )
        page = write_project_page(self._project.folder, self._project.origins, {one.language: one for one in results})
        return ProjectDone(self._project.folder, page, results)


def message_of(log: str) -> str:
    """Return the error that ends a command's log; all of it where it has none."""
    return log[log.rfind(f"\n{ERROR}") + 1 :].removeprefix(ERROR) if ERROR in log else log


def read_records(folder: Path) -> dict[str, Any]:
    """Return what a project remembers of its finished runs, by the name of their folder."""
    file = folder / layout.PROJECT_STATE
    try:
        found = read_json(file, dict).get("languages") if file.is_file() else {}
    except CompassError:
        found = None
    return {tag: one for tag, one in found.items() if isinstance(one, dict)} if isinstance(found, dict) else {}


def write_records(folder: Path, new: Mapping[str, Mapping[str, str]]) -> None:
    """Add finished runs to what a project remembers."""
    if new:
        write_json(folder / layout.PROJECT_STATE, {"languages": read_records(folder) | dict(new)})


def resources_of(project: Project[AdaptConfig], encoder: CachedEncoder | None = None) -> dict[str, Resources]:
    """Return the resources of each language. Raises ConfigError for tags that are no languages, or the same one."""
    found: dict[str, Resources] = {}
    problems, first = [], dict[str, str]()
    for tag, config in project.languages.items():
        origin = project.origins[tag]
        try:
            found[tag] = Resources(config, encoder=encoder)
        except LanguageError as error:
            problems.append(f"{origin}: {error}")
            continue
        normal = found[tag].config.data.language
        if normal in first:
            problems.append(f"{origin}: {tag} is the same language as {first[normal]}; remove one of them")
        first[normal] = tag
    if problems:
        raise ConfigError(problems)
    return found
