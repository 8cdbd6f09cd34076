"""The page of a project: its languages side by side, each with a link to its report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compass.records import Difference
from compass.report import wording
from compass.report.blocks import Cell, Facts, Section, Table, Text, table
from compass.report.html import render_page, write_page
from compass.report.wording import language, number, plural
from compass.runs import layout

FINISHED, UNCHANGED, FAILED, NOT_RUN = "finished", "unchanged", "failed", "not run"
"""States of a language; unchanged: it was finished before, with the same inputs."""
TONES = {FINISHED: "good", UNCHANGED: "good", FAILED: "bad", NOT_RUN: "quiet"}


@dataclass(frozen=True)
class LanguageResult:
    """What became of one language of a project."""

    language: str
    state: str
    run_dir: Path
    picked: int | None = None
    """Rows that were picked of the pool; None where it did not come that far."""
    difference: Difference | None = None
    """Of the main metric on the language's own test; None where nothing was measured."""
    message: str = ""
    """Why it failed."""

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dict."""
        return {
            "language": self.language,
            "state": self.state,
            "run": str(self.run_dir),
            "picked": self.picked,
            "difference": self.difference.to_dict() if self.difference else None,
            "message": self.message,
        }

    def shown(self) -> tuple[str, ...]:
        """Return rows picked, metric, value before and after, and the difference with its interval, for people."""
        picked = "–" if self.picked is None else number(self.picked)
        if not (found := self.difference):
            return picked, "–", "–", "–", "–"
        interval, title = found.interval, wording.metric(found.metric).title
        change = f"{interval.value:+.3f} [{interval.low:+.3f}, {interval.high:+.3f}]"
        return picked, title, f"{found.base:.3f}", f"{found.adapter:.3f}", change


def build_project_page(
    folder: Path, results: Sequence[LanguageResult], runs: Mapping[str, Sequence[Path]] | None = None
) -> Path:
    """Write `index.html` into a project's folder and return its path: one file that asks nothing of any server.

    runs: each language's runs with a report, in their order; those that `results` does not show are listed below.
    """
    rows: list[tuple[str | Cell, ...]] = [
        (
            Cell(language(one.language), href=_link(folder, one.run_dir)),
            Cell(one.state, tone=TONES[one.state]),
            *one.shown(),
            one.message,
        )
        for one in results
    ]
    done = sum(one.state in (FINISHED, UNCHANGED) for one in results)
    lead = f"{done} of {plural(len(results), 'language')} {'is' if done == 1 else 'are'} finished."
    columns = ("Language", "State", "#Picked", "Metric", "#Before", "#After", "#Difference", "Message")
    note = (
        "Each language's name leads to the report of its newest run. The difference is adapter − base on its held-out "
        "rows; of an update, it is new adapter − adapter before."
    )
    facts = Facts(tuple((state.capitalize(), number(sum(one.state == state for one in results))) for state in TONES))
    blocks: list[Text | Facts | Table] = [Text(lead, "lead"), facts, table("Languages", columns, rows, note=note)]
    now = {one.run_dir for one in results}
    others = [(tag, run) for tag, of_one in (runs or {}).items() for run in of_one if run not in now]
    if others:
        lines = [(Cell(language(tag)), Cell(run.name, href=_link(folder, run))) for tag, run in others]
        blocks.append(table("Earlier runs", ("Language", "Report"), lines))
    section = Section("summary", "Languages", "Languages", tuple(blocks))
    page = render_page("COMPASS project", "Project folder", folder.resolve().name, (section,))
    return write_page(folder / layout.PROJECT_PAGE, page, private=True)


def _link(folder: Path, run_dir: Path) -> str:
    """Return the address of a run's report as the page sees it; empty where there is none."""
    report = run_dir / layout.REPORT
    return report.relative_to(folder).as_posix() if report.is_file() else ""
