"""The run folders of a project's languages: which one is newest, and the page over them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

from compass.data.languages import normalize_tag
from compass.errors import CompassError
from compass.evaluation import read_differences
from compass.report.project import FAILED, FINISHED, NOT_RUN, UNCHANGED, LanguageResult, build_project_page
from compass.runs import layout
from compass.runs.files import file_hash, read_json
from compass.runs.finished import check_finished


def newest(folder: Path) -> tuple[Path, Path]:
    """Return the newest finished run of a language, and the folder of the update that comes after it.

    An update of an adapter that `adapt` has made anew since is passed over. Raises RunError if the language has no
    finished run.
    """
    check_finished(folder)
    runs = runs_of(folder)
    parent = folder
    for run in runs[1:]:
        if _parent_of(run) in ("", file_hash(parent / layout.ADAPTER_WEIGHTS)):
            parent = run
    return parent, _update(folder, len(runs) + 1)


def runs_of(folder: Path) -> list[Path]:
    """Return a language's runs: the one that `adapt` makes, and its finished updates in their order."""
    runs = [folder]
    while True:
        target = _update(folder, len(runs) + 1)
        try:
            check_finished(target, more=(layout.REPORT,))
        except CompassError:
            return runs
        runs.append(target)


def _update(folder: Path, number: int) -> Path:
    return folder.with_name(f"{folder.name}-{number}")


def _parent_of(update: Path) -> str:
    """Return the hash of the adapter that an update went on from; empty where its folder does not say."""
    made_of = read_json(update / layout.LOCK, dict).get("parent")
    return str(made_of.get("adapter", "")) if isinstance(made_of, dict) else ""


def result_of(tag: str, run: Path, state: str, message: str = "") -> LanguageResult:
    """Return what became of a language, with the figures of its run where it is finished."""
    picked = difference = None
    if state in (FINISHED, UNCHANGED):
        if (summary := run / layout.SELECTION_SUMMARY).is_file():
            picked = int(read_json(summary, dict)["picked"])
        files = (run / name for name in (layout.PARENT_DIFFERENCES, layout.DIFFERENCES))
        file = next((file for file in files if file.is_file()), None)
        own = normalize_tag(tag)
        # The first metric is the one that suits the responses best.
        rows = read_differences(file) if file else ()
        difference = next((row for row in rows if row.name == own and row.cluster is None), None)
    return LanguageResult(tag, state, run, picked, difference, message)


def write_project_page(folder: Path, tags: Collection[str], results: Mapping[str, LanguageResult]) -> Path:
    """Write the page over all languages of a project, each with its newest run, and return its path.

    results: of those that were asked for. What failed just now stands as failed; the earlier runs have their links.
    """
    shown, runs = [], {}
    for tag in tags:
        one, own = results.get(tag), folder / tag
        runs[tag] = [run for run in runs_of(own) if (run / layout.REPORT).is_file()]
        if one is None or one.state != FAILED:
            one = _newest_result(tag, own, one)
        shown.append(one)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return build_project_page(folder, shown, runs)


def _newest_result(tag: str, own: Path, asked: LanguageResult | None) -> LanguageResult:
    """Return the result of a language's newest run, as it stands on the page; `asked`: that of this command."""
    try:
        run, _ = newest(own)
    except CompassError:
        # A selection alone is no finished run, and has a report.
        state = FINISHED if (own / layout.REPORT).is_file() else NOT_RUN
        return asked or result_of(tag, own, state)
    return asked if asked and asked.run_dir == run else result_of(tag, run, FINISHED)
