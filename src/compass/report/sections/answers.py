"""What both models answered, row by row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from compass.report import figures
from compass.report.blocks import Block, Cell, Filter, Row, Section, Table, Text, table
from compass.report.load import Answer
from compass.report.view import NOT_TRAINED, View, absent, spread
from compass.report.wording import number, plural
from compass.runs import layout

PREDICTIONS_PER_OUTCOME = 12
"""Test rows shown of each outcome (gained, lost, right both times, wrong both times), at most."""
LEAST_CHANGE = 0.01
"""Change of a row's chrF from which it counts as better or worse: a point."""

_RIGHT = {"gained": "Gained", "lost": "Lost", "kept": "Right both times", "wrong": "Wrong both times"}
_CLOSER = {"better": "Closer after", "worse": "Further after", "same": "As close"}
"""Outcomes of free text, which is hardly ever right to the letter: is the answer closer to the expected one?"""
_UNSCORED = {"unscored": "–"}
"""Of free text that was stored without scores of its rows, as by version 0.1."""
FREE_TEXT = "free text"

Pair = tuple[Answer, Answer]
"""A row's answers before and after."""


def answers(view: View) -> Section:
    """Count answers gained and lost, or closer and further where they are free text, and show a sample of each."""
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
    scored = any(answer.chrf is not None for pair in pairs for answer in pair)
    free_text = scored or view.test(name).responses == FREE_TEXT
    outcomes = _CLOSER if scored else _UNSCORED if free_text else _RIGHT
    groups: dict[str, list[Pair]] = {key: [] for key in outcomes}
    for pair in pairs:
        groups[_closeness(*pair) if scored else "unscored" if free_text else _outcome(*pair)].append(pair)
    counts = _counts(f"Outcomes on {plural(len(pairs), 'row')} of {name}", groups)
    if not view.include_texts:
        return Section(
            "answers", "Answers", title, (counts, Text("This report was made without texts, as asked.", "note"))
        )
    rows = []
    for key, group in groups.items():
        for before, answer in spread(group, PREDICTIONS_PER_OUTCOME):
            cells = (
                Cell(answer.prompt, lang=answer.language),
                Cell(answer.expected, code=True),
                _prediction(before, free_text=free_text),
                _prediction(answer, free_text=free_text),
                Cell(outcomes[key] + (_change(before, answer) if scored else "")),
            )
            rows.append(Row(cells, {"outcome": key}))
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
                tuple((key, f"{label} · {len(groups[key])}") for key, label in outcomes.items() if groups[key]),
            ),
        ),
        searchable=True,
    )
    return Section("answers", "Answers", title, (counts, sample))


def _counts(caption: str, groups: Mapping[str, Sequence[Pair]]) -> Block:
    count = {key: number(len(group)) for key, group in groups.items()}
    if groups.keys() == _UNSCORED.keys():
        return Text("The answers are free text, and were stored without a score for each row.", "note")
    if groups.keys() == _CLOSER.keys():
        return table(
            f"{caption}: is the answer closer to the expected one, by at least a point of chrF?",
            ("#Closer after", "#As close", "#Further after"),
            [[count["better"], count["same"], count["worse"]]],
        )
    return table(
        caption,
        ("", "#Right after", "#Wrong after"),
        [["Right before", count["kept"], count["lost"]], ["Wrong before", count["gained"], count["wrong"]]],
    )


def _prediction(answer: Answer, *, free_text: bool) -> Cell:
    text = figures.shorten(answer.prediction, 300) or "(empty)"
    return Cell(text, tone="" if free_text else "good" if answer.exact else "bad", code=True)


def _outcome(before: Answer, after: Answer) -> str:
    if after.exact:
        return "kept" if before.exact else "gained"
    return "lost" if before.exact else "wrong"


def _score(answer: Answer) -> float:
    """Return how close an answer is: chrF, or for a call among free text whether it is right."""
    return float(answer.exact) if answer.chrf is None else answer.chrf


def _closeness(before: Answer, after: Answer) -> str:
    change = _score(after) - _score(before)
    return "same" if abs(change) < LEAST_CHANGE else "better" if change > 0 else "worse"


def _change(before: Answer, after: Answer) -> str:
    return f" (chrF {number(100 * _score(before))} to {number(100 * _score(after))})"
