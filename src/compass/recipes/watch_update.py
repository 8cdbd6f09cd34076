"""One update of the watch loop, from its data to promotion or refusal. Each step is recorded before the next begins."""

from __future__ import annotations

import dataclasses
import logging
import shutil
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from compass.drift import Monitor
from compass.drift.tables import database_in
from compass.errors import CompassError, MonitorError, RegistryError, RegistryUnavailableError
from compass.recipes.promote import held_out_sets, keep_mirror
from compass.recipes.update import NewData
from compass.records import Event
from compass.registry import Aliases, GateDecision, Version, decide
from compass.registry.aliases import known_moves
from compass.registry.feedback import feedback_test, may_be_tried, with_feedback
from compass.registry.folders import number_of
from compass.registry.gate import REFUSE, UNDECIDED
from compass.runs.files import is_full_disk
from compass.serve.store import DATABASE, Store
from compass.steps.watch_asked import Asked
from compass.steps.watch_data import options_of_update, rows_of_0_1, rows_of_update
from compass.steps.watch_events import iso_time, update_event
from compass.steps.watch_rules import alarms_of, trial_ends
from compass.steps.watch_state import DAY, Pending, Site

logger = logging.getLogger(__name__)


def begin(site: Site, watching: Monitor, version: Version, asked: Asked | None = None) -> Iterator[Event]:
    """Record the data and options of an update, so that a later process makes the same one."""
    number, now = site.state.number + 1, site.clock()
    alarms, prompts = alarms_of(site, watching)
    checks = watching.status()["streams"].get(site.language, {}).get("last_checks", {})
    drift: dict[str, Any] = {"prompts": prompts, "alarms": {test: checks[test] for test in alarms}}
    if asked:
        drift |= {"asked_by": asked.by, "asked_because": asked.reason}
    starts = (*(start for start in site.state.starts if abs(now - start) < DAY), now)
    method = site.options.update.method
    if site.dry_run:
        site.remember(number=number, starts=starts, ended=now)
        summary = f"Would update {version.id} by {method}, test it, and promote it if the gate passes it"
        yield Event("would", summary, "", {"parent": version.id, "method": method, "drift": drift})
        return
    shutil.rmtree(site.work(number), ignore_errors=True)
    site.work(number).mkdir(mode=0o700)
    try:
        # The cleaned rows in the update's run folder are the only copy that is made of users' prompts.
        rows = rows_of_update(site, watching, version)
        new = NewData(rows.usage, train=rows.train, test=rows.test, left_out=rows.left_out)
        config = options_of_update(site, version, number)
        site.updater.begin(config, parent=version.folder, new=new)
    except Exception as error:
        if _is_of_the_disk(error):
            raise
        site.remember(number=number, starts=starts)
        yield _fail(site, number, "", error)
        return
    site.remember(number=number, starts=starts, pending=Pending(number, version.id, drift))


def finish(site: Site) -> Iterator[Event]:
    """Finish an update: train, register, gate, promote or refuse. Continues at the step where it stopped.

    With `canary_hours`, the version stays the candidate while users judge it; `listen` ends that.
    """
    pending = site.state.pending
    if not pending:
        return
    if site.dry_run:
        yield Event(
            "would", f"Would finish update {pending.number} of {pending.parent}", "", {"parent": pending.parent}
        )
        site.remember(pending=None)
        return
    if pending.on_trial:
        yield from listen(site)
        return
    try:
        # 1. Train and register.
        if not pending.version:
            _check_parent(site, pending)
            pending = dataclasses.replace(pending, version=_update(site, pending).id)
            site.remember(pending=pending)
        version = site.registry.get(site.language, pending.version)
        summary = f"{version.id} was made of {pending.parent} by {site.options.update.method}"
        details: dict[str, Any] = {"parent": pending.parent, "drift": pending.drift, "metrics": version.metrics}
        if not pending.heard:
            site.tell(update_event(site, pending.number, "update", summary, version.id, details))
            yield Event("update", summary, version.id, {"parent": pending.parent})

        # 2. Ask the gate.
        if pending.decision is None:
            _check_parent(site, pending)
            baseline = site.registry.get(site.language, pending.parent)
            sets = held_out_sets(version, baseline)
            decided = decide(sets, site.options.gate, seed=0, candidate=version.id, baseline=baseline.id)
            pending = dataclasses.replace(pending, decision=decided.to_dict())
            site.remember(pending=pending)
        decision = GateDecision.from_dict(pending.decision or {})

        # 3. With canary_hours, let users judge it first.
        if site.options.watch.canary_hours and not pending.heard and may_be_tried(decision):
            yield _tried(site, pending, version, decision)
            return

        # 4. Promote or refuse.
        if decision.promotes:
            _promote(site, version, decision, pending.drift.get("asked_by", ""))
            kind, summary = "promotion", f"{version.id} is in production. {decision.reason}"
        else:
            _withdraw(site, version.id, decision.reason)
            kind, summary = "refusal", f"{version.id} is not promoted ({decision.verdict}). {decision.reason}"
        details = {"decision": decision.to_dict()}
        site.tell(update_event(site, pending.number, kind, summary, version.id, details))
    except Exception as error:
        if _is_of_the_disk(error):
            raise
        yield _fail(site, pending.number, pending.version, error)
        return
    _over(site, pending)
    yield Event(kind, summary, version.id, details)


def _check_parent(site: Site, pending: Pending) -> None:
    """Raise RegistryError if a person has put another version into production since the update began."""
    now = site.registry.aliases(site.language).current
    if now not in (pending.parent, pending.version):
        raise RegistryError(f"{now} is in production now, and the update was to follow {pending.parent}.")


def listen(site: Site) -> Iterator[Event]:
    """Read users' feedback on a candidate in traffic; end its update once the feedback decides, or the time is up.

    A withdrawal by the gateway or a person, or a promotion by a person, ends it too.
    """
    pending = site.state.pending
    if not pending or not pending.on_trial or site.dry_run:
        return
    now = site.registry.aliases(site.language)
    if now.current == pending.version:
        _over(site, pending)
        yield Event("promotion", f"{pending.version} is in production: a person promoted it", pending.version)
        return
    decision = _heard(site, pending, _taken_back(site, pending, now))
    if decision is None:
        return
    site.remember(pending=dataclasses.replace(pending, decision=decision.to_dict(), heard=True))
    yield from finish(site)


def _heard(site: Site, pending: Pending, taken_back: str) -> GateDecision | None:
    """Return the decision of gate and users; None while it is open. taken_back: why the candidate was withdrawn."""
    decision = GateDecision.from_dict(pending.decision or {})
    try:
        said = feedback_test(_outcomes(site, pending), site.options.gate.gate_level)
    except MonitorError as error:
        if taken_back:
            return dataclasses.replace(decision, verdict=REFUSE, reason=taken_back)
        logger.warning("Users' feedback can't be read now; it is read again with the next prompts: %s", error)
        return None
    if taken_back:
        return dataclasses.replace(decision, verdict=REFUSE, reason=taken_back, tests=(*decision.tests, said))
    if said.verdict == UNDECIDED and site.clock() < trial_ends(site, pending):
        return None
    return with_feedback(decision, said)


def _tried(site: Site, pending: Pending, version: Version, decision: GateDecision) -> Event:
    """Leave a version the candidate, so that a gateway with --canary lets it answer a share of conversations."""
    site.remember(pending=dataclasses.replace(pending, canary_since=site.clock()))
    until = iso_time(trial_ends(site, site.state.pending or pending))
    summary = f"{version.id} is tried on a share of conversations until {until}. {decision.reason}"
    details = {"decision": decision.to_dict(), "until": until}
    site.tell(update_event(site, pending.number, "canary", summary, version.id, details))
    return Event("canary", summary, version.id, details)


def _taken_back(site: Site, pending: Pending, now: Aliases) -> str:
    """Return why a candidate is no longer in traffic; empty if it still is."""
    if now.current != pending.parent:
        return f"{now.current} is in production, and it was measured against {pending.parent}."
    if now.candidate == pending.version:
        return ""
    moves = known_moves(site.registry.folder(site.language))
    why = next((move.reason for move in reversed(moves) if move.before == pending.version), "")
    return f"It was withdrawn{': ' + why if why else ''}."


def _outcomes(site: Site, pending: Pending) -> list[tuple[bool, bool]]:
    """Return users' feedback on the candidate and its parent: whether it is on the candidate, and whether it is good.

    Raises MonitorError if the gateway's database can't be read.
    """
    own = Path(site.options.watch.update_feedback) / DATABASE
    kept_by_gateway = bool(site.options.watch.update_feedback) and own.is_file()
    url = database_in(own) if kept_by_gateway else site.options.monitor.database
    if not url:
        # The gateway has kept no answer yet.
        return []
    tried, parent = number_of(pending.version), number_of(pending.parent)
    store = Store(url)
    try:
        said = store.outcomes(site.language, (tried, parent), pending.canary_since)
    finally:
        store.close()
    return [(version == tried, pleased) for version, pleased in said]


def _over(site: Site, pending: Pending) -> None:
    """Forget a finished update: the registry has all of it."""
    site.remember(pending=None, ended=site.clock())
    keep_mirror(site.registry, site.language, site.options.registry.mlflow_uri)
    shutil.rmtree(site.work(pending.number), ignore_errors=True)


def _update(site: Site, pending: Pending) -> Version:
    """Make the new version from what `begin` recorded, and register it as the candidate."""
    parent, work = site.registry.get(site.language, pending.parent), site.work(pending.number)
    config = options_of_update(site, parent, pending.number)
    if old := rows_of_0_1(work):
        usage, train, test = old
        site.updater.begin(config, parent=parent.folder, new=NewData(usage, train=train, test=test))
    done = site.updater.finish(config, site.options.update, parent=parent.folder)
    return site.registry.register(
        done.run_dir,
        language=site.language,
        parent=parent.id,
        trigger="manual" if pending.drift.get("asked_by") else "drift",
        notes={"drift": pending.drift, "update": asdict(site.options.update)},
        leave_out=site.options.registry.leave_out,
    )


def _promote(site: Site, version: Version, decision: GateDecision, asked_by: str) -> None:
    """Promote once: a process that was killed after the move, or a person who rolled back since, is left alone."""
    if site.registry.aliases(site.language).current == version.id:
        return
    decided = decision.decided_at
    for move in known_moves(site.registry.folder(site.language)):
        if move.action == "promote" and move.after == version.id and (move.decision or {}).get("decided_at") == decided:
            return
    why = f"asked for by {asked_by}" if asked_by else "drift"
    site.registry.promote(site.language, version.id, decision=decision, reason=f"{why}; the gate passed it")


def _withdraw(site: Site, version: str, reason: str) -> None:
    if version and site.registry.aliases(site.language).candidate == version:
        site.registry.withdraw(site.language, reason=reason)


def _is_of_the_disk(error: Exception) -> bool:
    """Say whether the reason is a full disk or a held lock: not the update's fault, and the next start continues it."""
    return is_full_disk(error) or isinstance(error, RegistryUnavailableError)


def _fail(site: Site, number: int, version: str, error: Exception) -> Event:
    """Give up an update: production stays as it is, and the quiet period begins, so that not every check tries again.

    Monitoring goes on after any error.
    """
    # What is not ours may quote prompts.
    why = str(error) if isinstance(error, CompassError) else f"unexpected {type(error).__name__}"
    logger.warning("Update %d failed: %s", number, why)
    if not isinstance(error, CompassError):
        logger.debug("The error of update %d:", number, exc_info=error)
    _withdraw(site, version, why)
    message = f"Update {number} failed, and production stays as it is: {why}"
    site.tell(update_event(site, number, "refusal", message, version))
    site.remember(pending=None, ended=site.clock())
    shutil.rmtree(site.work(number), ignore_errors=True)
    return Event("refusal", message, version)
