"""The page of a comparison: curves over budgets, paired differences, what was picked, and what it cost."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from compass.records import LEARNED, CellResult, Comparison, Difference, Interval, LeftOut
from compass.report import differences as told
from compass.report.blocks import Block, Cell, Chart, Charts, Code, Section, Table, Text, table
from compass.report.differences import METRICS
from compass.report.figures import budget_curves, difference_forest
from compass.report.html import render_page, write_page
from compass.report.wording import (
    bare_language,
    capital,
    in_sentence,
    language,
    level,
    memory,
    number,
    p_value,
    percent,
    plural,
    seconds,
    signed,
)
from compass.runs import layout

LANGUAGES_SHOWN = 5
"""Languages named among a strategy's picks."""
Curves = Mapping[tuple[str, int], Interval]
"""A metric by strategy and budget."""


def build_comparison(
    folder: Path,
    strategies: Sequence[str],
    cells: Sequence[CellResult],
    comparisons: Sequence[Comparison],
    overlaps: Mapping[tuple[str, str], float],
    curves: Mapping[tuple[str, str], Curves],
    *,
    metrics: Sequence[str],
    budget_unit: str,
    confidence: float,
    gaps: Sequence[str] = (),
    left_out: Sequence[LeftOut] = (),
) -> Path:
    """Write `report.html` of a comparison and return its path; it holds no text of any example.

    overlaps: pairs of strategies -> mean Jaccard overlap of their picks. curves: (language, metric), language "" for
    all -> (strategy, budget) -> value with its interval. metrics: those that are shown, the one of the headline first.
    confidence: level of every interval. gaps: what is missing, in sentences. left_out: cells of the folder that are
    not shown.
    """
    comparisons = [c for c in comparisons if c.metric in metrics]
    parts = (
        _headline(strategies, cells, comparisons, metrics, gaps, left_out),
        _curves(strategies, curves, budget_unit, level(confidence)),
        _differences(comparisons, level(confidence)),
        _picks(strategies, cells, overlaps),
        _learned(strategies, cells),
        _costs(strategies, cells),
        Section(
            "again", "Repeat", "How to repeat",
            (Code("compass compare --config compare.yaml"),
             Text("Finished cells are kept. After a change of the grid, only new cells are run. Cells of earlier "
                  "comparisons in this folder stay on the page where they are comparable.", "quiet")),
        ),
    )  # fmt: skip
    page = render_page("COMPASS comparison", "Folder", folder.resolve().name, parts)
    return write_page(folder / layout.REPORT, page, private=False)


def _headline(
    strategies: Sequence[str],
    cells: Sequence[CellResult],
    comparisons: Sequence[Comparison],
    metrics: Sequence[str],
    gaps: Sequence[str],
    left_out: Sequence[LeftOut],
) -> Section:
    languages = sorted({cell.language for cell in cells})
    budgets, seeds = {cell.budget for cell in cells}, {cell.seed for cell in cells}
    grid = (
        f"{plural(len(strategies), 'strategy', 'strategies')}, {plural(len(languages), 'language')}, "
        f"{plural(len(budgets), 'budget')}, {plural(len(seeds), 'seed')}: {plural(len(cells), 'run')}."
    )
    blocks: list[Block] = [Text(grid), *(Text(f"{gap}.", "note") for gap in gaps)]
    count = f"{plural(len(left_out), 'cell')} of this folder"
    if left_out:
        verb = "is" if len(left_out) == 1 else "are"
        blocks.append(Text(f"{count} {verb} not on this page; the list is below.", "note"))
    if early := sum(cell.response_loss > LEARNED for cell in cells):
        text = (
            f"{number(early)} of {plural(len(cells), 'training')} ended before {'its' if early == 1 else 'their'} rows "
            f"were learned: in the last epoch a response still had a loss of more than {plural(LEARNED, 'nat')}. After "
            "more steps the order of the strategies may change: raise num_train_epochs."
        )
        blocks.append(Text(text, "note"))
    main = _widest(comparisons)
    for against in dict.fromkeys(c.against for c in main):
        blocks.append(Text(_sentences([c for c in main if c.against == against], metrics), "lead"))
    if main:
        blocks += _one_view(main, metrics)
    if left_out:
        rows: list[list[str | Cell]] = [[Cell(one.folder, tone="id", code=True), one.reason] for one in left_out]
        blocks.append(table(f"{count}, and why not shown", ("Cell", "Reason"), rows))
    return Section("overview", "Overview", "What was compared", tuple(blocks))


def _widest(comparisons: Sequence[Comparison]) -> list[Comparison]:
    """Return for each strategy its comparison over the most budgets and languages, all metrics of it."""
    widest: dict[str, tuple[int | None, str]] = {}
    for c in sorted(comparisons, key=lambda c: (c.budget is not None, c.language != "")):
        widest.setdefault(c.against, (c.budget, c.language))
    first = comparisons[0].strategy if comparisons else ""
    return [c for c in comparisons if (c.budget, c.language) == widest[c.against] and c.strategy == first]


def _sentences(comparisons: Sequence[Comparison], metrics: Sequence[str]) -> str:
    """Say how two strategies differ by the metric that suits the responses, and what the others say."""
    by_metric = {c.metric: c for c in comparisons}
    order = [name for name in metrics if name in by_metric]
    c = by_metric[order[0]]
    title = told.metric_in_sentence(c)
    text = (
        f"{_where(c)}, {title} is {told.value(c, c.value)} with {c.strategy} and "
        f"{told.value(c, c.other)} with {c.against}: {told.verdict(c)}."
    )
    by_word: dict[str, list[str]] = {}
    for name in order[1:]:
        by_word.setdefault(told.word(by_metric[name]), []).append(told.metric_in_sentence(by_metric[name]))
    others = "; ".join(f"{word} by {_listed(titles)}" for word, titles in by_word.items())
    return f"{text} {capital(others)}." if others else text


def _where(c: Comparison) -> str:
    budget = "Over all budgets" if c.budget is None else f"At a budget of {c.budget}"
    return f"{budget}, in {bare_language(c.language)}" if c.language else budget


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _one_view(comparisons: Sequence[Comparison], metrics: Sequence[str]) -> list[Block]:
    """Show each metric's difference over trainings, or over test rows where there is one training: a line a metric."""
    trainings = any(not math.isnan(c.runs_p_holm) for c in comparisons)
    charts: list[Chart] = []
    for name in metrics:
        own = [c for c in comparisons if c.metric == name]
        drawn = [Difference("", name, c.other, c.value, told.main_interval(c)) for c in own]
        drawn_own = [(d, c) for d, c in zip(drawn, own, strict=True) if math.isfinite(d.interval.low)]
        if not drawn_own:
            continue
        first, how = own[0].strategy, METRICS[name]
        charts.append(
            Chart(
                id=f"view-{name.replace('_', '-')}",
                title=how.title,
                summary=("Higher" if how.better > 0 else "Lower") + f" is better for {first}.",
                figure=difference_forest(
                    [d for d, _ in drawn_own],
                    [f"against {c.against}" for _, c in drawn_own],
                    as_percent=how.as_percent,
                    what=f"{first} − other",
                ),
            )
        )
    rows: list[list[str | Cell]] = []
    for against in dict.fromkeys(c.against for c in comparisons):
        for name in metrics:
            rows += [
                [
                    against, METRICS[name].title, told.value(c, c.value), told.value(c, c.other),
                    Cell(told.over_trainings(c) if told.has_trainings(c) else told.over_rows(c), tone=told.tone(c)),
                    p_value(c.runs_p_holm if told.has_trainings(c) else c.p_holm),
                    number(c.runs) if told.has_trainings(c) else "rows only",
                    Cell(told.word(c), tone=told.tone(c)),
                ]
                for c in comparisons if (c.against, c.metric) == (against, name)
            ]  # fmt: skip
    over = "trainings" if trainings else "test rows"
    note = (
        f"Differences over {over}, with intervals; shares in points. p is after Holm's correction over the strategies. "
        "The metric that suits the responses comes first."
    )
    columns = ("Against", "Metric", "#First", "#Other", "#Difference", "#p, Holm", "#Pairs", "Reading")
    view = table(f"{comparisons[0].strategy} against each other strategy, by every metric", columns, rows, note=note)
    return [Charts(tuple(charts)), view] if charts else [view]


def _curves(strategies: Sequence[str], curves: Mapping[tuple[str, str], Curves], unit: str, sure: str) -> Section:
    charts = []
    for (scope, name), values in curves.items():
        how = METRICS[name]
        series = {
            strategy: [(budget, interval) for (own, budget), interval in values.items() if own == strategy]
            for strategy in strategies
        }
        series = {strategy: points for strategy, points in series.items() if points}
        rows = [
            [strategy, str(budget), told.written(name, interval.value),
             f"{told.written(name, interval.low)} to {told.written(name, interval.high)}"]
            for strategy, points in series.items()
            for budget, interval in points
        ]  # fmt: skip
        title = in_sentence(how.title)
        charts.append(
            Chart(
                id=f"curve-{scope or 'all'}-{name.replace('_', '-')}",
                title=f"{how.title}, {language(scope) if scope else 'all languages'}",
                summary=f"{how.title} after training, mean over seeds"
                + (" and languages" if not scope else "")
                + f", with {sure} bootstrap intervals over test rows."
                + (" Lower is better." if how.better < 0 else ""),
                figure=budget_curves(series, axis=title, unit=unit, as_percent=how.as_percent),
                table=table("The numbers", ["strategy", "#budget", f"#{title}", "#interval"], rows, collapsed=True),
            )
        )
    return Section(
        "curves", "Budgets", "Results by budget", (Charts(tuple(charts)) if charts else Text("No cell is finished."),)
    )


def _learned(strategies: Sequence[str], cells: Sequence[CellResult]) -> Section:
    rows = []
    for strategy in strategies:
        own = [cell for cell in cells if cell.strategy == strategy]
        early = sum(cell.response_loss > LEARNED for cell in own)
        rows.append([strategy, number(_mean(own, "response_loss"), 2), f"{early} of {len(own)}"])
    content = table(
        "Training loss of a response in the last epoch, in nats",
        ("strategy", "#mean of its cells", f"#cells above {plural(LEARNED, 'nat')}"), rows,
    )  # fmt: skip
    return Section("learned", "Training", "Loss at the end of training", (content,))


def _differences(comparisons: Sequence[Comparison], sure: str) -> Section:
    rows: list[list[str | Cell]] = [
        [
            *told.row_head(c),
            f"{told.value(c, c.value)} / {told.value(c, c.other)}",
            Cell(told.over_rows(c), tone=told.tone_of(c, c.p_holm, c.interval)),
            p_value(c.p_value),
            p_value(c.p_holm),
            "–" if math.isnan(c.cohens_d) else signed(c.cohens_d, 2),
            "–" if math.isnan(c.detectable) else told.in_unit(c, c.detectable, number),
            number(c.units),
        ]
        for c in comparisons
    ]
    columns = (
        "language", "#budget", "metric", "strategies", "#first / other", "#difference", "#p", "#p, Holm", "#d",
        "#detectable", "#items",
    )  # fmt: skip
    note = (
        f"Differences are paired by test row. Shares are in points; a lower loss is better. Intervals are {sure} "
        "bootstrap intervals. p is of a two-sided permutation test of whole items, corrected over the strategies by "
        "Holm's method. d is Cohen's d of the paired differences. Detectable is the smallest true difference that this "
        "many items show with a power of 80 %. All of this holds for these trained models."
    )
    content: list[Block] = [
        table("Paired differences", columns, rows, note=note)
        if rows
        else Text("Nothing to compare: there is only one strategy.")
    ]
    if between := _between_trainings(comparisons, sure):
        content.append(between)
    return Section("differences", "Differences", "The first strategy against each other one", tuple(content))


def _between_trainings(comparisons: Sequence[Comparison], sure: str) -> Table | None:
    rows: list[list[str | Cell]] = [
        [
            *told.row_head(c),
            Cell(told.over_trainings(c), tone=told.tone(c)),
            p_value(c.runs_p_holm),
            number(c.runs),
        ]
        for c in comparisons
        if not math.isnan(c.runs_p_holm)
    ]
    columns = ("language", "#budget", "metric", "strategies", "#difference", "#p, Holm", "#pairs")
    note = (
        f"What other draws and seeds may give. Mean, {sure} t interval and t test are over trainings: each language "
        "and seed counts once, however many test rows it has, and shared items are accounted for. A claim about a "
        "strategy, rather than about these adapters, needs these numbers."
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
        table(
            "Mean picks of a cell, and languages of all cells",
            ("strategy", "#rows", "#clusters", "#languages", "most of"),
            rows,
        )
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
    content: Table = table(
        "Mean cost of a cell", ("strategy", "#steps", "#tokens in an epoch", "#training", "#peak memory"), rows,
        note="Peak memory is the highest of all cells.",
    )  # fmt: skip
    return Section("cost", "Cost", "Cost of a cell", (content,))


def _overlap(overlaps: Mapping[tuple[str, str], float], one: str, two: str) -> str:
    if one == two:
        return "–"
    value = overlaps.get((min(one, two), max(one, two)))
    return percent(value, 0) if value is not None else "–"


def _mean(cells: Sequence[CellResult], name: str) -> float:
    return sum(float(getattr(cell, name)) for cell in cells) / len(cells) if cells else 0.0
