"""Small charts as SVG, without a script and without texts in them, so that they stretch to any width.

What a chart shows stands beside it in words and in a table; colours are classes of `dashboard.css`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from markupsafe import Markup, escape

from compass.dashboard.words import at_time, percent
from compass.drift.reading import Block
from compass.drift.results import Check

WIDTH, HEIGHT = 1000.0, 300.0
COLOURS = 7
"""Topics with a colour of their own; the others are one."""
OTHERS = "all other topics"


def sparkline(values: Sequence[int], words: str) -> Markup:
    """Draw counts as an area. words: what it says, for those who don't see it."""
    top = max(1, *values) if values else 1
    step = WIDTH / max(1, len(values) - 1)
    points = [f"{i * step:.0f} {100 - 92 * value / top:.1f}" for i, value in enumerate(values)]
    line = "M" + "L".join(points)
    return _svg("spark", 100, words, f'<path class="under" d="{line}V100H0z"/><path class="line" d="{line}"/>')


def interval(value: float, low: float, high: float, words: str, before: float | None = None) -> Markup:
    """Draw a share with its interval on a line from 0 to 1; before: of the base model."""
    place, left, right = (f"{WIDTH * min(max(x, 0.0), 1.0):.0f}" for x in (value, low, high))
    marks = f'<path class="track" d="M0 50H{WIDTH:.0f}"/>'
    if before is not None:
        marks += f'<path class="was" d="M{WIDTH * min(max(before, 0.0), 1.0):.0f} 15V85"/>'
    marks += f'<path class="range" d="M{left} 50H{right}"/><path class="dot" d="M{place} 50h0"/>'
    return _svg("interval", 100, words, marks)


def stacked(blocks: Sequence[Block], order: Sequence[int], words: str) -> Markup:
    """Draw shares of topics over time. order: clusters from the bottom up; all that are not named lie on top."""
    if not blocks:
        return Markup("")
    shown = [*blocks, blocks[-1]] if len(blocks) == 1 else list(blocks)
    step = WIDTH / (len(shown) - 1)
    lower = [0.0] * len(shown)
    paths = []
    for place, cluster in enumerate([*order, None]):
        upper = []
        for i, block in enumerate(shown):
            total = sum(block.counts) or 1
            share = block.counts[cluster] / total if cluster is not None else 1.0 - lower[i]
            upper.append(min(1.0, lower[i] + share))
        there = "L".join(f"{i * step:.1f} {HEIGHT * (1 - y):.1f}" for i, y in enumerate(upper))
        back = "L".join(f"{i * step:.1f} {HEIGHT * (1 - y):.1f}" for i, y in reversed(list(enumerate(lower))))
        colour = f"c{place}" if cluster is not None else "rest"
        paths.append(f'<path class="area {colour}" d="M{there}L{back}z"/>')
        lower = upper
    return _svg("stacked", HEIGHT, words, "".join(paths))


def statistic(checks: Sequence[Check], words: str) -> Markup:
    """Draw what a test measured against its threshold; alarms are dots."""
    rows = [check for check in checks if math.isfinite(check.value)]
    if not rows:
        return Markup("")
    limits = [check.threshold for check in rows if check.threshold is not None and math.isfinite(check.threshold)]
    top = 1.15 * max([check.value for check in rows] + limits) or 1.0
    step = WIDTH / max(1, len(rows) - 1)

    def y(value: float) -> str:
        return f"{HEIGHT * (1 - value / top):.1f}"

    marks = ""
    if limits:
        edges = [(i, check.threshold) for i, check in enumerate(rows) if check.threshold is not None]
        line = "L".join(f"{i * step:.1f} {y(limit)}" for i, limit in edges)
        marks += f'<path class="limit" d="M{line}{f"H{WIDTH:.0f}" if len(edges) == 1 else ""}"/>'
    line = "L".join(f"{i * step:.1f} {y(check.value)}" for i, check in enumerate(rows))
    marks += f'<path class="line" d="M{line}"/>'
    dots = "".join(f"M{i * step:.1f} {y(check.value)}h0" for i, check in enumerate(rows) if check.alarm)
    marks += f'<path class="alarm" d="{dots}"/>' if dots else ""
    last = rows[-1]
    marks += f'<path class="now" d="M{(len(rows) - 1) * step:.1f} {y(last.value)}h0"/>'
    return _svg("statistic", HEIGHT, words, marks)


def map_of(
    usage: Sequence[tuple[float, float]], others: Sequence[tuple[float, float]],
    live: Sequence[tuple[float, float, str]], words: str,
) -> Markup:  # fmt: skip
    """Draw points of the space. live: points with what a pointer over them shows, empty for nothing."""
    points = [*usage, *others, *((x, y) for x, y, _ in live)]
    if not points:
        return Markup("")
    left, right = min(p[0] for p in points), max(p[0] for p in points)
    low, high = min(p[1] for p in points), max(p[1] for p in points)
    side, tall = right - left or 1.0, high - low or 1.0

    def place(x: float, y: float) -> str:
        return f"M{20 + 960 * (x - left) / side:.0f} {20 + 560 * (high - y) / tall:.0f}h0"

    marks = f'<path class="p-pool" d="{"".join(place(x, y) for x, y in others)}"/>' if others else ""
    marks += f'<path class="p-usage" d="{"".join(place(x, y) for x, y in usage)}"/>' if usage else ""
    marks += "".join(
        f'<path class="p-live" d="{place(x, y)}">{f"<title>{escape(text)}</title>" if text else ""}</path>'
        for x, y, text in live
    )
    return _svg("map", 600, words, marks, stretched=False)


def largest(blocks: Sequence[Block]) -> list[int]:
    """Return the clusters that had most prompts, the largest first, as many as there are colours."""
    if not blocks:
        return []
    totals = [sum(counts) for counts in zip(*(block.counts for block in blocks), strict=True)]
    order = sorted(range(len(totals)), key=lambda cluster: -totals[cluster])
    return [cluster for cluster in order if totals[cluster]][:COLOURS]


def in_words(blocks: Sequence[Block], order: Sequence[int], names: Sequence[str]) -> str:
    """Say what the stacked chart shows: the shares of its first and its last block."""
    if not blocks:
        return ""
    first, last = blocks[0], blocks[-1]
    parts = [
        f"{name} {percent(first.counts[k] / (sum(first.counts) or 1))} to "
        f"{percent(last.counts[k] / (sum(last.counts) or 1))}"
        for k, name in zip(order, names, strict=False)
    ]
    span = f" from {at_time(first.at)} to {at_time(last.at)}" if first.at and last.at else ""
    return f"Shares of topics{span}: {'; '.join(parts)}"


def _svg(kind: str, height: float, words: str, marks: str, *, stretched: bool = True) -> Markup:
    ratio = ' preserveAspectRatio="none"' if stretched else ""
    return Markup(
        f'<svg class="chart {kind}" viewBox="0 0 {WIDTH:.0f} {height:.0f}"{ratio} role="img" '
        f'aria-label="{escape(words)}">{marks}</svg>'
    )
