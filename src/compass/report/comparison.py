"""The page of a comparison: curves over budgets, paired differences, what was picked, and what it cost."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from compass.records import CellResult, Comparison, Interval
from compass.report.blocks import Block, Cell, Chart, Charts, Code, Section, Table, Text, table
from compass.report.figures import budget_curves
from compass.report.html import render_page, write_page
from compass.report.wording import language, memory, metric, number, percent, plural, seconds, signed
from compass.runs import layout

METRICS = {
    "exact": metric("exact_match"),
    "intent": metric("intent_accuracy"),
    "loss": replace(metric("loss_per_byte"), title="Loss per byte, mean of rows"),
}
LOSS_DIGITS = 4
LANGUAGES_SHOWN = 5
"""Languages named among a strategy's picks."""

Curves = Mapping[tuple[str, int], Interval]
"""Exact match by strategy and budget."""


def build_comparison(
    folder: Path,
    strategies: Sequence[str],
    cells: Sequence[CellResult],
    comparisons: Sequence[Comparison],
    overlaps: Mapping[tuple[str, str], float],
    curves: Mapping[str, Curves],
    *,
    budget_unit: str,
    gaps: Sequence[str] = (),
) -> Path:
    """Write `report.html` of a comparison and return its path; it holds no text of any example.

    overlaps: pairs of strategies -> mean Jaccard
    overlap of their picks. curves: language ("" for all) -> (strategy, budget) -> exact match with its interval.
    gaps: what is missing, in sentences.
    """
    parts = (
        _headline(strategies, cells, comparisons, gaps),
        _curves(strategies, curves, budget_unit),
        _differences(comparisons),
        _picks(strategies, cells, overlaps),
        _costs(strategies, cells),
        Section(
            "again", "Repeat", "How to repeat",
            (Code("compass compare --config compare.yaml"),
             Text("Finished cells are kept. After a change of the grid, only new cells are run.", "quiet")),
        ),
    )  # fmt: skip
    page = render_page("COMPASS comparison", "Folder", folder.resolve().name, parts)
    return write_page(folder / layout.REPORT, page, private=False)


def _headline(
    strategies: Sequence[str],
    cells: Sequence[CellResult],
    comparisons: Sequence[Comparison],
    gaps: Sequence[str],
) -> Section:
    languages = sorted({cell.language for cell in cells})
    budgets, seeds = {cell.budget for cell in cells}, {cell.seed for cell in cells}
    grid = (
        f"{plural(len(strategies), 'strategy', 'strategies')}, {plural(len(languages), 'language')}, "
        f"{plural(len(budgets), 'budget')}, {plural(len(seeds), 'seed')}: {plural(len(cells), 'run')}."
    )
    lines: list[Block] = [Text(f"{gap}.", "note") for gap in gaps]
    overall = [c for c in comparisons if c.metric == "exact" and (c.language == "" or len(languages) == 1)]
    for c in overall:
        where = "Over all budgets" if c.budget is None else f"At a budget of {c.budget}"
        lines.append(
            Text(
                f"{where}, {c.strategy} answers {percent(c.value)} of the test rows exactly, "
                f"{c.against} {percent(c.other)}: {_points(c)} points, {_verdict(c)}.",
                "lead",
            )
        )
    return Section("overview", "Overview", "What was compared", (Text(grid), *lines))


def _curves(strategies: Sequence[str], curves: Mapping[str, Curves], unit: str) -> Section:
    charts = []
    for scope, values in curves.items():
        series = {
            strategy: [(budget, interval) for (name, budget), interval in values.items() if name == strategy]
            for strategy in strategies
        }
        series = {strategy: points for strategy, points in series.items() if points}
        rows = [
            [strategy, str(budget), percent(interval.value), f"{percent(interval.low)} to {percent(interval.high)}"]
            for strategy, points in series.items()
            for budget, interval in points
        ]
        charts.append(
            Chart(
                id=f"curve-{scope or 'all'}",
                title="All languages" if not scope else language(scope),
                summary="Exact match after training, mean over seeds"
                + (" and languages" if not scope else "")
                + ", with intervals over test rows.",
                figure=budget_curves(series, axis="exact match", unit=unit),
                table=table("The numbers", ["strategy", "#budget", "#exact match", "#interval"], rows, collapsed=True),
            )
        )
    return Section(
        "curves", "Budgets", "Accuracy by budget", (Charts(tuple(charts)) if charts else Text("No cell is finished."),)
    )


def _differences(comparisons: Sequence[Comparison]) -> Section:
    rows: list[list[str | Cell]] = [
        [
            *_what(c),
            f"{_value(c, c.value)} / {_value(c, c.other)}",
            Cell(_points(c), tone=_tone(c)),
            _p(c.p_value),
            _p(c.p_holm),
            "–" if math.isnan(c.cohens_d) else signed(c.cohens_d, 2),
            "–" if math.isnan(c.detectable) else _in_unit(c, c.detectable, number),
            number(c.units),
        ]
        for c in comparisons
    ]
    columns = (
        "language", "#budget", "metric", "against", "#ours / theirs", "#difference", "#p", "#p, Holm", "#d",
        "#detectable", "#items",
    )  # fmt: skip
    note = (
        "Differences are paired by test row. Shares are in points; a lower loss is better. Intervals are bootstrap "
        "intervals. p is of a two-sided permutation test of whole items, corrected over the strategies by Holm's "
        "method. d is Cohen's d of the paired differences. Detectable is the smallest true difference that this many "
        "items show with a power of 80 %. All of this holds for these trained models."
    )
    content: list[Block] = [
        table("Paired differences", columns, rows, note=note)
        if rows
        else Text("Nothing to compare: there is only one strategy.")
    ]
    if between := _between_trainings(comparisons):
        content.append(between)
    return Section("differences", "Differences", "The first strategy against each other one", tuple(content))


def _between_trainings(comparisons: Sequence[Comparison]) -> Table | None:
    rows = [
        [
            *_what(c),
            _between(c),
            _p(c.runs_p_holm),
            number(c.runs),
        ]
        for c in comparisons
        if not math.isnan(c.runs_p_holm)
    ]
    columns = ("language", "#budget", "metric", "against", "#difference", "#p, Holm", "#pairs")
    note = (
        "What other draws and seeds may give. Mean, t interval and t test are over trainings: each language and seed "
        "counts once, however many test rows it has, and shared items are accounted for. A claim about a strategy, "
        "rather than about these adapters, needs these numbers."
    )
    return table("The same between trainings", columns, rows, note=note) if rows else None


def _picks(
    strategies: Sequence[str], cells: Sequence[CellResult], overlaps: Mapping[tuple[str, str], float]
) -> Section:
    rows = []
    for strategy in strategies:
        own = [cell for cell in cells if cell.strategy == strategy]
        counts: Counter[str] = Counter()
        for cell in own:
            counts.update(cell.languages_picked)
        total = sum(counts.values())
        named = [f"{language(tag)} {percent(n / total, 0)}" for tag, n in counts.most_common(LANGUAGES_SHOWN)]
        rows.append(
            [
                strategy,
                number(_mean(own, "picked")),
                number(_mean(own, "clusters_picked"), 1),
                number(len(counts)),
                ", ".join(named) or "nothing",
            ]
        )
    blocks: list[Block] = [
        table("Mean picks of a cell", ("strategy", "#rows", "#clusters", "#languages", "most of"), rows)
    ]
    if overlaps:
        matrix = [
            [one, *(_overlap(overlaps, one, two) for two in strategies)]
            for one in strategies
        ]  # fmt: skip
        blocks.append(
            table(
                "Overlap of the picks", ("", *(f"#{name}" for name in strategies)), matrix,
                note="Rows that both picked, divided by rows that either picked: mean over draws and budgets.",
            )
        )  # fmt: skip
    return Section("picks", "Picks", "What each strategy picked", tuple(blocks))


def _costs(strategies: Sequence[str], cells: Sequence[CellResult]) -> Section:
    rows = []
    for strategy in strategies:
        own = [cell for cell in cells if cell.strategy == strategy]
        rows.append(
            [
                strategy,
                number(_mean(own, "steps")),
                number(_mean(own, "tokens")),
                seconds(_mean(own, "train_seconds")),
                memory(max((cell.peak_memory_bytes for cell in own), default=0)),
            ]
        )
    content: Table = table("Mean cost of a cell", ("strategy", "#steps", "#tokens", "#training", "#peak memory"), rows)
    return Section("cost", "Cost", "Cost of a cell", (content,))


def _overlap(overlaps: Mapping[tuple[str, str], float], one: str, two: str) -> str:
    if one == two:
        return "–"
    value = overlaps.get((min(one, two), max(one, two)))
    return percent(value, 0) if value is not None else "–"


def _mean(cells: Sequence[CellResult], name: str) -> float:
    return sum(float(getattr(cell, name)) for cell in cells) / len(cells) if cells else 0.0


def _value(c: Comparison, value: float) -> str:
    return percent(value) if METRICS[c.metric].as_percent else number(value, LOSS_DIGITS)


def _in_unit(c: Comparison, difference: float, write: Callable[[float, int], str]) -> str:
    """Write a difference of shares in points, one of losses as it is."""
    return write(100 * difference, 1) if METRICS[c.metric].as_percent else write(difference, LOSS_DIGITS)


def _points(c: Comparison) -> str:
    return f"{_in_unit(c, c.interval.value, signed)} {_interval(c, c.interval)}"


def _between(c: Comparison) -> str:
    return f"{_in_unit(c, c.between_runs.value, signed)} {_interval(c, c.between_runs)}"


def _what(c: Comparison) -> tuple[str, ...]:
    """Return a row's first cells: the language, budget, metric and strategy that a comparison is of."""
    scope = language(c.language) if c.language else "all"
    return scope, str(c.budget or "all"), METRICS[c.metric].title, c.against


def _interval(c: Comparison, interval: Interval) -> str:
    return f"[{_in_unit(c, interval.low, signed)}, {_in_unit(c, interval.high, signed)}]"


def _verdict(c: Comparison) -> str:
    p = _p_is(c.p_holm)
    words = {"good": "better", "bad": "worse", "quiet": "no clear difference"}
    verdict = f"{words[_tone(c)]} (p {p})"
    if math.isnan(c.runs_p_holm):
        return verdict
    return f"{verdict}; over {c.runs} pairs of trainings {_between(c)} (p {_p_is(c.runs_p_holm)})"


def _p_is(value: float) -> str:
    p = _p(value)
    return p if p.startswith("<") else f"= {p}"


def _tone(c: Comparison) -> str:
    if c.p_holm >= 0.05:
        return "quiet"
    return "good" if c.interval.value * METRICS[c.metric].better > 0 else "bad"


def _p(value: float) -> str:
    return "< .001" if value < 0.001 else f"{value:.3f}".lstrip("0")
