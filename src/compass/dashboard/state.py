"""What the pages show of each language. What can't be read is said, and everything else is shown."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from compass.config import GateConfig
from compass.dashboard.advice import Advice, Drift, drift_of, next_step
from compass.dashboard.places import Places
from compass.dashboard.quality import Qualities, Quality
from compass.dashboard.traffic import Traffic, TrafficReader
from compass.drift.reading import Watched, read_watched
from compass.errors import CompassError, MonitorError
from compass.registry import Aliases, GateDecision, Move, RegistryEvent, Version
from compass.registry.files import is_there
from compass.registry.folders import number_of
from compass.registry.versions import damage_of
from compass.report.wording import bare_language
from compass.steps.reference import clusters_of
from compass.steps.watch_asked import Asked, asked_of
from compass.steps.watch_state import Pending, read_state

logger = logging.getLogger(__name__)

MOST_VERSIONS = 20
"""Versions of a language that a page lists, the newest."""
ROLES = ("production", "candidate", "previous")


@dataclass(frozen=True)
class VersionView:
    """One version."""

    id: str
    number: int
    role: str
    made: str
    trigger: str
    parent: str
    quality: Quality | None = None
    problem: str = ""
    """Why it has no quality, or what is damaged."""
    damaged: bool = False
    answers: int = 0
    """Answers in the last 24 hours."""

    @property
    def name(self) -> str:
        """`version 3`."""
        return f"version {self.number}"


@dataclass(frozen=True)
class LanguageView:
    """One language, as far as it can be read."""

    tag: str
    name: str
    aliases: Aliases = field(default_factory=Aliases)
    versions: tuple[VersionView, ...] = ()
    """Newest first."""
    problem: str = ""
    """What is damaged of its state in the registry."""
    traffic: Traffic | None = None
    """None where no gateway keeps answers."""
    traffic_problem: str = ""
    watched: Watched | None = None
    watch_problem: str = ""
    topics: tuple[str, ...] = ()
    drift: Drift = field(default_factory=Drift)
    decision: GateDecision | None = None
    """What the gate would say of the candidate now."""
    no_decision: str = ""
    """Why it can't say anything."""
    pending: Pending | None = None
    """The update that a loop is making."""
    asked: Asked | None = None
    history: tuple[Move, ...] = ()
    events: tuple[RegistryEvent, ...] = ()
    advice: Advice = field(default_factory=Advice)

    def by(self, role: str) -> VersionView | None:
        """Return the version with a role."""
        return next((version for version in self.versions if version.role == role), None)

    @property
    def production(self) -> VersionView | None:
        """The version that serves."""
        return self.by("production")

    @property
    def candidate(self) -> VersionView | None:
        """The version that waits."""
        return self.by("candidate")


class Reader:
    """Reads what the pages show; remembers only what can't change."""

    def __init__(self, places: Places, gate: GateConfig, clock: Callable[[], float] = time.time) -> None:
        self.places, self.gate, self.clock = places, gate, clock
        self.qualities = Qualities()
        self._traffic = TrafficReader(places.answers, clock)

    def languages(self) -> tuple[str, ...]:
        """Return the registry's languages; none where it can't be read: see `registry_problem`."""
        try:
            return self.places.registry.languages()
        except CompassError as error:
            logger.warning("%s", error)
            return ()

    def registry_problem(self) -> str:
        """Return why no language can be read; empty where the registry is there."""
        root = self.places.registry.root
        try:
            self.places.registry.languages()
            if is_there(root):
                return ""
        except CompassError as error:
            return f"{error} What the gateway serves stays as it is."
        return f"The registry {root} is not there. Is its disk mounted? What the gateway serves stays as it is."

    def traffic(self) -> dict[str, Traffic] | str:
        """Return traffic by language, or why it can't be read."""
        return self._traffic.read()

    def language(self, tag: str) -> LanguageView:
        """Return a language's view. Never raises for what is damaged."""
        view = _registry_part(self, tag)
        view = replace(view, **_monitor_part(self.places, tag))
        traffic = self.traffic()
        if isinstance(traffic, str):
            view = replace(view, traffic_problem=traffic)
        elif traffic:
            own = traffic.get(tag, Traffic())
            versions = tuple(replace(version, answers=own.versions.get(version.number, 0)) for version in view.versions)
            view = replace(view, traffic=own, versions=versions)
        view = replace(view, topics=_topics(self.places, view), drift=drift_of(view.watched))
        return replace(view, advice=next_step(view, self.places))


def _registry_part(reader: Reader, tag: str) -> LanguageView:
    registry, problems = reader.places.registry, list[str]()
    now = Aliases()
    history: tuple[Move, ...] = ()
    events: tuple[RegistryEvent, ...] = ()
    view = LanguageView(tag, bare_language(tag))
    try:
        now = registry.aliases(tag)
        view = replace(view, aliases=now)
    except (CompassError, OSError, ValueError, LookupError, TypeError) as error:
        problems.append(_said(error))
    try:
        history = registry.history(tag) if not problems else ()
    except (CompassError, OSError, ValueError, LookupError, TypeError) as error:
        problems.append(_said(error))
    try:
        events = registry.events(tag)
    except (CompassError, OSError, ValueError) as error:
        problems.append(_said(error))
    roles = {now.previous: "previous", now.candidate: "candidate", now.current: "production"}
    versions: list[VersionView] = []
    try:
        found = registry.versions(tag)
    except (CompassError, OSError, LookupError, ValueError, TypeError) as error:
        found = ()
        problems.append(_said(error))
    for version in reversed(found):
        role = roles.get(version.id, "")
        if role or len(versions) < MOST_VERSIONS:
            versions.append(_version(reader, version, role))
    there = {version.id for version in versions}
    for id, role in roles.items():
        if id and id not in there:
            # Its folder or its manifest is gone; what is served of it is another question.
            lost = VersionView(
                id, number_of(id), role, "", "", "", problem="its folder is gone or damaged", damaged=True
            )
            versions.insert(0, lost)
    decision = reader.qualities.decision(registry, tag, reader.gate) if now.candidate and now.current else ""
    return replace(
        view, versions=tuple(versions), history=history, events=events, problem=" ".join(problems),
        decision=decision if isinstance(decision, GateDecision) else None,
        no_decision=decision if isinstance(decision, str) else "",
    )  # fmt: skip


def _version(reader: Reader, version: Version, role: str) -> VersionView:
    quality, problem, damaged = reader.qualities.of(version), "", False
    if role:
        try:
            problem = "; ".join(damage_of(version))
        except OSError as error:
            problem = _said(error)
        damaged = bool(problem)
    if isinstance(quality, str):
        problem = problem or quality
    return VersionView(
        version.id, version.number, role, version.created_at, version.trigger, version.parent,
        quality if isinstance(quality, Quality) else None, problem, damaged,
    )  # fmt: skip


def _monitor_part(places: Places, tag: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    try:
        found["watched"] = read_watched(places.monitor(tag), places.monitors(tag), tag)
    except (MonitorError, OSError) as error:
        found["watch_problem"] = _said(error)
    folder = places.watch_dir / tag
    try:
        found["pending"] = read_state(folder).pending
    except (CompassError, OSError, LookupError, TypeError, ValueError) as error:
        found["watch_problem"] = found.get("watch_problem") or _said(error)
    found["asked"] = asked_of(folder)
    return found


def _topics(places: Places, view: LanguageView) -> tuple[str, ...]:
    """Return names for the clusters that the monitor counts: of the version in production, or the newest one."""
    size = len(view.watched.blocks[-1].counts) if view.watched and view.watched.blocks else 0
    ids = [version.id for version in (view.production, *view.versions) if version]
    names: list[str] = []
    for id in ids:
        try:
            names = clusters_of(places.registry.folder(view.tag) / "versions" / id / "run")[0]
        except (CompassError, OSError):
            continue
        if names:
            break
    return tuple(names[k] if k < len(names) else f"topic {k}" for k in range(max(size, len(names))))


def _said(error: Exception) -> str:
    if isinstance(error, CompassError):
        return str(error)
    if isinstance(error, OSError):
        return f"{error.filename or 'A file'} can't be read ({error.strerror})."
    return f"A file of the registry is damaged ({type(error).__name__})."
