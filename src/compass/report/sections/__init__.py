"""The report's sections: each function reads the run and returns its part of the page, in words, figures and tables."""

from __future__ import annotations

from compass.report.blocks import Section
from compass.report.load import Run
from compass.report.sections.answers import answers
from compass.report.sections.data import diagnostics, dropped, fertility
from compass.report.sections.label import label_next
from compass.report.sections.need import need
from compass.report.sections.provenance import cost, reproduce, training
from compass.report.sections.results import results
from compass.report.sections.selection import picked, text_map
from compass.report.sections.summary import summary
from compass.report.view import View

SECTIONS = (
    summary, need, text_map, picked, label_next, training, results, answers, fertility, dropped,
    diagnostics, cost, reproduce,
)  # fmt: skip
"""In the page's order."""


def sections(run: Run, *, include_texts: bool) -> tuple[Section, ...]:
    """Return the page's sections in their order; a section whose stage has not run says so."""
    view = View(run, include_texts)
    return tuple(section(view) for section in SECTIONS)
