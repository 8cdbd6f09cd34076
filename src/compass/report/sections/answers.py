"""What both models answered, row by row."""

from __future__ import annotations

from compass.report import figures
from compass.report.blocks import Cell, Filter, Row, Section, Table, Text, table
from compass.report.load import Answer
from compass.report.view import NOT_TRAINED, View, absent, spread
from compass.report.wording import number, plural
from compass.runs import layout

PREDICTIONS_PER_OUTCOME = 12
"""Test rows shown of each outcome (gained, lost, right both times, wrong both times), at most."""

_OUTCOMES = {"gained": "Gained", "lost": "Lost", "kept": "Right both times", "wrong": "Wrong both times"}


def answers(view: View) -> Section:
    """Count answers gained and lost, and show a sample of each."""
    title, name = "Answers", view.main_test()
    run = view.run
    if not view.tests():
        return absent("answers", "Answers", title, NOT_TRAINED)
    if name is None or name not in run.base or name not in run.adapter:
        return absent(
            "answers",
            "Answers",
            title,
            "Both models must answer a test in the target language for a comparison. This run has no such test.",
        )
    after = {answer.id: answer for answer in run.adapter[name].answers}
    pairs = [(before, after[before.id]) for before in run.base[name].answers if before.id in after]
    groups: dict[str, list[tuple[Answer, Answer]]] = {outcome: [] for outcome in _OUTCOMES}
    for pair in pairs:
        groups[_outcome(*pair)].append(pair)
    counts = table(
        f"Outcomes on {plural(len(pairs), 'row')} of {name}",
        ("", "#Right after", "#Wrong after"),
        [
            ["Right before", number(len(groups["kept"])), number(len(groups["lost"]))],
            ["Wrong before", number(len(groups["gained"])), number(len(groups["wrong"]))],
        ],
    )
    if not view.include_texts:
        return Section(
            "answers", "Answers", title, (counts, Text("This report was made without texts, as asked.", "note"))
        )
    rows = []
    for outcome, group in groups.items():
        for before, answer in spread(group, PREDICTIONS_PER_OUTCOME):
            cells = (
                Cell(answer.prompt, lang=answer.language),
                Cell(answer.expected, code=True),
                _prediction(before),
                _prediction(answer),
                Cell(_OUTCOMES[outcome]),
            )
            rows.append(Row(cells, {"outcome": outcome}))
    sample = Table(
        caption="A sample of the answers",
        columns=("Prompt", "Expected", "Before", "After", "Outcome"),
        rows=tuple(rows),
        id="answers-table",
        note=f"At most {PREDICTIONS_PER_OUTCOME} rows of each outcome, so the sample's proportions are not the test's. "
        f"{layout.EVALUATION}/ has all answers.",
        filters=(
            Filter(
                "outcome",
                "Outcome",
                tuple((key, f"{label} · {len(groups[key])}") for key, label in _OUTCOMES.items() if groups[key]),
            ),
        ),
        searchable=True,
    )
    return Section("answers", "Answers", title, (counts, sample))


def _prediction(answer: Answer) -> Cell:
    text = figures.shorten(answer.prediction, 300) or "(empty)"
    return Cell(text, tone="good" if answer.exact else "bad", code=True)


def _outcome(before: Answer, after: Answer) -> str:
    if after.exact:
        return "kept" if before.exact else "gained"
    return "lost" if before.exact else "wrong"
