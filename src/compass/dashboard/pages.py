"""Each page as HTML. Everything that people or models wrote is escaped by the templates."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any

import jinja2

from compass.dashboard import charts, words
from compass.dashboard.actions import LABEL, NOTHING, PROMOTE, ROLLBACK, UPDATE
from compass.dashboard.advice import BAD
from compass.dashboard.prompts import labels, live_points, map_points
from compass.dashboard.sessions import Session
from compass.dashboard.state import LanguageView
from compass.drift.results import MIX
from compass.registry.commands import command
from compass.report import wording
from compass.report.blocks import Block
from compass.report.html import TABLES
from compass.report.status import decision_blocks, event_blocks, move_table, render_status
from compass.runs import layout

if TYPE_CHECKING:
    from compass.dashboard.app import Dashboard

ACTIONS = (PROMOTE, ROLLBACK, UPDATE, LABEL)
STATIC = {
    "base.css": "text/css",
    "dashboard.css": "text/css",
    "dashboard.js": "text/javascript",
    "icon.svg": "image/svg+xml",
}
MAIN_TEST = "histogram"
"""The test whose statistic is drawn: a changed mix of topics."""


def overview(dashboard: Dashboard, session: Session) -> str:
    """Return the page of all languages."""
    reader = dashboard.reader
    # What needs somebody comes first: of forty languages nobody reads them all.
    views = sorted(
        (reader.language(tag) for tag in reader.languages()),
        key=lambda view: (view.advice.tone != BAD, not view.advice.action, view.tag),
    )
    traffic = reader.traffic()
    others = {} if isinstance(traffic, str) else {
        tag: found for tag, found in traffic.items() if tag not in {view.tag for view in views}
    }  # fmt: skip
    return _render(
        "overview.html.j2", session, views=views, others=others, servers=_servers(dashboard),
        traffic_problem=traffic if isinstance(traffic, str) else "", registry_problem=reader.registry_problem(),
        add=command(dashboard.places.registry.root, "add", "runs/cy"),
    )  # fmt: skip


def language(dashboard: Dashboard, session: Session, tag: str) -> str:
    """Return the page of one language."""
    view = dashboard.reader.language(tag)
    return _render(
        "language.html.j2", session, view=view, topics=_topics(view), statistic=_statistic(view),
        decision=_decision(view), decisions=_decisions(view), events=event_blocks(view.events),
        moves=move_table(view.history),
        prompts=labels(dashboard.places, view), map=_map(dashboard, view), expected=view.aliases.current or NOTHING,
        offers=_offers(view), watch=dashboard.places.watch_command(view.tag),
    )  # fmt: skip


def confirm(dashboard: Dashboard, session: Session, tag: str, action: str, version: str) -> str | None:
    """Return the page that asks whether an action is meant; None for an unknown one."""
    if not tag or action not in (PROMOTE, ROLLBACK, UPDATE):
        return None
    view = dashboard.reader.language(tag)
    target = next((found for found in view.versions if found.id == version), None)
    if action != UPDATE and target is None:
        target = view.candidate if action == PROMOTE else view.by("previous")
    why_not = dashboard.actions.updates.why_not(tag) if action == UPDATE else ""
    return _render(
        "confirm.html.j2", session, view=view, action=action, target=target, decision=_decision(view),
        expected=view.aliases.current or NOTHING, why_not=why_not,
    )  # fmt: skip


def login(csrf: str, problem: str) -> str:
    """Return the page that asks for a key."""
    return _render("login.html.j2", None, csrf=csrf, problem=problem)


def message(title: str, text: str) -> str:
    """Return a page that only says something."""
    return _render("message.html.j2", None, title=title, text=text)


def status(dashboard: Dashboard) -> str:
    """Return the registry's status page."""
    return render_status(dashboard.places.registry, verify=False)


def report(dashboard: Dashboard, tag: str, version: str) -> str | None:
    """Return the report of a version; None where it is gone."""
    registry = dashboard.places.registry
    if version not in {found.id for found in registry.versions(tag)}:
        return None
    path = registry.folder(tag) / "versions" / version / "run" / layout.REPORT
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        return None


def to_label(dashboard: Dashboard, tag: str) -> str:
    """Return the marked prompts as JSON Lines to write answers in."""
    found = labels(dashboard.places, dashboard.reader.language(tag))
    rows = [
        {"id": f"kept-{prompt.id}", "language": tag, "prompt": prompt.text, "response": ""}
        for prompt in found.prompts
        if prompt.marked_by
    ]
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def static(name: str) -> tuple[bytes, str] | None:
    """Return a file that pages load and its kind; None for an unknown one."""
    if name not in STATIC:
        return None
    if name == "base.css":
        return (resources.files("compass.report") / "style.css").read_bytes(), STATIC[name]
    return (resources.files("compass.dashboard") / "static" / name).read_bytes(), STATIC[name]


def _topics(view: LanguageView) -> dict[str, Any] | None:
    blocks = view.watched.blocks if view.watched else ()
    if not blocks:
        return None
    order = charts.largest(blocks)
    names = [view.topics[k] for k in order]
    rest = len([k for k in range(len(blocks[-1].counts)) if k not in order and any(b.counts[k] for b in blocks)])
    rows = [
        (words.at_time(block.at) if block.at else f"after {words.number(block.prompts)} prompts",
         [words.percent(block.counts[k] / (sum(block.counts) or 1)) for k in order])
        for block in blocks[-24:]
    ]  # fmt: skip
    last = blocks[-1]
    legend = [
        (place, name, words.percent(last.counts[k] / (sum(last.counts) or 1)))
        for place, (k, name) in enumerate(zip(order, names, strict=True))
    ]
    return {
        "chart": charts.stacked(blocks, order, charts.in_words(blocks, order, names)),
        "legend": legend, "names": names, "rows": rows, "rest": rest,
        "first": words.at_time(blocks[0].at) if blocks[0].at else "", "last": words.at_time(last.at) if last.at else "",
    }  # fmt: skip


def _statistic(view: LanguageView) -> dict[str, Any] | None:
    watched = view.watched
    if watched is None or not watched.last:
        return None
    checks = [check for check in watched.checks if check.test == MAIN_TEST and check.stream == view.tag]
    chart = None
    if checks:
        last = checks[-1]
        limit = f" of {last.threshold:.3g} at most" if last.threshold is not None else ""
        above = "above" if last.alarm else "within"
        chart = charts.statistic(checks, f"Change of topics: {last.value:.3g} now, {above} its threshold{limit}")
    rows = [
        (check.test, f"{check.value:.3g}", "–" if check.threshold is None else f"{check.threshold:.3g}",
         f"{check.p_value:.2g}", f"{check.alpha:.2g}", check.alarm or check.test in watched.alarms)
        for check in watched.last if check.stream in (view.tag, MIX)
    ]  # fmt: skip
    return {"chart": chart, "rows": rows, "last": checks[-1] if checks else None, "n": len(checks)}


def _decision(view: LanguageView) -> list[Block]:
    """Return what the gate would say of the candidate now."""
    if view.decision is None or view.candidate is None:
        return []
    return decision_blocks(view.decision.to_dict(), f"The gate on {view.candidate.name}, as of now")


def _decisions(view: LanguageView) -> dict[str, list[Block]]:
    """Return the latest decision that was made on each version, by its id."""
    made = [(move.at, move.after, move.decision) for move in view.history if move.decision]
    made += [
        (event.at, event.version, event.details["decision"])
        for event in view.events
        if isinstance(event.details.get("decision"), Mapping)
    ]
    return {
        version: decision_blocks(decision, f"The gate, {words.at_iso(at)}", collapsed=True)
        for at, version, decision in sorted(made, key=lambda one: one[0])
    }


def _map(dashboard: Dashboard, view: LanguageView) -> dict[str, Any] | None:
    version = view.production or (view.versions[0] if view.versions else None)
    if version is None:
        return None
    points = map_points(dashboard.places, view.tag, version.id)
    if points is None:
        return None
    live = live_points(dashboard.places, view, points)
    said = f"{len(points.usage)} usage prompts of the run, {len(points.others)} other rows, {len(live)} live prompts"
    return {
        "chart": charts.map_of(points.usage, points.others, live, f"Map of the semantic space: {said}"),
        "said": said, "live": len(live), "texts": any(text for _, _, text in live),
    }  # fmt: skip


def _offers(view: LanguageView) -> dict[str, bool]:
    """Return which actions make sense now."""
    return {
        PROMOTE: bool(view.candidate),
        ROLLBACK: bool(view.aliases.previous),
        UPDATE: bool(view.production) and not view.pending and not view.asked,
    }


def _servers(dashboard: Dashboard) -> list[dict[str, Any]]:
    if dashboard.fleet is None:
        return []
    return [
        {"name": replica.name, "up": replica.healthy, "running": replica.running.total(),
         "loaded": sorted(replica.loaded)}
        for replica in dashboard.fleet.replicas
    ]  # fmt: skip


def _render(name: str, session: Session | None, **values: Any) -> str:
    told = list(session.told) if session else []
    if session:
        session.told.clear()
    template = _environment().get_template(name)
    return template.render(session=session, told=told, shown_at=words.at_time(time.time()), **values)


@cache
def _environment() -> jinja2.Environment:
    tables = (resources.files("compass.report") / TABLES).read_text("utf-8")
    loader = jinja2.ChoiceLoader(
        [jinja2.PackageLoader("compass.dashboard", "templates"), jinja2.DictLoader({TABLES: tables})]
    )
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True, loader=loader
    )
    environment.globals |= {"charts": charts, "words": words, "wording": wording}
    environment.filters |= {"iso": words.at_iso}
    return environment
