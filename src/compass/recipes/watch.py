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
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from compass.config import AdaptConfig, WatchOptions, load_stored, validate
from compass.data.example import Example
from compass.data.languages import UNDETERMINED, normalize_tag, same_language
from compass.data.readers import read_jsonl
from compass.drift import DriftEvent, InputBatch, Monitor, describe
from compass.encoders import CachedEncoder
from compass.errors import CompassError, ConfigError, DataError, RegistryError, RegistryUnavailableError
from compass.recipes import update as update_recipe
from compass.recipes.monitor import batches_of, check_source, count, drift_event
from compass.recipes.promote import held_out_sets, keep_mirror
from compass.recipes.update import NewData
from compass.records import Event
from compass.registry import GateDecision, Hooks, Registry, RegistryEvent, Version, decide
from compass.runs import layout
from compass.runs.folder import Run
from compass.steps.read import read_set
from compass.steps.reference import clusters_of, config_of, reference_of
from compass.steps.resources import Resources
from compass.steps.watch_state import DAY, Pending, Site, Updater, open_site

logger = logging.getLogger(__name__)

UPDATER = Updater(update_recipe.begin, update_recipe.finish)
OLD_USAGE = Path(layout.USAGE).name
"""In the folder of an update that version 0.1 began: its usage, which is read into a run folder now."""


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
    `recovered`, `held`, `update`, `promotion`, `refusal`, `would`, and `status` at the end. Raises CompassError with a
    message for people.
    """
    check_options(options)
    language = normalize_tag(language)
    registry = Registry(Path(options.registry.registry_dir), lock_timeout=options.registry.lock_timeout)
    # Refused before the loop's folder is made.
    _production(registry, language)
    check_source(source)
    with open_site(
        language, options, overrides or {}, dry_run=dry_run, clock=clock, encoder=encoder, updater=updater
    ) as site:
        # 1. What an earlier process began is brought to its end.
        yield from _finish(site)
        batches: Iterator[InputBatch | None] | None = None
        skipped = 0
        while True:
            # 2. What serves now, in its frozen space, against the usage that it was made for.
            version = _production(site.registry, language)
            with _monitor(site, version, restart=restart) as (watching, encoder):
                restart = False
                batches = batches or batches_of(source, watching, options.monitor, follow=follow, stop=stop)
                _tell_drift(site, watching, version)
                held = ""
                for batch in batches:
                    # 3. Count, check, tell.
                    if batch is None:
                        watching.purge()
                    else:
                        skipped += batch.skipped
                        seen = count(watching, encoder, batch, language)
                        for event in seen.events:
                            yield drift_event(event)
                        if seen.events:
                            _tell_drift(site, watching, version)

                    # 4. Drift that stands leads to an update: monitor, update, gate, promotion.
                    if _drifted(site, watching):
                        why_not = _held(site, watching)
                        if why_not and why_not != held:
                            yield _event("held", f"No update yet: {why_not}")
                        held = why_not
                        if not why_not:
                            yield from _begin(site, watching, version)
                            yield from _finish(site)

                    # 5. Another version serves, by this loop or by a person: the monitor starts anew on it.
                    if site.registry.aliases(language).current != version.id:
                        break
                else:
                    status = watching.status()
                    state = "drift" if status["drift"] else "no drift"
                    summary = f"{status['prompts']} prompts counted, {version.id} in production: {state}"
                    yield _event("status", summary, version=version.id, **status, skipped_lines=skipped)
                    return


def check_options(options: WatchOptions) -> None:
    """Raise ConfigError with every option that is out of range or does not go with another."""
    problems: list[str] = []
    checks = (lambda: validate(options), lambda: Hooks(options.hooks))
    for check in checks:
        try:
            check()
        except ConfigError as error:
            problems += [problem for problem in error.problems if problem not in problems]
    if problems:
        raise ConfigError(problems)


def _production(registry: Registry, language: str) -> Version:
    current = registry.aliases(language).current
    if not current:
        raise RegistryError(
            f"Nothing of {language} is in production in {registry.root}. Register a run and promote it: "
            f"compass registry add RUN, compass registry promote {language}."
        )
    return registry.get(language, current)


@contextmanager
def _monitor(site: Site, version: Version, *, restart: bool) -> Iterator[tuple[Monitor, CachedEncoder]]:
    """Open the monitor of a version. A version is never written to, so its reference is kept in the loop's folder."""
    resources = Resources(config_of(version.folder), encoder=site.encoder)
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
        name=f"watch-{site.language}",
        cluster_names=names,
        reference_examples=examples,
        restart=restart or site.state.watched != version.id,
        seed=config.run.seed,
        clock=site.clock,
    ) as watching:
        if site.state.watched != version.id:
            site.remember(watched=version.id)
        yield watching, encoder


def _tell_drift(site: Site, watching: Monitor, version: Version) -> None:
    """Tell hooks of each drift that is in the monitor's state and that they were not told of, also after a kill."""
    new = [row for row in watching.events() if row["at"] > site.state.told]
    for row in new:
        if row["kind"] == "drift":
            drift = DriftEvent.from_dict(row)
            name = f"{drift.check.stream}-{drift.check.test}"
            site.tell(
                RegistryEvent(
                    "drift", site.language, describe(drift), version.id, drift.to_dict(examples=False),
                    id=f"watch-{site.language}-drift-{row['at']:.6f}-{name}", at=_time(row["at"]),
                )
            )  # fmt: skip
    if new:
        site.remember(told=max(row["at"] for row in new))


def _alarms(site: Site, watching: Monitor) -> tuple[dict[str, int], int]:
    """Return the language's alarms with the prompt that each began at, and its prompts. The mix of languages is left
    out: an adapter can't follow other languages than its own."""
    stream = watching.status()["streams"].get(site.language, {"alarms": {}, "prompts": 0})
    return stream["alarms"], stream["prompts"]


def _drifted(site: Site, watching: Monitor) -> bool:
    """Say whether a drift stands, and enough prompts have come since it began to say what the new usage is."""
    alarms, prompts = _alarms(site, watching)
    return bool(alarms) and prompts - min(alarms.values()) >= site.options.watch.prompts_after_drift


def _held(site: Site, watching: Monitor) -> str:
    """Say why no update may start now; empty if one may."""
    options, now = site.options.watch, site.clock()
    recent = [start for start in site.state.starts if now - start < DAY]
    if not options.update_usage:
        if site.options.monitor.reservoir == "off":
            return (
                "an update needs the new usage, and the monitor keeps no prompts. Set reservoir to redacted or full, "
                "or name a source in update_usage"
            )
        kept = len(watching.kept_prompts(site.language, most=options.min_usage_rows))
        if kept < options.min_usage_rows:
            return f"the reservoir holds {kept} prompts, and min_usage_rows asks for {options.min_usage_rows}"
    if len(recent) >= options.updates_per_day:
        until = f" until {_time(recent[-options.updates_per_day] + DAY)}" if options.updates_per_day else ""
        return f"the budget of {options.updates_per_day} updates a day is used up{until}"
    if site.state.ended and now - site.state.ended < 3600.0 * options.quiet_hours:
        return (
            f"the quiet period after the last update lasts until {_time(site.state.ended + 3600 * options.quiet_hours)}"
        )
    return ""


def _begin(site: Site, watching: Monitor, version: Version) -> Iterator[Event]:
    """Take down what the update is made of, so that a later process makes the same one."""
    number, now = site.state.number + 1, site.clock()
    alarms, prompts = _alarms(site, watching)
    checks = watching.status()["streams"][site.language]["last_checks"]
    drift = {"prompts": prompts, "alarms": {test: checks[test] for test in alarms}}
    starts = (*(start for start in site.state.starts if now - start < DAY), now)
    method = site.options.update.method
    if site.dry_run:
        site.remember(number=number, starts=starts, ended=now)
        yield _event(
            "would", f"Would update {version.id} by {method}, test it, and promote it if the gate lets it pass",
            parent=version.id, method=method, drift=drift,
        )  # fmt: skip
        return
    shutil.rmtree(site.work(number), ignore_errors=True)
    site.work(number).mkdir(mode=0o700)
    try:
        # The cleaned rows in the update's run folder are the only copy that is made of users' prompts.
        site.updater.begin(
            _config(site, version, number), parent=version.folder, new=_new_data(site, watching, version)
        )
    except CompassError as error:
        site.remember(number=number, starts=starts)
        yield from _fail(site, number, "", error)
        return
    site.remember(number=number, starts=starts, pending=Pending(number, version.id, drift))


def _config(site: Site, parent: Version, number: int) -> AdaptConfig:
    """Return the options of an update: the parent's, under those that the loop was given."""
    rows = site.options.watch.gate_rows
    folder = str(site.work(number) / "run")
    overrides = {"max_test_rows": rows, "max_retention_rows": rows, **site.overrides, "output_dir": folder}
    return load_stored(parent.folder / layout.CONFIG, overrides)


def _new_data(site: Site, watching: Monitor, version: Version) -> NewData:
    """Read the update's usage, training rows and test; the last two are empty where there are none."""
    options = site.options.watch
    data = dataclasses.replace(config_of(version.folder).data, language=site.language)

    def read(source: str, part: str) -> list[Example]:
        rows = read_set(data, part, source) if source else []
        return [row for row in rows if row.language == UNDETERMINED or same_language(row.language, site.language)]

    if options.update_usage:
        usage = read(options.update_usage, "usage")
        if len(usage) < options.min_usage_rows:
            raise DataError(
                f"{options.update_usage} has {len(usage)} rows in {site.language}, and min_usage_rows asks for "
                f"{options.min_usage_rows}. Gather more usage."
            )
    else:
        # Newest first: what came since the alarm, and no fewer than an update asks for.
        most = max(options.prompts_after_drift, options.min_usage_rows)
        kept = watching.kept_prompts(site.language, most=most)
        usage = [
            Example(f"kept/{i}", prompt.text, language=site.language, source="production")
            for i, prompt in enumerate(reversed(kept))
        ]
    return NewData(usage, train=read(options.update_train, "train"), test=read(options.update_test, "test"))


def _finish(site: Site) -> Iterator[Event]:
    """Bring a begun update to its end: train, register, test, promote or refuse. Goes on at the step it was left at."""
    pending = site.state.pending
    if not pending:
        return
    if site.dry_run:
        yield _event("would", f"Would finish update {pending.number} of {pending.parent}", parent=pending.parent)
        site.remember(pending=None)
        return
    try:
        if not pending.version:
            version = _update(site, pending)
            pending = dataclasses.replace(pending, version=version.id)
            site.remember(pending=pending)
        version = site.registry.get(site.language, pending.version)
        event = RegistryEvent(
            "update", site.language,
            f"{version.id} was made of {pending.parent} by {site.options.update.method}", version.id,
            {"parent": pending.parent, "drift": pending.drift, "metrics": version.metrics},
            id=_id(site, pending.number, "update"),
        )  # fmt: skip
        site.tell(event)
        yield _event("update", event.message, version=version.id, parent=pending.parent)

        if pending.decision is None:
            baseline = site.registry.get(site.language, pending.parent)
            sets = held_out_sets(version, baseline)
            decided = decide(sets, site.options.gate, seed=0, candidate=version.id, baseline=baseline.id)
            pending = dataclasses.replace(pending, decision=decided.to_dict())
            site.remember(pending=pending)
        decision = GateDecision.from_dict(pending.decision or {})
        if decision.promotes:
            _promote(site, version, decision)
            told = _told(
                site, pending.number, "promotion", f"{version.id} is in production. {decision.reason}", version
            )
        else:
            _withdraw(site, version, decision.reason)
            text = f"{version.id} is not promoted ({decision.verdict}). {decision.reason}"
            told = _told(site, pending.number, "refusal", text, version)
        event = dataclasses.replace(told, details={"decision": decision.to_dict()})
        site.tell(event)
    except RegistryUnavailableError:
        # A full disk or a held lock says nothing of the update: the next start goes on with it.
        raise
    except CompassError as error:
        yield from _fail(site, pending.number, pending.version, error)
        return
    site.remember(pending=None, ended=site.clock())
    keep_mirror(site.registry, site.language, site.options.registry.mlflow_uri)
    # The registry has it all.
    shutil.rmtree(site.work(pending.number), ignore_errors=True)
    yield _event(event.kind, event.message, version=version.id, decision=decision.to_dict())


def _update(site: Site, pending: Pending) -> Version:
    """Make the new version from what was taken down, and register it as the candidate."""
    parent = site.registry.get(site.language, pending.parent)
    config = _config(site, parent, pending.number)
    options, work = site.options.update, site.work(pending.number)
    if (work / OLD_USAGE).is_file():
        site.updater.begin(config, parent=parent.folder, new=_new_data_of_0_1(work))
    done = site.updater.finish(config, options, parent=parent.folder)
    return site.registry.register(
        done.run_dir,
        language=site.language,
        parent=parent.id,
        trigger="drift",
        notes={"drift": pending.drift, "update": asdict(site.options.update)},
        leave_out=site.options.registry.leave_out,
    )


def _new_data_of_0_1(work: Path) -> NewData:
    """Read what version 0.1 took down for an update that it began."""
    parts = {name: work / f"{name}.jsonl" for name in ("usage", "current", "test")}
    usage, train, test = (read_jsonl(path) if path.is_file() else [] for path in parts.values())
    return NewData(usage, train=train, test=test)


def _promote(site: Site, version: Version, decision: GateDecision) -> None:
    """Promote once: a process that was killed after the move, or a person who rolled back since, is left alone."""
    if site.registry.aliases(site.language).current == version.id:
        return
    decided = decision.decided_at
    for move in site.registry.history(site.language):
        if move.action == "promote" and move.after == version.id and (move.decision or {}).get("decided_at") == decided:
            return
    site.registry.promote(site.language, version.id, decision=decision, reason="drift; the gate passed it")


def _withdraw(site: Site, version: Version, reason: str) -> None:
    if site.registry.aliases(site.language).candidate == version.id:
        site.registry.withdraw(site.language, reason=reason)


def _fail(site: Site, number: int, version: str, error: CompassError) -> Iterator[Event]:
    """Give an update up: production stays as it is, and the quiet period begins, so that not every check tries it."""
    logger.warning("Update %d failed: %s", number, error)
    if version and site.registry.aliases(site.language).candidate == version:
        site.registry.withdraw(site.language, reason=str(error))
    event = RegistryEvent(
        "refusal", site.language, f"Update {number} failed, and production stays as it is: {error}", version,
        id=_id(site, number, "refusal"),
    )  # fmt: skip
    site.tell(event)
    site.remember(pending=None, ended=site.clock())
    shutil.rmtree(site.work(number), ignore_errors=True)
    yield _event("refusal", event.message, version=version)


def _told(site: Site, number: int, kind: str, message: str, version: Version) -> RegistryEvent:
    return RegistryEvent(kind, site.language, message, version.id, id=_id(site, number, kind))


def _id(site: Site, number: int, kind: str) -> str:
    return f"watch-{site.language}-{site.state.born}{number:04d}-{kind}"


def _event(kind: str, summary: str, version: str = "", **details: Any) -> Event:
    return Event(kind, summary, version, details)


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
