"""The figure of docs/evidence.md, from the scores that are kept: strategies by budget in four kinds of data.

    python experiments/evidence_figure.py docs/images/evidence.svg

Each mark is a strategy less `random`, which was trained on the same draws, with a 95 % t interval over trainings: pairs
of a language and a seed. A panel without results says so. The file reads well on light and on dark pages.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape

import numpy as np
import pyarrow.parquet as pq
from scipy.stats import t

RESULTS = Path(__file__).parent / "evidence" / "results"
COLOURS = {"compass": "#0c9b76", "tsds": "#2b83c6", "crisp": "#b8860b", "nearest": "#d55e00", "target-only": "#8c6bb1"}
"""The strategies of the figure: the default, its three nearest rivals, and no picks at all."""
WIDTH, HEIGHT = 900, 600
PANEL = (370, 215)
LEFT, TOP = 62, 62
APART = (440, 285)
"""Distance of the panels' corners."""
STYLE = """text { font: 12px system-ui, sans-serif; fill: #424a53 }
.title { font-weight: 600; font-size: 14px }
.axis { stroke: #8c959f; stroke-width: 1 }
.zero { stroke: #8c959f; stroke-width: 1.5; stroke-dasharray: 5 4 }
@media (prefers-color-scheme: dark) { text { fill: #d0d7de } }"""


@dataclass(frozen=True)
class Panel:
    """One kind of data: its results, its score, and which way is better."""

    results: Mapping[str, str]
    """Folder of results -> what sets its trainings apart from those of the others, nothing where there is one."""
    title: str
    score: str
    axis: str
    scale: float


PANELS = (
    Panel({"assist": ""}, "Classes, usage not covered", "exact", "points of exact match", 100),
    Panel({"mixed": "54 steps", "mixed-long": "116 steps"}, "Classes, usage half covered", "exact",
          "points of exact match", 100),
    Panel({"sib200": ""}, "Topics", "exact", "points of exact match", 100),
    Panel({"tldr": ""}, "Free text", "loss", "loss saved, .001 nats per byte", -1000),
)  # fmt: skip
OFF_THE_SCALE = 10
"""A mark this many times as far from zero as the middle one is written beside an arrow, and does not set the axis."""


@dataclass(frozen=True)
class Mark:
    """A strategy less `random` at one budget."""

    value: float
    half: float
    """Half of the interval; nan for a single training."""
    trainings: int


def marks(folder: Path, score: str, scale: float) -> dict[tuple[str, int], Mark]:
    """Return (strategy, budget) -> its mark, of the strategies of the figure that were trained."""
    if not (folder / "rows.parquet").is_file():
        return {}
    keys = ["strategy", "budget", "language", "seed"]
    table = pq.read_table(folder / "rows.parquet", columns=[*keys, score])
    means = table.group_by(keys).aggregate([(score, "mean")]).to_pylist()
    cells: dict[tuple[str, int], dict[tuple[str, int], float]] = defaultdict(dict)
    for row in means:
        cells[row["strategy"], row["budget"]][row["language"], row["seed"]] = row[f"{score}_mean"]
    found = {}
    for (strategy, budget), own in sorted(cells.items(), key=lambda cell: cell[0][::-1]):
        drawn = cells.get(("random", budget), {})
        pairs = np.array([scale * (own[place] - drawn[place]) for place in sorted(own.keys() & drawn.keys())])
        if strategy in COLOURS and len(pairs):
            n = len(pairs)
            half = t.ppf(0.975, n - 1) * pairs.std(ddof=1) / n**0.5 if n > 1 else float("nan")
            found[strategy, budget] = Mark(float(pairs.mean()), float(half), n)
    return found


def figure(results: Path = RESULTS) -> str:
    """Return the figure as SVG."""
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">',
        "<title>Strategies less a random draw, by budget, in four kinds of data</title>",
        f"<style>{STYLE}</style>",
        *_legend(),
    ]
    for place, panel in enumerate(PANELS):
        left, top = LEFT + APART[0] * (place % 2), TOP + APART[1] * (place // 2)
        found = {
            (strategy, f"{budget:,} tokens" + (f", {apart}" if apart else "")): mark
            for name, apart in panel.results.items()
            for (strategy, budget), mark in marks(results / name, panel.score, panel.scale).items()
        }
        parts += _panel(panel, found, left, top)
    return "\n".join([*parts, "</svg>"]) + "\n"


def _legend() -> list[str]:
    parts = []
    for place, (name, colour) in enumerate([*COLOURS.items(), ("random = 0", "")]):
        x = LEFT + 130 * place
        sign = (
            f'<circle cx="{x + 6}" cy="18" r="5" fill="{colour}"/>'
            if colour
            else f'<line class="zero" x1="{x - 4}" y1="18" x2="{x + 14}" y2="18"/>'
        )
        parts += [sign, f'<text x="{x + 18}" y="22">{escape(name)}</text>']
    return parts


def _panel(panel: Panel, found: Mapping[tuple[str, str], Mark], left: float, top: float) -> list[str]:
    width, height = PANEL
    trained = sorted({mark.trainings for mark in found.values()})
    several = " to ".join(map(str, dict.fromkeys((trained[0], trained[-1])))) if trained else ""
    counts = f": {several} training runs each" if trained else ""
    parts = [f'<text class="title" x="{left}" y="{top - 10}">{escape(panel.title)}{counts}</text>']
    if not found:
        middle = f'x="{left + width / 2}" y="{top + height / 2}"'
        frame = f'x="{left}" y="{top}" width="{width}" height="{height}" fill="none"'
        return [*parts, f'<rect class="axis" {frame}/>', f'<text {middle} text-anchor="middle">not trained</text>']
    groups = list(dict.fromkeys(group for _, group in found))
    furthest = OFF_THE_SCALE * np.median([abs(mark.value) for mark in found.values()])
    ends = [m.value + s * np.nan_to_num(m.half) for m in found.values() for s in (-1, 1) if abs(m.value) <= furthest]
    low, high, step = _range(min(0.0, *ends), max(0.0, *ends))

    def y_of(value: float) -> float:
        return round(top + height * (high - value) / (high - low), 1)

    parts.append(f'<line class="axis" x1="{left}" y1="{top}" x2="{left}" y2="{top + height}"/>')
    for tick in np.arange(low, high + step / 2, step):
        y, text = y_of(float(tick)), f"{tick:+g}".replace("-", "−") if tick else "0"
        parts += [
            f'<line class="axis" x1="{left - 4}" y1="{y}" x2="{left}" y2="{y}"/>',
            f'<text x="{left - 8}" y="{y + 4}" text-anchor="end">{text}</text>',
        ]
    parts.append(f'<line class="zero" x1="{left}" y1="{y_of(0.0)}" x2="{left + width}" y2="{y_of(0.0)}"/>')
    parts.append(
        f'<text transform="translate({left - 42} {top + height / 2}) rotate(-90)" text-anchor="middle">'
        f"{escape(panel.axis)}</text>"
    )
    for i, group in enumerate(groups):
        centre = left + width * (i + 0.5) / len(groups)
        under = f'x="{centre:.1f}" y="{top + height + 18}" text-anchor="middle"'
        parts.append(f"<text {under}>{group}</text>")
        names = [name for name in COLOURS if (name, group) in found]
        for j, name in enumerate(names):
            mark, x = found[name, group], centre + 18 * (j - (len(names) - 1) / 2)
            if abs(mark.value) <= furthest:
                parts += _mark(mark, COLOURS[name], x, y_of)
            else:
                parts += _off_the_scale(mark, COLOURS[name], x, top if mark.value > 0 else top + height)
    return parts


def _mark(mark: Mark, colour: str, x: float, y_of: object) -> list[str]:
    assert callable(y_of)
    parts = [f'<circle cx="{x:.1f}" cy="{y_of(mark.value)}" r="5" fill="{colour}"/>']
    if np.isfinite(mark.half):
        ends = f'y1="{y_of(mark.value - mark.half)}" x2="{x:.1f}" y2="{y_of(mark.value + mark.half)}"'
        parts.append(f'<line x1="{x:.1f}" {ends} stroke="{colour}" stroke-width="2"/>')
    return parts


def _off_the_scale(mark: Mark, colour: str, x: float, edge: float) -> list[str]:
    """Return an arrow to the edge of the panel, and the value that lies beyond it."""
    inwards = 12 if mark.value > 0 else -12
    points = f"{x - 6:.1f},{edge + inwards} {x + 6:.1f},{edge + inwards} {x:.1f},{edge}"
    text = f"{mark.value:+.0f} ± {mark.half:.0f}".replace("-", "−")
    return [
        f'<polygon points="{points}" fill="{colour}"/>',
        f'<text x="{x + 10:.1f}" y="{edge + inwards / 2}">{text}</text>',
    ]


def _range(low: float, high: float) -> tuple[float, float, float]:
    """Return ends of an axis that hold both, and the distance of its ticks, all round numbers."""
    rough = max(high - low, 1e-9) / 5
    power = 10.0 ** np.floor(np.log10(rough))
    step = float(power * next(factor for factor in (1, 2, 5, 10) if factor * power >= rough))
    return float(np.floor(low / step) * step), float(np.ceil(high / step) * step), step


def main(given: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path)
    parser.add_argument("--results", type=Path, default=RESULTS, help="where results are kept")
    arguments = parser.parse_args(given)
    arguments.output.write_text(figure(arguments.results), "utf-8")


if __name__ == "__main__":
    main()
