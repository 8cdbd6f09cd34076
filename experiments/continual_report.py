"""Tables and heat maps of `continual.py`: what each way to update learned, kept, and cost.

    python experiments/continual_report.py runs/continual/results.jsonl --html runs/continual/report.html

accuracy at the end: mean over the five periods' tests after the last. over time: mean over all (period lived through,
test of it or an earlier one). forgetting: accuracy on a period's test right after it minus later, mean over all such
pairs; new usage: accuracy on a period's test right after its update. Differences are paired by test row, intervals by
bootstrap and p by permutation over test items; a period counts the same however many rows its test has.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from compass.records import Interval
from compass.stats import holm, paired_difference, permutation_test, ratio_interval

PERIODS = (0, 1, 2, 3, 4)
NAMES = ("0 start", "1 new", "2 the same", "3 mix, register", "4 return", "English")
UPDATED = (1, 3, 4)
METRICS = ("accuracy at the end", "over time", "forgetting", "new usage", "English at the end")
DRAWS = 5_000
STATIC_COST = {"rows": 0, "steps": 0, "seconds": 0.0}


@dataclass(frozen=True)
class Measured:
    """One metric of a chain as a ratio of sums over test rows."""

    tops: np.ndarray
    bottoms: np.ndarray
    units: tuple[tuple[str, int, str, int], ...]


def read(path: Path) -> dict[str, dict[tuple[str, int], dict[int, dict[str, Any]]]]:
    """Return chain -> (language, seed) -> period -> line, whole chains alone; each begins with the common start."""
    lines = [json.loads(line) for line in path.read_text("utf-8").splitlines() if line]
    starts = {(row["language"], row["seed"]): row for row in lines if row["chain"] == "start"}
    chains: dict[str, dict[tuple[str, int], dict[int, dict[str, Any]]]] = defaultdict(dict)
    for row in lines:
        if row["chain"] != "start":
            key = (row["language"], row["seed"])
            chains[row["chain"]].setdefault(key, {0: starts[key]})[row["period"]] = row
    whole = {name: {key: own for key, own in runs.items() if len(own) == len(PERIODS)} for name, runs in chains.items()}
    return {name: runs for name, runs in whole.items() if runs}


def measure(runs: Mapping[tuple[str, int], Mapping[int, Mapping[str, Any]]], metric: str) -> Measured:
    """Gather a metric's rows over languages and seeds."""
    tops: list[float] = []
    bottoms: list[float] = []
    units: list[tuple[str, int, str, int]] = []
    for (language, seed), run in sorted(runs.items()):
        scores = {t: {name: np.array(values, float) for name, values in run[t]["scores"].items()} for t in PERIODS}
        for test in [*map(str, PERIODS), "en"]:
            p = 5 if test == "en" else int(test)
            after = [
                scores[t][test]
                if metric in ("accuracy at the end", "over time", "new usage", "English at the end")
                else scores[p][test] - scores[t][test]
                for t in _looks(metric, p)
            ]
            if not after:
                continue
            n = len(after[0])
            tops += (np.sum(after, axis=0) / n).tolist()
            bottoms += [len(after) / n] * n
            units += [(language, seed, test, i) for i in range(n)]
    return Measured(np.array(tops), np.array(bottoms), tuple(units))


def _looks(metric: str, p: int) -> Sequence[int]:
    """Return the periods after which test p (5: English) counts for a metric."""
    if metric == "English at the end":
        return (4,) if p == 5 else ()
    if p == 5:
        return ()
    if metric == "accuracy at the end":
        return (4,)
    if metric == "over time":
        return [t for t in PERIODS if t >= p]
    if metric == "forgetting":
        return [t for t in PERIODS if t > p]
    return (p,) if p in UPDATED else ()


def interval(measured: Measured) -> Interval:
    return ratio_interval(measured.tops, measured.bottoms, draws=DRAWS, confidence=0.95, seed=0)


def cost(runs: Mapping[tuple[str, int], Mapping[int, Mapping[str, Any]]]) -> dict[str, float]:
    """Return rows, optimiser steps and seconds of training of a chain's updates, median over languages and seeds."""
    sums = [
        {
            "rows": sum(row.get("rows", 0) for t, row in run.items() if t),
            "steps": sum(row.get("steps", 0) for t, row in run.items() if t),
            "seconds": sum(row.get("train_seconds", 0.0) for t, row in run.items() if t),
        }
        for run in runs.values()
    ]
    return {name: float(np.median([own[name] for own in sums])) for name in STATIC_COST}


def compare(chains: Mapping[str, Any], one: str, two: str, metric: str) -> tuple[Interval, float, int]:
    """Return one - two with its interval and p, over the languages and seeds that both have."""
    both = sorted(chains[one].keys() & chains[two].keys())
    a, b = (measure({key: chains[name][key] for key in both}, metric) for name in (one, two))
    pair = ((b.tops, b.bottoms), (a.tops, a.bottoms))
    found = paired_difference(*pair, draws=DRAWS, confidence=0.95, seed=0)
    return found, permutation_test(*pair, seed=0).p_value, len(both)


def show(chains: Mapping[str, Any], pairs: Sequence[tuple[str, str]]) -> None:
    console = Console(width=170)
    table = Table("chain", "runs", *METRICS, "rows", "steps", "train s")
    for name, runs in chains.items():
        values = [interval(measure(runs, metric)) for metric in METRICS]
        own = cost(runs)
        table.add_row(
            name, str(len(runs)), *(f"{v.value:.3f} [{v.low:.3f}, {v.high:.3f}]" for v in values),
            f"{own['rows']:.0f}", f"{own['steps']:.0f}", f"{own['seconds']:.0f}",
        )  # fmt: skip
    console.print(table)
    for metric in METRICS[:4]:
        results = {
            f"{one} - {two}": compare(chains, one, two, metric) for one, two in pairs if {one, two} <= set(chains)
        }
        corrected = holm({name: p for name, (_, p, _) in results.items()})
        table = Table(metric, "runs", "difference", "p", "p, Holm")
        for name, (found, p, n) in results.items():
            table.add_row(name, str(n), f"{found.value:+.3f} [{found.low:+.3f}, {found.high:+.3f}]", f"{p:.4f}",
                          f"{corrected[name]:.4f}")  # fmt: skip
        console.print(table)


def grid(runs: Mapping[tuple[str, int], Mapping[int, Mapping[str, Any]]]) -> np.ndarray:
    """Return accuracy by (period lived through, test), (5, 6), mean over languages and seeds."""
    tests = [*map(str, PERIODS), "en"]
    return np.array(
        [[np.mean([np.mean(run[t]["scores"][test]) for run in runs.values()]) for test in tests] for t in PERIODS]
    )


def page(chains: Mapping[str, Any], path: Path) -> None:
    """Write the heat maps, one for each chain, and the table of metrics as one HTML file."""
    import plotly.graph_objects as go

    from compass.report.blocks import Chart, Charts, Section, table
    from compass.report.html import render_page, write_page

    charts = []
    for name, runs in chains.items():
        values = grid(runs)
        text = [[f"{100 * value:.0f}" for value in row] for row in values]
        figure = go.Figure(
            go.Heatmap(
                x=list(NAMES), y=[f"after {n}" for n in NAMES[:5]], z=np.round(values, 4).tolist(), zmin=0, zmax=1,
                colorscale=[[0, "rgba(12,155,118,0.04)"], [1, "rgba(12,155,118,0.85)"]], showscale=False, xgap=2,
                ygap=2, text=text, texttemplate="%{text}", hovertemplate="%{y}, test of %{x}: %{text} %<extra></extra>",
            )
        )  # fmt: skip
        figure.update_layout(height=260, margin={"l": 120, "r": 10, "t": 60, "b": 10})
        figure.update_xaxes(side="top", showgrid=False, tickangle=-30)
        figure.update_yaxes(autorange="reversed", showgrid=False)
        charts.append(
            Chart(
                id=f"chain-{name}", title=name,
                summary=f"Exact answers in per cent, mean of {len(runs)} runs; down: after each period; across: tests.",
                figure=figure,
                table=table("The numbers", ["after", *(f"#{n}" for n in NAMES)],
                            [[NAMES[t], *text[t]] for t in PERIODS], collapsed=True),
            )
        )  # fmt: skip
    rows = []
    for name, runs in chains.items():
        found = [interval(measure(runs, metric)) for metric in METRICS]
        own = cost(runs)
        shown = [f"{100 * v.value:.1f} ({100 * v.low:.1f} to {100 * v.high:.1f})" for v in found]
        rows.append([name, str(len(runs)), *shown, f"{own['seconds']:.0f}"])
    columns = ("update", "#runs", *(f"#{metric}, %" for metric in METRICS), "#training, s")
    parts = (
        Section("metrics", "Metrics", "What was learned, what was kept", (table("All ways to update", columns, rows),)),
        Section("maps", "Heat maps", "Each period's test after each period", (Charts(tuple(charts)),)),
    )
    write_page(path, render_page("COMPASS continual experiment", "Results", path.parent.name, parts))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path, nargs="?", default=Path("runs/continual/results.jsonl"))
    parser.add_argument("--chains", nargs="+", default=[], help="Chains to show, in this order; all by default.")
    parser.add_argument("--html", type=Path, help="Write the heat maps here.")
    parser.add_argument("--maps", action="store_true", help="Print the heat maps' numbers.")
    options = parser.parse_args()
    chains = read(options.results)
    chains = {name: chains[name] for name in options.chains or chains if name in chains}
    show(chains, [(name, "naive") for name in chains if name != "naive"] + [("ecda", "retrain"), ("ecda", "replay")])
    if options.maps:
        for name, runs in chains.items():
            print(name, len(runs))
            print(np.round(grid(runs), 2))
    if options.html:
        page(chains, options.html)
        print(options.html)


if __name__ == "__main__":
    main()
