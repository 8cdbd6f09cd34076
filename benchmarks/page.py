"""The page of figures that docs show, and its chart: drawn from what `run.py` measured."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

import costs
import peers
import trainers

HEADINGS = {
    "encoders": "The embedded encoder",
    "selection": "From vectors on disk to picks",
    "monitor": "The drift monitor",
    "redaction": "Private data",
}
WHY = {
    "clean": "Linear in rows: hashes and shingles of each; near duplicates are found by bands of a hash table.",
    "fit": "Rows times clusters times dimensions, as in k-means. A run fits on at most 20,000 pool rows "
    "(`--fit-sample`), so the cost stops growing there.",
    "place": "One pass over the rows: subtract the language offsets, and multiply with all centroids.",
    "compass": "One pass over the rows: products with usage, and bounds of densities. Densities are taken against a "
    "sample of 5,000 rows, a fixed cost that weighs more in small pools.",
    "nearest": "One product of usage and pool.",
    "tsds": "One product of usage and pool, then the density of the rows that usage is transported to: against all "
    "rows that usage reaches, or a sample of 20,000 of them.",
    "crisp": "Counts of clusters and a draw, which cost almost nothing.",
    "write": "Half of it is the report's map (t-SNE of 600 rows, with the others placed around them), whatever the "
    "size of the pool.",
}
WIDTH, HEIGHT, LEFT, BOTTOM = 640, 380, 60, 40
COLOURS = ("#0b6e99", "#c4561e", "#3a7d34", "#8a4fa3", "#b3932b", "#555555", "#1aa6a6", "#d14d72")


def page(found: Mapping[str, Any], titles: Mapping[str, Mapping[str, str]]) -> str:
    """Return the page. found: what `run.py` writes; titles: figures of each benchmark and how they are called."""
    machine = ", ".join(f"{name} {value}" for name, value in found.get("machine", {}).items() if value)
    out = [
        "# Performance",
        "",
        "How long each part takes, how much memory it needs, and how both grow with the input. `benchmarks/run.py` "
        "writes this page. Seconds are processor seconds, and rates are per processor second. Other work on the "
        "machine makes them longer only by the caches and the memory that it takes. Figures are medians, with the "
        "range of several runs in brackets.",
        "",
        f"Machine: {machine}.",
        "",
    ]
    for name, figures in found.get("figures", {}).items():
        out += [f"## {HEADINGS[name]}", "", f"`benchmarks/{name}.py`", "", "| | |", "| --- | --- |"]
        out += [f"| {titles[name][key]} | {_with_range(value)} |" for key, value in figures.items()]
        out.append("")
    if found.get("costs"):
        out += _costs(found["costs"])
    if found.get("peers"):
        out += [
            "## Compared with other packages", "",
            "`benchmarks/peers.py` does the same job on the same data. The ratio is the peer's time divided by ours: "
            "above 1, ours is faster.", "", peers.table(found["peers"]), "",
        ]  # fmt: skip
        out += [*_ahead(found["peers"]), ""]
    if found.get("trainers"):
        out += [
            "## Training on a CPU", "",
            "`benchmarks/trainers.py` trains Gemma 3 270M on the same rows with each package, on one thread: LoRA of "
            "rank 16, 30 steps of 8 rows. Seconds are processor seconds. Rows come in another order in each, and ours "
            "warms up: the losses show that all of them learn, and compare nothing.", "",
            trainers.table(found["trainers"]), "",
        ]  # fmt: skip
    return "\n".join(out)


def _ahead(results: Sequence[Mapping[str, Any]]) -> list[str]:
    """Say of each peer that takes less time than ours that it does."""
    seconds: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for result in results:
        seconds[result["job"]][result["name"]].append(result["seconds"])
    told = []
    for job, names in seconds.items():
        own = median(names.get("compass", [0.0]))
        for name, values in names.items():
            if median(values) < own:
                told.append(f"- Faster than ours on {job}: {name}, in {median(values) / own:.2f} of the time.")
    return told or ["None of them takes less time than ours."]


def _with_range(value: Mapping[str, float]) -> str:
    shown = _number(value["median"])
    return f"{shown} ({_number(value['low'])}–{_number(value['high'])})" if value["runs"] > 1 else shown


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _costs(results: Sequence[Mapping[str, Any]]) -> list[str]:
    stages = dict.fromkeys(stage for result in results for stage in result["costs"])
    return [
        "## What each stage costs as its input grows", "",
        "`benchmarks/costs.py` changes one factor at a time. Columns are sizes, and cells are processor seconds. The "
        "slope is that of log time on log size over the larger half of the sizes: 1 is linear, and at 0 the size "
        "doesn't matter. GiB is the highest peak.", "",
        "![Seconds of each stage against rows of the pool](performance.svg)", "",
        costs.table([dict(result) for result in results]), "",
        *(f"- **{stage}**: {WHY[stage]}" for stage in stages if stage in WHY), "",
    ]  # fmt: skip


def figure(results: Sequence[Mapping[str, Any]]) -> str:
    """Return a chart as SVG: processor seconds of each stage against rows of the pool, both on log scales."""
    series: dict[str, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    for result in results:
        if result["factor"] == "pool":
            for stage, cost in result["costs"].items():
                series[stage][result["size"]["pool"]].append(max(cost["seconds"], 1e-3))
    points = {stage: {n: median(own) for n, own in sorted(sizes.items())} for stage, sizes in series.items()}
    xs = sorted({n for sizes in points.values() for n in sizes}) or [1, 10]
    ys = [value for sizes in points.values() for value in sizes.values()] or [1.0]
    low, high = math.floor(math.log10(min(ys))), max(math.ceil(math.log10(max(ys))), 1)

    def place(n: float, seconds: float) -> tuple[float, float]:
        along = math.log10(n / xs[0]) / max(math.log10(xs[-1] / xs[0]), 1e-9)
        up = (math.log10(seconds) - low) / (high - low)
        return LEFT + along * (WIDTH - LEFT - 130), HEIGHT - BOTTOM - up * (HEIGHT - BOTTOM - 20)

    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        'font-family="sans-serif" font-size="12">',
        "<title>Seconds of each stage against rows of the pool</title>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
    ]
    for exponent in range(low, high + 1):
        _, y = place(xs[0], 10.0**exponent)
        out.append(f'<path d="M{LEFT} {y:.1f}H{WIDTH - 130}" stroke="#ddd"/>')
        out.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{10.0**exponent:g} s</text>')
    for n in xs:
        x, _ = place(n, 10.0**low)
        out.append(f'<text x="{x:.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{n:,}</text>')
    last: list[float] = []
    for colour, (stage, sizes) in zip(COLOURS, points.items(), strict=False):
        at = [place(n, seconds) for n, seconds in sizes.items()]
        line = "L".join(f"{x:.1f} {y:.1f}" for x, y in at)
        out.append(f'<path d="M{line}" fill="none" stroke="{colour}" stroke-width="2"/>')
        out += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in at]
        y = at[-1][1] + 4
        while any(abs(y - other) < 13 for other in last):
            y += 4
        last.append(y)
        out.append(f'<text x="{at[-1][0] + 8:.1f}" y="{y:.1f}" fill="{colour}">{stage}</text>')
    return "\n".join([*out, "</svg>", ""])
