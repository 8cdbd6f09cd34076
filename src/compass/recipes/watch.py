"""The loop of production: read `watch` top to bottom.

prompts -> monitor -> drift -> update -> gate -> promotion or refusal -> the monitor starts anew on what serves now

What serves is the registry's `production`, and nothing else: the loop reads its frozen space and its own usage, and a
rollback by a person in the meantime is followed like a promotion. Every step is on record before the next one begins,
so the same command goes on where a killed one stopped: an update that is half done is finished, and none is promoted
twice.
"""

from __future__ import annotations

import dataclasses
import logging
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from compass.config import WatchOptions, read_stored, validate
from compass.data.languages import normalize_tag
from compass.drift import InputBatch, Monitor, Skipped
from compass.encoders import CachedEncoder
from compass.errors import CompassError, ConfigError, RegistryUnavailableError, RunError
from compass.recipes import update as update_recipe
from compass.recipes.monitor import batches_of, check_source, drift_event
from compass.recipes.promote import held_out_sets, keep_mirror
from compass.recipes.update import NewData
from compass.records import Event
from compass.registry import GateDecision, Hooks, Registry, RegistryEvent, Version, decide
from compass.registry.folders import number_of
from compass.runs import layout
from compass.runs.files import behind_links, check_place, is_full_disk
from compass.runs.folder import Run
from compass.steps.counting import Counting
from compass.steps.read import columns_of
from compass.steps.reference import clusters_of, config_of, known_text, reference_of
from compass.steps.resources import Resources
from compass.steps.watch_asked import Asked, answered, asked_of
from compass.steps.watch_data import options_of_update, rows_of_0_1, rows_of_update
from compass.steps.watch_events import tell_drift, update_event
from compass.steps.watch_rules import alarms_of, drift_stands, production, too_little_usage, why_not_yet
from compass.steps.watch_state import DAY, Pending, Site, Updater, monitor_name, open_site, skipped_of

logger = logging.getLogger(__name__)

UPDATER = Updater(update_recipe.begin, update_recipe.finish)


def watch(
    language: str,
    source: str,
    options: WatchOptions,
    *,
    overrides: Mapping[str, object] | None = None,
    follow: bool = False,
    dry_run: bool = False,
    restart: bool = False,
    stop: Callable[[], bool] = lambda: False,
    clock: Callable[[], float] = time.time,
    encoder: CachedEncoder | None = None,
    updater: Updater = UPDATER,
) -> Iterator[Event]:
    """Watch the production version of a language, and let it follow its usage; yield each event as it happens.

    source: a JSON Lines file, a folder of them, or `-`, as for `monitor`; what was counted is not counted again.
    overrides: options of `adapt` for the updates, over those of the version in production. follow: wait for more until
    `stop()`. dry_run: say what would be done, and change nothing. restart: begin the windows anew, as after a change of
    their options. encoder, updater: in place of the version's own encoder and of `update`. Events are `drift`,
    `recovered`, `blocked`, `update`, `promotion`, `refusal`, `would`, and `status` at the end. Raises CompassError
    with a message for people.
    """
    check_options(options)
    language = normalize_tag(language)
    registry = Registry(Path(options.registry.registry_dir))
    # Refused before the loop's folder is made.
    production(registry, language)
    check_source(source)
    with open_site(
        language, options, overrides or {}, dry_run=dry_run, clock=clock, encoder=encoder, updater=updater
    ) as site:
        # 1. What an earlier process began is brought to its end.
        yield from _finish(site)
        batches: Iterator[InputBatch | None] | None = None
        counting: Counting | None = None
        while True:
            # 2. What serves now, in its frozen space, against the usage that it was made for.
            version = production(site.registry, language)
            with _monitor(site, version, restart=restart) as (watching, encoder):
                restart = False
                if batches is None:
                    columns = columns_of(read_stored(version.folder / layout.CONFIG).data, "usage")
                    batches = batches_of(source, watching, options.monitor, columns, follow=follow, stop=stop)
                counting = counting or Counting(language, known_text(clusters_of(version.folder)[1]))
                counting.version = number_of(version.id)
                tell_drift(site, watching, version)
                blocked = ""
                for batch in batches:
                    # 3. Count, check, tell.
                    if batch is None:
                        watching.purge()
                    else:
                        seen = counting.count(watching, encoder, batch)
                        for event in seen.events:
                            yield drift_event(event, watching, encoder)
                        if seen.events:
                            tell_drift(site, watching, version)

                    # 4. Drift that stands leads to an update: monitor, update, gate, promotion.
                    if drift_stands(site, watching):
                        why_not = why_not_yet(site, watching)
                        if why_not and why_not != blocked:
                            yield Event("blocked", f"No update yet: {why_not}")
                        blocked = why_not
                        if not why_not:
                            yield from _begin(site, watching, version)
                            yield from _finish(site)
                    # A person asks for one: of a source that ends, once all of it is counted.
                    if follow:
                        yield from _wished(site, watching, version)

                    # 5. Another version serves, by this loop or by a person: the monitor starts anew on it.
                    if site.registry.aliases(language).current != version.id:
                        break
                else:
                    counting.finish(watching)
                    yield from _wished(site, watching, version)
                    status = watching.status()
                    if counting.skipped_lines:
                        site.show()
                    state = "drift" if status["drift"] else "no drift"
                    summary = f"{status['prompts']} prompts counted, {version.id} in production: {state}"
                    if counting.elsewhere:
                        summary += f"; {counting.elsewhere} answered by other adapters and left out"
                    status |= {"skipped_lines": counting.skipped_lines, "answered_elsewhere": counting.elsewhere}
                    yield Event("status", summary, version.id, status)
                    return


def skipped(language: str, options: WatchOptions) -> list[Skipped]:
    """Return what the loop of a language has passed over so far, the most frequent reason first; no text is in it.

    Raises RunError if no loop has watched the language there.
    """
    language = normalize_tag(language)
    found = skipped_of(language, options.watch.watch_dir, options.monitor.database)
    if found is None:
        raise RunError(
            f"No loop has watched {language} in {options.watch.watch_dir}. Give its --watch-dir, or its --database."
        )
    return found


def check_options(options: WatchOptions) -> None:
    """Raise ConfigError with every option that is out of range or does not go with another."""
    problems: list[str] = []
    checks = (lambda: validate(options), lambda: Hooks(options.hooks))
    for check in checks:
        try:
            check()
        except ConfigError as error:
            problems += [problem for problem in error.problems if problem not in problems]
    if options.watch.status_page:
        try:
            check_place(behind_links(Path(options.watch.status_page)))
        except (OSError, RunError) as error:
            problems.append(f"status_page: {error}")
    if problems:
        raise ConfigError(problems)


@contextmanager
def _monitor(site: Site, version: Version, *, restart: bool) -> Iterator[tuple[Monitor, CachedEncoder]]:
    """Open the monitor of a version. A version is never written to, so its reference is kept in the loop's folder."""
    resources = Resources(
        config_of(version.folder, allow_endpoint=site.options.folder.allow_endpoint), encoder=site.encoder
    )
    config, encoder = resources.config, resources.encoder
    references = site.folder / "references"
    for old in references.glob("*"):
        if old.name != version.id:
            shutil.rmtree(old, ignore_errors=True)
    names, examples = clusters_of(version.folder)
    with Monitor(
        reference_of(version.folder, Run(references / version.id), config, encoder),
        site.options.monitor,
        database=site.database,
        name=monitor_name(site.language),
        cluster_names=names,
        reference_examples=examples,
        restart=restart or site.state.watched != version.id,
        seed=config.run.seed,
        clock=site.clock,
    ) as watching:
        if site.state.watched != version.id:
            site.remember(watched=version.id)
        for warning in watching.warnings():
            logger.warning("%s", warning)
        yield watching, encoder


def _wished(site: Site, watching: Monitor, version: Version) -> Iterator[Event]:
    """Make the update that a person asked for, if one did, or say why not."""
    asked = asked_of(site.folder)
    if asked is None or site.dry_run or site.registry.aliases(site.language).current != version.id:
        return
    answered(site.folder)
    if why_not := too_little_usage(site, watching):
        message = f"The update that {asked.by} asked for can't begin: {why_not}"
        site.tell(RegistryEvent("refusal", site.language, message, version.id, {"by": asked.by}))
        yield Event("refusal", message, version.id)
        return
    yield from _begin(site, watching, version, asked)
    yield from _finish(site)


def _begin(site: Site, watching: Monitor, version: Version, asked: Asked | None = None) -> Iterator[Event]:
    """Write down what the update is made of, so that a later process makes the same one."""
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
        usage, train, test = rows_of_update(site, watching, version)
        new, config = NewData(usage, train=train, test=test), options_of_update(site, version, number)
        site.updater.begin(config, parent=version.folder, new=new)
    except Exception as error:
        if _is_of_the_disk(error):
            raise
        site.remember(number=number, starts=starts)
        yield _fail(site, number, "", error)
        return
    site.remember(number=number, starts=starts, pending=Pending(number, version.id, drift))


def _finish(site: Site) -> Iterator[Event]:
    """Bring a begun update to its end: train, register, gate, promote or refuse. Goes on at the step it was left at."""
    pending = site.state.pending
    if not pending:
        return
    if site.dry_run:
        yield Event(
            "would", f"Would finish update {pending.number} of {pending.parent}", "", {"parent": pending.parent}
        )
        site.remember(pending=None)
        return
    try:
        # 1. Train and register.
        if not pending.version:
            pending = dataclasses.replace(pending, version=_update(site, pending).id)
            site.remember(pending=pending)
        version = site.registry.get(site.language, pending.version)
        summary = f"{version.id} was made of {pending.parent} by {site.options.update.method}"
        details: dict[str, Any] = {"parent": pending.parent, "drift": pending.drift, "metrics": version.metrics}
        site.tell(update_event(site, pending.number, "update", summary, version.id, details))
        yield Event("update", summary, version.id, {"parent": pending.parent})

        # 2. Ask the gate.
        if pending.decision is None:
            baseline = site.registry.get(site.language, pending.parent)
            sets = held_out_sets(version, baseline)
            decided = decide(sets, site.options.gate, seed=0, candidate=version.id, baseline=baseline.id)
            pending = dataclasses.replace(pending, decision=decided.to_dict())
            site.remember(pending=pending)
        decision = GateDecision.from_dict(pending.decision or {})

        # 3. Promote or refuse.
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
    site.remember(pending=None, ended=site.clock())
    keep_mirror(site.registry, site.language, site.options.registry.mlflow_uri)
    # The registry has it all.
    shutil.rmtree(site.work(pending.number), ignore_errors=True)
    yield Event(kind, summary, version.id, details)


def _update(site: Site, pending: Pending) -> Version:
    """Make the new version from what was written down, and register it as the candidate."""
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
    for move in site.registry.history(site.language):
        if move.action == "promote" and move.after == version.id and (move.decision or {}).get("decided_at") == decided:
            return
    why = f"asked for by {asked_by}" if asked_by else "drift"
    site.registry.promote(site.language, version.id, decision=decision, reason=f"{why}; the gate passed it")


def _withdraw(site: Site, version: str, reason: str) -> None:
    if version and site.registry.aliases(site.language).candidate == version:
        site.registry.withdraw(site.language, reason=reason)


def _is_of_the_disk(error: Exception) -> bool:
    """Say whether a full disk or a held lock is the reason: it says nothing of the update, and the next start goes on
    with it."""
    return is_full_disk(error) or isinstance(error, RegistryUnavailableError)


def _fail(site: Site, number: int, version: str, error: Exception) -> Event:
    """Give an update up: production stays as it is, and the quiet period begins, so that not every check tries it.

    Whatever its error is, the stream goes on.
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
