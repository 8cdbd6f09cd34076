"""The loop of production: read `watch` top to bottom.

prompts -> monitor -> drift -> update -> gate -> promotion or refusal -> the monitor restarts on what is in production

The loop watches the registry's `production`: its frozen space and its own usage. If a person promotes or rolls back in
the meantime, the loop follows. Every step is recorded before the next one begins, so the same command continues where
a killed one stopped: a half-done update is finished, and none is promoted twice.
"""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from compass.config import WatchOptions, read_stored, validate
from compass.data.languages import normalize_tag
from compass.drift import InputBatch, Monitor, Skipped
from compass.encoders import CachedEncoder
from compass.errors import ConfigError, RunError
from compass.recipes import update as update_recipe
from compass.recipes.monitor import batches_of, check_source, drift_event, last_status, summary_of
from compass.recipes.watch_update import begin, finish, listen
from compass.records import Event
from compass.registry import Hooks, Registry, RegistryEvent, Version
from compass.registry.folders import number_of
from compass.runs import layout
from compass.runs.files import behind_links, check_place
from compass.runs.folder import Run
from compass.signals import STOPPED
from compass.steps.counting import Counting
from compass.steps.read import check_sources, columns_of
from compass.steps.reference import clusters_of, config_of, known_text, reference_of
from compass.steps.resources import Resources
from compass.steps.watch_asked import answered, asked_of
from compass.steps.watch_events import tell_drift
from compass.steps.watch_rules import drift_stands, production, too_little_usage, why_not_yet
from compass.steps.watch_state import Site, Updater, monitor_name, open_site, skipped_of

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
    """Watch the production version of a language, and update it when usage drifts; yield each event as it happens.

    source: a JSON Lines file, a folder of them, or `-`, as for `monitor`; what was counted is not counted again.
    overrides: options of `adapt` for the updates, which replace those of the version in production. follow: wait for
    more until `stop()`. dry_run: say what would be done, and change nothing. restart: empty the windows, as after a
    change of their options. encoder, updater: replace the version's own encoder and `update`. Events are `drift`,
    `recovered`, `blocked`, `update`, `canary`, `promotion`, `refusal`, `would`, and `status` as for `monitor`. Raises
    CompassError with a message for people.
    """
    check_options(options)
    language = normalize_tag(language)
    registry = Registry(Path(options.registry.registry_dir))
    # Refused before the loop's folder is made.
    production(registry, language)
    check_source(source)
    check_sources(options.watch.update_usage, options.watch.update_train, options.watch.update_test)
    with open_site(
        language, options, overrides or {}, dry_run=dry_run, clock=clock, encoder=encoder, updater=updater
    ) as site:
        # 1. Finish what an earlier process began.
        yield from finish(site)
        batches: Iterator[InputBatch | None] | None = None
        counting: Counting | None = None
        begins = True
        while True:
            # 2. The version in production, with its frozen space and the usage that it was made for.
            version = production(site.registry, language)
            with _monitor(site, version, restart=restart) as (watching, encoder):
                restart = False
                if batches is None:
                    columns = columns_of(read_stored(version.folder / layout.CONFIG).data, "usage")
                    batches = batches_of(source, watching, options.monitor, columns, follow=follow, stop=stop)
                counting = counting or Counting(language, known_text(clusters_of(version.folder)[1]))
                counting.version = number_of(version.id)
                tell_drift(site, watching, version)
                if begins and follow and watching.status()["drift"]:
                    yield _status(site, watching, counting, version)
                begins, blocked = False, ""
                try:
                    for batch in batches:
                        # 3. Count prompts, test for drift, report.
                        if batch is None:
                            watching.purge()
                        else:
                            seen = counting.count(watching, encoder, batch)
                            if batch.is_empty:
                                continue
                            for event in seen.events:
                                yield drift_event(event, watching, encoder)
                            if seen.events:
                                tell_drift(site, watching, version)

                        # 4. A lasting alarm leads to an update: training, gate, promotion.
                        if drift_stands(site, watching):
                            why_not = why_not_yet(site, watching)
                            if why_not and why_not != blocked:
                                yield Event("blocked", f"No update yet: {why_not}")
                            blocked = why_not
                            if not why_not:
                                yield from begin(site, watching, version)
                                yield from finish(site)
                        # A person may ask for an update. If the source ends, that is looked up after its last prompt.
                        if follow:
                            yield from _wished(site, watching, version)

                        # 5. While users judge an update, their feedback decides when that ends.
                        yield from listen(site)

                        # 6. If another version is in production, by this loop or a person, restart the monitor on it.
                        if site.registry.aliases(language).current != version.id:
                            break
                    else:
                        counting.finish(watching)
                        yield from _wished(site, watching, version)
                        if counting.skipped_lines:
                            site.show()
                        yield _status(site, watching, counting, version)
                        return
                except STOPPED:
                    yield from last_status(partial(_status, site, watching, counting, version))
                    raise


def _status(site: Site, watching: Monitor, counting: Counting, version: Version) -> Event:
    """Return where the loop stands as an event."""
    status = watching.status()
    status |= {"new_prompts": counting.prompts, "skipped_lines": counting.skipped_lines}
    summary = f"{summary_of(status)}; {version.id} is in production"
    pending = site.state.pending
    tried = pending.version if pending and pending.on_trial else ""
    if tried:
        summary += f"; {tried} is tried on a share of conversations"
    return Event("status", summary, version.id, {**status, "canary": tried})


def skipped(language: str, options: WatchOptions) -> list[Skipped]:
    """Return what the loop of a language has skipped so far, the most frequent reason first; it holds no text.

    Raises RunError if no loop has watched the language there.
    """
    language = normalize_tag(language)
    found = skipped_of(language, options.watch.watch_dir, options.monitor.database)
    if found is None:
        raise RunError(
            f"No loop has watched {language} in {options.watch.watch_dir} yet. Give its --watch-dir, or its --database."
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
    if options.watch.canary_hours and not (options.watch.update_feedback or options.monitor.database):
        problems.append("canary_hours: users talk to the gateway. Name its folder in update_feedback")
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
        reference_of(version.folder, Run(references / version.id), config, encoder, window=site.options.monitor.window),
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
    if site.state.pending:
        # Users judge another update: it waits for them.
        return
    answered(site.folder)
    if why_not := too_little_usage(site, watching):
        message = f"The update that {asked.by} asked for can't begin: {why_not}"
        site.tell(RegistryEvent("refusal", site.language, message, version.id, {"by": asked.by}))
        yield Event("refusal", message, version.id)
        return
    yield from begin(site, watching, version, asked)
    yield from finish(site)
