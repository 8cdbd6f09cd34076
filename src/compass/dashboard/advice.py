"""What a product owner should do next for a language, and why: one rule after the other, the first that fits."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from compass.dashboard.words import number, plural
from compass.drift.explain import Explanation
from compass.drift.reading import Watched
from compass.drift.wording import story
from compass.registry.commands import command

if TYPE_CHECKING:
    from compass.dashboard.places import Places
    from compass.dashboard.state import LanguageView

GOOD, BAD, BUSY, QUIET = "good", "bad", "busy", "quiet"
"""Tones; each has a word beside its colour."""


@dataclass(frozen=True)
class Advice:
    """The next action."""

    title: str = "Nothing to do"
    why: str = ""
    action: str = ""
    """`promote`, `rollback`, `update` or `label`: the page offers it at once; empty for none."""
    tone: str = QUIET


@dataclass(frozen=True)
class Drift:
    """Whether users ask for other things than the version in production was made for."""

    word: str = "Not watched"
    tone: str = QUIET
    said: tuple[str, ...] = ()
    """What changed, since when, and how sure that is."""


def drift_of(watched: Watched | None) -> Drift:
    """Say where a monitor stands."""
    if watched is None:
        return Drift()
    if watched.alarms:
        return Drift("Drift", BAD, _what_changed(watched))
    if not watched.full:
        size = watched.full_size or 0
        return Drift("Gathering", QUIET, (f"{number(watched.prompts)} of {number(size)} prompts that a check needs.",))
    return Drift("Steady", GOOD, (f"{plural(watched.prompts, 'prompt')} compared with what it was made for.",))


def _what_changed(watched: Watched) -> tuple[str, ...]:
    drifts = [event for event in watched.events if event.get("kind") == "drift" and event.get("test") in watched.alarms]
    for event in reversed(drifts):
        try:
            told = story(Explanation.from_dict(event["explanation"]), float(event["p_value"]))
        except (LookupError, TypeError, ValueError, AttributeError):
            continue
        return tuple(f"{_capital(line)}." for line in told)
    tests = ", ".join(sorted(watched.alarms))
    return (f"The test {tests} raised an alarm.",)


def next_step(view: LanguageView, places: Places) -> Advice:
    """Return what to do next for a language. places: for the commands that are named."""
    production, candidate = view.production, view.candidate
    if view.problem:
        return Advice("Repair the registry", view.problem, tone=BAD)
    if production and production.damaged:
        back = " Roll back to the version before." if view.aliases.previous else " Register and promote another."
        action = "rollback" if view.aliases.previous else ""
        return Advice(f"{_capital(production.name)} is damaged", f"{production.problem}.{back}", action, BAD)
    if view.pending and view.pending.on_trial:
        name = candidate.name if candidate else "The candidate"
        since = _day(datetime.fromtimestamp(view.pending.canary_since, UTC).isoformat())
        why = (
            f"{_capital(name)} has answered a share of conversations since {since}, if the gateway runs with --canary. "
        )
        why += "The watch loop promotes or withdraws it, by what they say."
        return Advice("Wait for what users say", why, tone=BUSY)
    if view.pending:
        what = "The gate is testing it" if view.pending.version else "It is being trained; then the gate tests it"
        return Advice("An update is on its way", f"{what}. Nothing to do until then.", tone=BUSY)
    if view.asked:
        why = f"{view.asked.by} asked for one on {_day(view.asked.at)}. The watch loop starts it at its next check."
        return Advice("An update was asked for", why, tone=BUSY)
    if not production:
        if candidate and not candidate.damaged:
            why = f"{_capital(candidate.name)} is ready, and nothing is in production yet."
            return Advice(f"Promote {candidate.name}", why, "promote", BUSY)
        add = command(places.registry.root, "add", "RUN")
        return Advice("Register a version", f"There is no version to put into production yet: {add}.")
    if candidate:
        return _about_candidate(view, candidate.name)
    if view.watched and view.watched.alarms:
        changed = view.drift.said[0] if view.drift.said else ""
        if not view.watched.n_kept:
            why = f"{changed} There are no kept prompts to learn from: set reservoir to redacted."
            return Advice("Keep prompts", why, tone=BAD)
        why = f"Users ask for other things than before. {changed} An update can learn them from the kept prompts."
        return Advice("Start an update", why, "update", BAD)
    return _where_all_is_well(view, places)


def _about_candidate(view: LanguageView, name: str) -> Advice:
    if view.decision is None:
        return Advice(f"Look at {name}", f"It waits, and the gate can't decide on it. {view.no_decision}", tone=BUSY)
    if view.decision.promotes:
        return Advice(f"Promote {name}", f"The gate passes it. {view.decision.reason}", "promote", GOOD)
    if view.decision.verdict == "refuse":
        return Advice(f"Leave {name} out", f"The gate refuses it. {view.decision.reason}", tone=BAD)
    more = next((test.more_data for test in view.decision.tests if test.more_data), "")
    return Advice(f"Test {name} on more rows", f"{view.decision.reason} {more}".strip(), "label", BUSY)


def _where_all_is_well(view: LanguageView, places: Places) -> Advice:
    if view.watch_problem:
        return Advice("Look at the monitor", view.watch_problem, tone=BAD)
    if view.watched is None:
        why = f"No monitor checks whether usage changes: {places.watch_command(view.tag)}."
        return Advice("Start watching it", why)
    if not view.watched.full:
        return Advice("Wait for more prompts", view.drift.said[0] if view.drift.said else "")
    return Advice("Nothing to do", "Users ask for what it was made for.", tone=GOOD)


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _day(iso: str) -> str:
    try:
        return datetime.fromisoformat(iso).astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")
    except ValueError:
        return "an unknown day"
