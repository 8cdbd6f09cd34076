"""Print results on stdout: tables and plain lines for people, JSON for machines.

Nothing else in the command line prints: here text from outside, a cell of a table too, loses what a terminal obeys.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compass.sanitize import printable, printable_json, without_secrets

MOST_LANGUAGES = 8
"""Languages that are listed of a source; JSON has all."""
READ_AS = {"usage": "prompts alone", "pool": "prompts with responses"}

if TYPE_CHECKING:
    from compass.config import AdaptConfig
    from compass.data.label_list import LabelList
    from compass.records import Comparison, Difference, Event, Metrics
    from compass.steps.inspect import Inspected, Lengths
    from compass.steps.plan import Step


def print_result(result: Mapping[str, Any], as_json: bool, table: Callable[[], None] | None = None) -> None:
    """End a command: all of its result as JSON, or its table and then a line for each plain value."""
    if as_json:
        print_json({name: str(value) if isinstance(value, Path) else value for name, value in result.items()})
        return
    if table:
        table()
    for name, value in result.items():
        if not isinstance(value, (list, tuple, dict)):
            # A path that a person can click on.
            say(f"{name}: {value.resolve() if isinstance(value, Path) else value}")


def say(text: object, *, error: bool = False) -> None:
    """Print a line for people; error: on stderr, without secrets that an error may quote."""
    shown = printable(without_secrets(str(text)) if error else text)
    print(shown, file=sys.stderr if error else sys.stdout, flush=True)


def print_json(content: Any) -> None:
    """Print JSON; records are written as they write themselves."""
    text = json.dumps(content, ensure_ascii=False, indent=2, default=lambda value: value.to_dict())
    if "NaN" in text or "Infinity" in text:
        # No JSON, which other programs refuse: what is no number is null.
        text = json.dumps(json.loads(text, parse_constant=lambda _: None), ensure_ascii=False, indent=2)
    print(printable_json(text))


def print_event(event: Event, *, as_json: bool) -> None:
    """Print an event of a stream as one line, at once."""
    if as_json:
        print(printable_json(json.dumps(event.to_dict(), ensure_ascii=False)), flush=True)
    else:
        say(event.summary)


def print_plan(config: AdaptConfig, *, as_json: bool) -> None:
    """Print what a run would do, with counts and an estimate of time."""
    from compass.steps.plan import plan

    steps = plan(config)
    if as_json:
        print_json([step.to_dict() for step in steps])
    else:
        print_steps(steps)


def print_steps(steps: Sequence[Step]) -> None:
    """Print the steps of a plan, and the sources that it reads."""
    if sources := [source for step in steps for source in step.sources]:
        print_sources(sources)
    print_table(("step", "what", "estimate"), [(s.name, s.what, s.estimate) for s in steps], title="Plan")


def print_inspected(found: Inspected) -> None:
    """Print one source, then its rows by outcome."""
    from compass.report.wording import plural

    read_as = READ_AS.get(found.read_as, found.read_as)
    say(f"{found.source}: {plural(found.rows, 'row')}, shape {found.shape}, read as {read_as}")
    say(f"  columns used: {_uses(found.used)}")
    say(f"  columns not used: {', '.join(found.unused) or 'none'}")
    say(f"  languages: {_counts(found.languages)}")
    say(f"  turns: {_counts(found.roles)}")
    if found.lengths:
        say(f"  {_lengths(found.lengths)}")
    print_table(("rows", "outcome", "first at"), [(str(o.rows), o.name, o.first) for o in found.outcomes])


def print_sources(found: Sequence[Inspected]) -> None:
    """Print a line for each source of a run."""
    rows = [
        (
            one.read_as, one.source, one.shape, _uses(one.used), ", ".join(one.unused), _counts(one.languages),
            "; ".join(f"{o.rows} {o.name} ({o.first})" for o in one.outcomes),
        )
        for one in found
    ]  # fmt: skip
    names = ("set", "source", "shape", "columns used", "not used", "languages", "rows, and the first of them")
    print_table(names, rows, title="Sources")


def _uses(used: Mapping[str, str]) -> str:
    return ", ".join(name if name == use else f"{name} ({use})" for name, use in used.items())


def _counts(counts: Mapping[str, int]) -> str:
    shown = [f"{n} {'without a tag' if name == 'und' else name}" for name, n in list(counts.items())[:MOST_LANGUAGES]]
    more = len(counts) - MOST_LANGUAGES
    return (", ".join(shown) or "none") + (f" and {more} more" if more > 0 else "")


def _lengths(found: Lengths) -> str:
    text = f"{found.unit} per row: median {found.median}, 95th percentile {found.p95}, longest {found.longest}"
    if found.max_length:
        text += f"; {found.too_long} above max_length ({found.max_length}) and left out of training"
        text += f", the first at {found.first_too_long}" if found.too_long else ""
    return text


def print_differences(differences: Sequence[Difference], *, title: str = "Before and after") -> None:
    """Print base and adapter on each test."""
    if not differences:
        say("Not evaluated: no held-out row has a response.")
        return
    from compass.report.wording import metric

    lines = [
        (
            row.name, metric(row.metric).title, f"{row.base:.3f}", f"{row.adapter:.3f}",
            f"{row.interval.value:+.3f}", f"{row.interval.low:+.3f} to {row.interval.high:+.3f}",
        )
        for row in differences
    ]  # fmt: skip
    print_table(("test", "metric", "before", "after", "difference", "interval"), lines, title=title)


def print_labels(labels: LabelList) -> None:
    """Print the prompts to answer first, with what each stands for and what they cover together."""
    for note in labels.notes:
        say(note)
    if not labels.prompts:
        return
    lines = [
        (str(place), row.prompt, str(row.stands_for), f"{100 * row.served:.0f} %", f"{100 * row.covered:.0f} %")
        for place, row in enumerate(labels.prompts, 1)
    ]
    names = ("", "prompt", "stands for", "served already", "covered with it")
    print_table(names, lines, title=f"Answer these first: {labels.summary()}")


def print_grid(cells: Sequence[Mapping[str, Any]], *, as_json: bool) -> None:
    """Print the cells of a comparison that would run."""
    if as_json:
        print_json(list(cells))
        return
    names = ("language", "seed", "budget", "strategy")
    print_table(names, [[str(cell[name]) for name in names] for cell in cells], title=f"{len(cells)} cells")


def print_comparisons(comparisons: Sequence[Comparison]) -> None:
    """Print the paired differences between strategies."""
    from compass.report.differences import METRICS
    from compass.report.wording import metric, p_value

    lines = [
        (
            row.language or "all", str(row.budget or "all"),
            (METRICS.get(row.metric) or metric(row.metric)).title, f"{row.strategy} − {row.against}",
            f"{row.value:.3f}", f"{row.other:.3f}",
            f"{row.interval.value:+.3f} [{row.interval.low:+.3f}, {row.interval.high:+.3f}]",
            p_value(row.p_holm), p_value(row.runs_p_holm),
        )
        for row in comparisons
    ]  # fmt: skip
    names = ("language", "budget", "metric", "strategies", "first", "other", "difference", "p rows", "p runs")
    print_table(names, lines, title="Paired differences; p-values after Holm, over test rows and over training runs")


def print_metrics(evaluations: Mapping[str, Mapping[str, Metrics]]) -> None:
    """Print the base model's metrics on each test."""
    from compass.report.wording import metric

    lines = [
        (name, metric(measured).title, f"{value.value:.3f}", f"{value.low:.3f} to {value.high:.3f}")
        for name, models in evaluations.items()
        for measured, value in models["base"].items()
    ]
    print_table(("test", "metric", "value", "interval"), lines, title="Evaluation")


def print_table(names: Sequence[str], rows: Sequence[Sequence[str]], *, title: str | None = None) -> None:
    """Print rows; where there is no room a cell is wrapped and never cut, for ids are there to be copied."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    def cell(text: str) -> Text:
        # Not a str, in which `[/b]` is markup.
        return Text(printable(text))

    heading = cell(title) if title else None
    table = Table(title=heading, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for name in names:
        table.add_column(cell(name), overflow="fold")
    for row in rows:
        table.add_row(*map(cell, row))
    Console(width=None if sys.stdout.isatty() else 160).print(table)
