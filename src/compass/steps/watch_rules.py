"""When the watch loop may update: a version serves, a drift stands, there is new usage, and it is not too soon."""

from __future__ import annotations

from compass.drift import Monitor
from compass.errors import RegistryError
from compass.registry import Registry, Version
from compass.registry.commands import command
from compass.steps.watch_events import iso_time
from compass.steps.watch_state import DAY, Pending, Site


def production(registry: Registry, language: str) -> Version:
    """Return the version that serves. Raises RegistryError if there is none."""
    current = registry.aliases(language).current
    if not current:
        raise RegistryError(
            f"Nothing of {language} is in production in {registry.root}. Register a run and promote it: "
            f"`{command(registry.root, 'add', 'RUN')}`, `{command(registry.root, 'promote', language)}`."
        )
    return registry.get(language, current)


def alarms_of(site: Site, watching: Monitor) -> tuple[dict[str, int], int]:
    """Return the language's alarms with the prompt that each began at, and its prompts. The mix of languages is left
    out: an adapter can't follow other languages than its own."""
    stream = watching.status()["streams"].get(site.language, {"alarms": {}, "prompts": 0})
    return stream["alarms"], stream["prompts"]


def drift_stands(site: Site, watching: Monitor) -> bool:
    """Say whether a drift stands, and enough prompts have come since it began to say what the new usage is."""
    alarms, prompts = alarms_of(site, watching)
    return bool(alarms) and prompts - min(alarms.values()) >= site.options.watch.prompts_after_drift


def why_not_yet(site: Site, watching: Monitor) -> str:
    """Say why no update may start now; empty if one may."""
    if (pending := site.state.pending) and pending.on_trial:
        return f"{pending.version} is tried on a share of conversations until {iso_time(trial_ends(site, pending))}"
    return too_little_usage(site, watching) or _too_soon(site)


def trial_ends(site: Site, pending: Pending) -> float:
    """Return when users have had their say on a version, in seconds of the epoch."""
    return pending.canary_since + 3600.0 * site.options.watch.canary_hours


def too_little_usage(site: Site, watching: Monitor) -> str:
    """Say why there is not enough new usage for an update; empty if there is."""
    options = site.options.watch
    if options.update_usage:
        return ""
    if site.options.monitor.reservoir == "off":
        return (
            "an update needs the new usage, and the monitor keeps no prompts. Set reservoir to redacted or full, "
            "or name a source in update_usage"
        )
    kept = len(watching.kept_prompts(site.language, most=options.min_usage_rows))
    if kept < options.min_usage_rows:
        return f"the reservoir has {kept} prompts, and min_usage_rows asks for {options.min_usage_rows}"
    return ""


def _too_soon(site: Site) -> str:
    options, now = site.options.watch, site.clock()
    # A clock that was set back by more than that makes no loop wait for it.
    recent = [start for start in site.state.starts if abs(now - start) < DAY]
    if len(recent) >= options.updates_per_day:
        until = f" until {iso_time(recent[-options.updates_per_day] + DAY)}" if options.updates_per_day else ""
        return f"the budget of {options.updates_per_day} updates a day is used up{until}"
    quiet = 3600.0 * options.quiet_hours
    if site.state.ended and abs(now - site.state.ended) < quiet:
        return f"the quiet period after the last update lasts until {iso_time(site.state.ended + quiet)}"
    return ""
