"""The run as every section asks for it: the target, the main test, and names that may be shown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from compass.records import Difference
from compass.report import figures, wording
from compass.report.blocks import Cell, Section, Text
from compass.report.load import Run, TestScores
from compass.report.wording import plural

Row = TypeVar("Row")

FIGURE_CLUSTERS = 20
"""Clusters in one figure, at most; the table beside it has them all."""

MAX_NAME = 60
"""Characters of a cluster's name, at most."""

FIGURE_LANGUAGES = 24
"""Languages in one figure, at most."""

NOT_TRAINED = (
    "This folder holds a selection only: no adapter was trained, so nothing was measured. "
    "Run compass adapt with the same configuration to go on."
)


WORDS_OF_0_1 = {
    "lest its cluster has nothing: nearest to": "added so that its cluster gets at least one row; closest to",
    "its kind of answer": "its class",
    "quotas by kind of answer": "class quotas",
    "kind of answer": "class",
    "kinds of answer": "classes",
    "data at hand": "training data",
    "rows at hand": "training rows",
}
"""What reasons and notes in folders of version 0.1 say, and how it is said now."""


class View:
    """The run with what every section asks of it: the target, the main test, and names that may be shown."""

    def __init__(self, run: Run, include_texts: bool) -> None:
        self.run = run
        self.include_texts = include_texts
        self.target = str(run.options.get("language") or "und")
        self.target_name = wording.bare_language(self.target) if self.target != "und" else "the target language"
        self.strategy = str(run.options.get("strategy") or "unknown")
        self.unit = str(run.options.get("budget_unit") or "examples")
        self.confidence = float(run.options.get("confidence") or 0.95)
        self.clusters = {cluster.cluster: cluster for cluster in run.clusters}

    def cluster(self, identity: int) -> str:
        """Name a cluster. Names are made of the texts' words, so they go where texts go."""
        found = self.clusters.get(identity)
        if found is None or found.name in ("", f"cluster {identity}") or not self.include_texts:
            return "outside every cluster" if identity < 0 else f"cluster {identity}"
        return f"{identity} · {figures.shorten(found.name, MAX_NAME)}"

    def tests(self) -> list[str]:
        """Return the names of all tests, those in the target language first, the largest of them on top."""
        both = {**self.run.base, **self.run.adapter}
        return sorted(both, key=lambda name: (both[name].language != self.target, -both[name].rows, name))

    def test(self, name: str) -> TestScores:
        """Return the scores of the adapter on a test, or those of the base model where it has none."""
        return self.run.adapter.get(name) or self.run.base[name]

    def main_test(self) -> str | None:
        """Return the largest test in the target language: the one that the headline is about."""
        names = self.tests()
        return names[0] if names and self.test(names[0]).language == self.target else None

    def main_metric(self, name: str) -> str:
        """Return the metric that suits a test's responses best: the first of them; exact match in folders of 0.1."""
        test = self.test(name)
        first = next(iter(test.metrics), "")
        return "exact_match" if not test.responses and "exact_match" in test.metrics else first

    def difference(self, name: str, metric: str, cluster: int | None = None) -> Difference | None:
        """Return the paired difference of a metric, over the whole test or within a cluster."""
        for row in self.run.differences:
            if (row.name, row.metric, row.cluster) == (name, metric, cluster):
                return row
        return None

    def words(self, text: str) -> str:
        """Return a reason or a note in the words of today."""
        for before, now in WORDS_OF_0_1.items():
            text = text.replace(before, now)
        return text

    def amount(self, value: float) -> str:
        """Return an amount in units of the budget: `240 rows` or `9,000 tokens`."""
        return plural(round(value), "token" if self.unit == "tokens" else "row")

    def label(self, name: str) -> str:
        """Return a test's name, with its language where the name does not say it."""
        tag = self.test(name).language
        spoken = wording.bare_language(tag)
        return name if tag in (name, "und") or spoken.lower() == name.lower() else f"{name} ({spoken})"

    def before_after(self, name: str, metric: str) -> list[str | Cell]:
        """Return four cells: before, after, their difference, and how it reads."""
        cells: list[str | Cell] = [
            wording.with_interval(metric, tests[name].metrics.get(metric) if name in tests else None)
            for tests in (self.run.base, self.run.adapter)
        ]
        difference = self.difference(name, metric)
        if difference is None:
            return [*cells, "–", Cell("no paired difference", tone="quiet")]
        text, tone = wording.verdict(difference)
        return [*cells, wording.change(metric, difference), Cell(text, tone=tone)]


def absent(id: str, nav: str, title: str, why: str) -> Section:
    """Return a section that only says why it is empty."""
    return Section(id, nav, title, (Text(why, "note"),))


def spread(rows: Sequence[Row], limit: int) -> list[Row]:
    """Return at most `limit` rows, evenly over all of them and always the same ones."""
    if len(rows) <= limit:
        return list(rows)
    return [rows[i * len(rows) // limit] for i in range(limit)]
