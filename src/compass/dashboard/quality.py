"""How good a version is: its run's main test, and what the gate would say of a candidate now."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass

from compass.config import GateConfig
from compass.errors import CompassError
from compass.recipes.promote import held_out_sets
from compass.records import Interval
from compass.registry import GateDecision, Registry, Version, decide
from compass.report import wording
from compass.report.load import load_scores
from compass.report.view import View
from compass.runs import layout

MOST_KEPT = 500


@dataclass(frozen=True)
class Quality:
    """A version on the largest test in its own language, before and after."""

    test: str
    rows: int
    metric: str
    value: Interval
    before: Interval | None
    """The base model on the same rows."""
    change: str
    """The paired difference in words; empty where there is none."""
    tone: str

    @property
    def title(self) -> str:
        """Name of the metric."""
        return wording.metric(self.metric).title

    @property
    def shown(self) -> str:
        """The value with its interval."""
        return wording.with_interval(self.metric, self.value)

    @property
    def short(self) -> str:
        """The value alone."""
        return wording.measured(self.metric, self.value.value)

    @property
    def is_share(self) -> bool:
        """Whether it lies in [0, 1], so that a bar can show it."""
        return wording.metric(self.metric).as_percent


class Qualities:
    """Remembers what was read: a version never changes, but its folder may be lost."""

    def __init__(self) -> None:
        self._known: OrderedDict[object, object] = OrderedDict()
        self._lock = threading.Lock()

    def of(self, version: Version) -> Quality | str:
        """Return a version's quality, or why there is none."""
        evaluations = version.folder / layout.ADAPTER_EVALUATION
        try:
            stamp = evaluations.stat().st_mtime_ns
        except OSError:
            return "nothing was measured" if version.folder.is_dir() else "its run folder is gone"
        return self._once(("quality", version.id, stamp), lambda: _quality(version))  # type: ignore[return-value]

    def decision(self, registry: Registry, language: str, gate: GateConfig) -> GateDecision | str:
        """Return what the gate would say of the candidate now, or why it can't say anything."""
        now = registry.aliases(language)
        if not now.candidate or not now.current:
            return ""
        return self._once(  # type: ignore[return-value]
            ("gate", now.candidate, now.current), lambda: _decision(registry, language, gate)
        )

    def _once(self, key: object, make: object) -> object:
        with self._lock:
            if key in self._known:
                self._known.move_to_end(key)
                return self._known[key]
        found = make()  # type: ignore[operator]
        if isinstance(found, str):
            # Why it can't be read may pass.
            return found
        with self._lock:
            self._known[key] = found
            while len(self._known) > MOST_KEPT:
                self._known.popitem(last=False)
        return found


def _quality(version: Version) -> Quality | str:
    try:
        view = View(load_scores(version.folder, version.language), include_texts=False)
        test = view.main_test()
        if test is None:
            return f"it has no test in {version.language}"
        metric = view.main_metric(test)
        scores = view.run.adapter.get(test)
        if scores is None or metric not in scores.metrics:
            return "nothing was measured"
        base, difference = view.run.base.get(test), view.difference(test, metric)
    except (CompassError, OSError, ValueError, LookupError, TypeError) as error:
        return str(error) if isinstance(error, CompassError) else f"its results can't be read ({type(error).__name__})"
    words = tone = ""
    if difference is not None:
        words, tone = wording.change(metric, difference), wording.verdict(difference)[1]
    return Quality(
        test, scores.rows, metric, scores.metrics[metric], base.metrics.get(metric) if base else None, words, tone
    )


def _decision(registry: Registry, language: str, gate: GateConfig) -> GateDecision | str:
    try:
        candidate, baseline = registry.get(language, "candidate"), registry.get(language, "production")
        sets = held_out_sets(candidate, baseline)
        return decide(sets, gate, seed=0, candidate=candidate.id, baseline=baseline.id)
    except (CompassError, OSError, ValueError, LookupError, TypeError) as error:
        return (
            str(error) if isinstance(error, CompassError) else f"The candidate can't be read ({type(error).__name__})."
        )
