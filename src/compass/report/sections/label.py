"""Which usage prompts a person should answer next, and what the answers cover."""

from __future__ import annotations

import shlex

from compass.report import figures, wording
from compass.report.blocks import Block, Cell, Chart, Code, Section, Table, Text, table
from compass.report.view import View, absent
from compass.report.wording import number, percent, plural
from compass.runs import layout

LONGEST_PROMPT = 300
"""Characters of a prompt on the page; the files have it whole."""


def label_next(view: View) -> Section:
    """Show the prompts to answer first, how many usage prompts each stands for, and the curve of what they cover."""
    found, title = view.run.labels, "Label these next"
    if found is None:
        return absent("label", "Label", title, f"No list was made: {layout.LABEL_LIST} is missing.")
    blocks: list[Block] = [
        Text(
            "One answer in the target language is worth several pool rows. The answers to these prompts would cover "
            f"most of the usage that nothing serves yet. {wording.capital(found.summary())}"
        ),
        *(Text(note, "quiet") for note in found.notes),
    ]
    if found.prompts:
        covered = [found.covered_before, *(row.covered for row in found.prompts)]
        blocks += [
            Chart(
                "label-curve",
                "What the first answers cover",
                "The share of usage's needs that is covered, by the number of answers. It is based on "
                f"{plural(found.usage, 'usage prompt')}. Where the curve flattens, further answers add little.",
                figures.label_curve(covered, found.worthwhile),
                _table(view),
            ),
            Text("Files to write the answers in, for spreadsheets, Argilla and Label Studio:"),
            Code(f"compass label {shlex.quote(str(view.run.folder))} --n {len(found.prompts)}"),
        ]
    return Section("label", "Label", title, tuple(blocks))


def _table(view: View) -> Table:
    prompts = view.run.labels.prompts if view.run.labels else ()
    shown = ("Prompt",) if view.include_texts else ()
    rows: list[list[str | Cell]] = []
    for place, row in enumerate(prompts, 1):
        text = figures.shorten(row.prompt, LONGEST_PROMPT)
        rows.append(
            [
                number(place),
                *([Cell(text, lang=row.language)] if view.include_texts else []),
                number(row.stands_for),
                percent(row.served, 0),
                percent(row.covered, 0),
                view.cluster(row.cluster),
            ]
        )
    return table(
        f"{plural(len(prompts), 'prompt')} to answer: usage prompts that each stands for, what training data and pool "
        "serve of it already, and what is covered once it is answered",
        ("#Place", *shown, "#Stands for", "#Served already", "#Covered with it", "Cluster"),
        rows,
        id="label-table",
    )
