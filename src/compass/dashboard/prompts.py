"""Prompts that the monitor keeps, as the pages show them: to be labelled, and on the map. No text is shown in full."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from compass.dashboard.places import DAY, Places
from compass.dashboard.state import LanguageView
from compass.dashboard.words import plural
from compass.drift.reading import Kept, read_kept_rows
from compass.drift.reservoir import redacted
from compass.errors import CompassError, MonitorError
from compass.report.load import Point, load_map
from compass.runs import layout

MOST_LISTED, MOST_READ, MOST_OTHERS = 12, 300, 1500
BLOCKS_DRAWN = 3
"""Latest blocks whose prompts are drawn where none are kept."""
LONGEST_SHOWN = 400
"""Characters of a prompt that a page shows."""


@dataclass(frozen=True)
class Shown:
    """A kept prompt, private data replaced."""

    id: int
    text: str
    topic: str
    cluster: int
    at: float
    marked_by: str
    why: str = ""


@dataclass(frozen=True)
class Labels:
    """Prompts that somebody should label: the marked ones, and those that are suggested."""

    prompts: tuple[Shown, ...] = ()
    n_kept: int = 0
    problem: str = ""
    rule: str = ""
    """How they were chosen, in words."""

    @property
    def n_marked(self) -> int:
        """Prompts that are marked."""
        return sum(bool(prompt.marked_by) for prompt in self.prompts)


@dataclass(frozen=True)
class MapPoints:
    """The points of a run's map."""

    usage: tuple[tuple[float, float], ...]
    others: tuple[tuple[float, float], ...]
    by_cluster: dict[int, tuple[tuple[float, float], ...]] = field(default_factory=dict)


def labels(places: Places, view: LanguageView) -> Labels:
    """Return which kept prompts to label: the marked ones, those that the rule of `compass label` chose at the latest
    drift, and then some of every topic, those first that are asked for more often than before."""
    if view.watched is None:
        return Labels()
    try:
        kept = _kept(places, view.tag)
    except (MonitorError, OSError) as error:
        return Labels(n_kept=view.watched.n_kept, problem=str(error))
    grew = _growth(view)
    marked = [row for row in kept if row.marked_by]
    chosen = sorted((row for row in kept if row.stands_for and not row.marked_by), key=lambda row: -row.stands_for)
    free = [*chosen, *_spread([row for row in kept if not row.marked_by and not row.stands_for], grew)][:MOST_LISTED]
    shown = []
    for row in [*marked, *free]:
        text = _text(row, view.tag)
        if text:
            topic = view.topics[row.cluster] if 0 <= row.cluster < len(view.topics) else ""
            more = grew.get(row.cluster, 0.0)
            why = f"asked {100 * more:.0f} points more often than before" if more >= 0.01 else ""
            if row.stands_for:
                why = f"stands for {plural(row.stands_for, 'kept prompt')}"
            shown.append(Shown(row.id, text, topic, row.cluster, row.at, row.marked_by, why))
    rule = "topics that are asked for more often than before come first"
    if chosen:
        rule = "those that compass label would choose come first"
    return Labels(tuple(shown), view.watched.n_kept, rule=rule)


def live_points(places: Places, view: LanguageView, points: MapPoints) -> list[tuple[float, float, str]]:
    """Return live prompts as points, each within its topic, with its text where that may be shown.

    They are the kept ones; where none are kept, as many as the latest blocks counted, without texts.
    """
    try:
        kept = _kept(places, view.tag)
    except (MonitorError, OSError):
        kept = []
    if kept:
        drawn = [(random.Random(row.id), row.cluster, _text(row, view.tag)) for row in kept]
    else:
        blocks = view.watched.blocks[-BLOCKS_DRAWN:] if view.watched else ()
        counts = [(block.prompts, k, n) for block in blocks for k, n in enumerate(block.counts)]
        drawn = [(random.Random(f"{at} {k} {i}"), k, "") for at, k, n in counts for i in range(n)]
    found = []
    for draw, cluster, text in drawn:
        near = points.by_cluster.get(cluster)
        if near:
            # Where within its topic it lies is not known: the same prompt is always at the same point.
            (x, y), (u, v) = draw.choice(near), draw.choice(near)
            part = 0.5 * draw.random()
            found.append((x + part * (u - x), y + part * (v - y), text))
    return found


def map_points(places: Places, tag: str, version: str) -> MapPoints | None:
    """Return the points of a version's map; None where it has none, or they can't be read."""
    folder = places.registry.folder(tag) / "versions" / version / "run"
    try:
        stamp = (folder / layout.MAP).stat().st_mtime_ns
        return _points(folder, stamp)
    except (CompassError, OSError, ValueError, ImportError):
        return None


@lru_cache(maxsize=32)
def _points(folder: Path, _stamp: int) -> MapPoints | None:
    found, _ = load_map(folder)
    usage = [point for point in found if point.set == "usage"]
    others = [point for point in found if point.set != "usage"]
    asked = {point.cluster for point in usage}
    by_cluster: dict[int, list[tuple[float, float]]] = defaultdict(list)
    for point in (*usage, *(point for point in others if point.cluster not in asked)):
        by_cluster[point.cluster].append((point.x, point.y))
    thinned = others[:: max(1, len(others) // MOST_OTHERS)]
    return MapPoints(_pairs(usage), _pairs(thinned), {k: tuple(v) for k, v in by_cluster.items()}) if found else None


def _pairs(points: Sequence[Point]) -> tuple[tuple[float, float], ...]:
    return tuple((point.x, point.y) for point in points)


def _kept(places: Places, tag: str) -> list[Kept]:
    import time

    oldest = time.time() - places.retention_days * DAY
    return read_kept_rows(places.monitor(tag), places.monitors(tag), tag, oldest=oldest, most=MOST_READ)


def _text(row: Kept, tag: str) -> str:
    """Return a text as it may be shown; empty where private data in it can't be replaced."""
    text = _redacted(row.text, tag) if row.mode == "full" else row.text
    return text if len(text) <= LONGEST_SHOWN else f"{text[: LONGEST_SHOWN - 1]}…"


@lru_cache(maxsize=2048)
def _redacted(text: str, tag: str) -> str:
    return next(iter(redacted([text], tag)), "")


def _growth(view: LanguageView) -> dict[int, float]:
    """Return by how much the share of each topic grew, from the latest drift; empty where there is none."""
    for event in reversed(view.watched.events if view.watched else ()):
        explanation = event.get("explanation")
        if event.get("stream") == view.tag and isinstance(explanation, dict):
            grew = explanation.get("grew")
            return {
                int(shift["cluster"]): float(shift["change"])
                for shift in (grew if isinstance(grew, list) else ())
                if isinstance(shift, dict) and isinstance(shift.get("change"), float | int)
            }
    return {}


def _spread(rows: Sequence[Kept], grew: dict[int, float]) -> list[Kept]:
    """Return prompts by turns over their topics, those that grew the most first, so that none has the whole list."""
    by_topic: dict[int, list[Kept]] = defaultdict(list)
    seen: set[str] = set()
    for row in rows:
        if row.text not in seen:
            seen.add(row.text)
            by_topic[row.cluster].append(row)
    order = sorted(by_topic, key=lambda cluster: (-grew.get(cluster, 0.0), -len(by_topic[cluster])))
    turns = max(map(len, by_topic.values()), default=0)
    return [by_topic[cluster][turn] for turn in range(turns) for cluster in order if turn < len(by_topic[cluster])]
