"""The status page: what is in production, what waits, what happened, and why the gate said what it said."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compass.errors import RegistryError
from compass.report.blocks import Block, Cell, Facts, Section, Table, Text, table
from compass.report.html import render_page
from compass.report.wording import bare_language, language, level, number, p_value, plural, signed
from compass.runs.files import behind_links, write_text

if TYPE_CHECKING:
    from compass.drift import Skipped
    from compass.registry import Check, Move, Registry, RegistryEvent, Version

MOST = 20
"""Events, moves and versions of a language that are listed, newest first."""

TONES = {"promote": "good", "passed": "good", "refuse": "bad", "failed": "bad"}
KINDS = {"promotion": "good", "refusal": "bad", "drift": "bad"}


def build_status(
    registry: Registry, path: Path, *, verify: bool = True, skipped: Mapping[str, Sequence[Skipped]] | None = None
) -> Path:
    """Write the page of a registry as one HTML file that asks nothing of any server, and return its path.

    The page has no texts of users; web servers may read it. Where `path` is a link, the file behind it is written.
    verify: hash every file of every version, so that the page says what is damaged. skipped: what the watch of each
    language passed over. Raises RegistryError if the registry can't be read, RunError if `path` is no file; a damaged
    state or history of one language is told on the page.
    """
    write_text(behind_links(path), render_status(registry, verify=verify, skipped=skipped), private=False)
    return path


def render_status(
    registry: Registry, *, verify: bool = True, skipped: Mapping[str, Sequence[Skipped]] | None = None
) -> str:
    """Return the page as HTML."""
    languages = registry.languages()
    parts = [_section(registry, tag, verify=verify, skipped=(skipped or {}).get(tag, ())) for tag in languages]
    if not parts:
        parts = [Section("summary", "Summary", "Summary", (Text("No version is registered yet.", "lead"),))]
    title = "COMPASS status"
    if len(languages) == 1:
        title = f"{bare_language(languages[0])} · COMPASS status"
    return render_page(title, "Registry", registry.root.resolve().name, tuple(parts))


def _section(registry: Registry, tag: str, *, verify: bool, skipped: Sequence[Skipped]) -> Section:
    versions: tuple[Version, ...] = ()
    blocks: list[Block] = []
    try:
        versions = registry.versions(tag)
        now = registry.aliases(tag)
        history = registry.history(tag)
        events = registry.events(tag)
    except RegistryError as error:
        blocks = [Text(str(error), "note"), *_versions(versions, {}, {})]
        return Section(f"language-{tag}", bare_language(tag), language(tag), tuple(blocks))
    checks = {check.id: check for check in registry.verify(tag)} if verify else {}
    blocks.append(Text(_lead(now.current, now.candidate, checks), "lead"))
    facts = [
        ("In production", now.current or "nothing"),
        ("Rollback restores", now.previous or "nothing"),
        ("Candidate", now.candidate or "none"),
        ("Versions", number(len(versions))),
    ]
    if events:
        facts.append(("Last event", f"{events[-1].kind}, {_time(events[-1].at)}"))
    blocks.append(Facts(tuple(facts)))
    for damaged in (check for check in checks.values() if not check.ok):
        blocks.append(Text(f"{damaged.id} is damaged. {'; '.join(damaged.problems)}", "note"))
    roles = {now.previous: "previous", now.candidate: "candidate", now.current: "production"}
    if (decision := last_decision(history, events)) is not None:
        blocks += decision_blocks(decision)
    blocks += event_blocks(events)
    blocks += skipped_blocks(skipped)
    blocks += _versions(versions, roles, checks)
    blocks.append(move_table(history))
    return Section(f"language-{tag}", bare_language(tag), language(tag), tuple(blocks))


def move_table(history: Sequence[Move]) -> Table:
    """Return the table of a language's moves."""
    return table(
        "Moves of the aliases, newest first",
        ("#Move", "When", "What", "From", "To", "Why"),
        [
            (
                number(move.sequence),
                _time(move.at),
                move.action,
                Cell(move.before, code=True, tone="id"),
                Cell(move.after, code=True, tone="id"),
                move.reason or ("the gate passed it" if move.decision else ""),
            )
            for move in reversed(history[-MOST:])
        ],
        collapsed=True,
    )


def last_decision(history: Sequence[Move], events: Sequence[RegistryEvent]) -> Mapping[str, Any] | None:
    """Return the gate's last decision; None where there is none."""
    decisions = [(move.at, move.decision) for move in history if move.decision]
    # A refusal moves no alias: the event brings the decision.
    decisions += [
        (event.at, event.details["decision"]) for event in events if isinstance(event.details.get("decision"), Mapping)
    ]
    return max(decisions, key=lambda pair: pair[0])[1] if decisions else None


def _lead(current: str, candidate: str, checks: Mapping[str, Check]) -> str:
    if not current:
        return "Nothing is in production yet." + (f" {candidate} waits to be promoted." if candidate else "")
    check = checks.get(current)
    state = "is in production" if not checks else "is in production, but missing"
    if check:
        state = "is in production, all files intact" if check.ok else "is in production, but damaged: roll back"
    return f"{current} {state}." + (f" {candidate} waits to be promoted." if candidate else "")


LAST = "The gate's last decision"


def decision_blocks(content: Mapping[str, Any], title: str = LAST, *, collapsed: bool = False) -> list[Block]:
    """Return the table of a gate decision, or what is damaged of it."""
    try:
        return [_decision_table(content, title, collapsed=collapsed)]
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        return [Text(f"{title} is damaged ({type(error).__name__}: {error}).", "note")]


def _decision_table(content: Mapping[str, Any], title: str, *, collapsed: bool) -> Block:
    verdict = str(content["verdict"])
    rows = [
        (
            str(test["name"]),
            str(test["role"]),
            number(test["n"]),
            _value(test["before"]),
            _value(test["after"]),
            _value(test["difference"], sign=True),
            _interval(test["low"], test["high"]),
            p_value(test["p"]),
            _value(-test["margin"], sign=True),
            Cell(str(test["verdict"]), tone=TONES.get(str(test["verdict"]), "quiet")),
            str(test["more_data"]),
        )
        for test in content["tests"]
    ]
    about = f"{content['candidate'] or 'a candidate'} against {content['baseline'] or 'production'}"
    columns = (
        "Test", "Role", "#n", "#Before", "#After", "#Difference", "#Interval", "#p", "#Must be above", "Verdict",
        "What would help",
    )  # fmt: skip
    return table(
        f"{title}: {verdict}",
        columns,
        rows,
        note=f"{about}, {_time(str(content['decided_at']))}. {content['reason']} Each test is one-sided at "
        f"a level of {level(content['level'])}. The ends of an interval are one-sided limits.",
        collapsed=collapsed,
    )


def event_blocks(events: Sequence[RegistryEvent]) -> list[Block]:
    """Return the table of a language's events."""
    if not events:
        return [Text("No event yet.", "quiet")]
    rows = [
        (
            _time(event.at),
            Cell(event.kind, tone=KINDS.get(event.kind, "quiet")),
            event.message,
            Cell(event.version, code=True, tone="id"),
        )
        for event in reversed(events[-MOST:])
    ]
    note = f"{plural(len(events) - MOST, 'earlier event')} not shown." if len(events) > MOST else ""
    return [table("Events, newest first", ("When", "What", "Message", "Version"), rows, note=note)]


def skipped_blocks(skipped: Sequence[Skipped]) -> list[Block]:
    """List what the monitor passed over; nothing where it passed over nothing."""
    if not skipped:
        return []
    rows = [
        (
            skip.reason,
            number(skip.n),
            skip.first,
            _time(datetime.fromtimestamp(skip.at, UTC).isoformat()) if skip.at else "–",
        )
        for skip in skipped
    ]
    note = "Places and counts alone: what was skipped is not kept."
    return [table("Skipped by the monitor", ("Reason", "#How often", "First at", "When"), rows, note=note)]


def _versions(versions: Sequence[Version], roles: Mapping[str, str], checks: Mapping[str, Check]) -> list[Block]:
    rows = []
    for version in reversed(versions[-MOST:]):
        check = checks.get(version.id)
        state = Cell("not checked", tone="quiet") if check is None else Cell("intact", tone="good")
        if check and not check.ok:
            state = Cell("damaged", tone="bad")
        metrics = "; ".join(
            f"{test} {name.replace('_', ' ')} {number(value, 3)}"
            for test, values in version.metrics.items()
            for name, value in values.items()
            if name == (main := "loss_per_byte" if "chrf" in values else "exact_match") or main not in values
        )
        rows.append(
            (
                Cell(version.id, code=True, tone="id"),
                roles.get(version.id, ""),
                _time(version.created_at),
                version.trigger,
                Cell(version.parent, code=True, tone="id"),
                metrics,
                f"{number(version.size / 1e6, 1)} MB",
                state,
            )
        )
    note = f"{plural(len(versions) - MOST, 'earlier version')} not shown." if len(versions) > MOST else ""
    columns = ("Version", "Alias", "Made", "Trigger", "Parent", "Measured", "#Size", "Files")
    return [table("Versions, newest first", columns, rows, note=note)]


def _value(value: float | None, *, sign: bool = False) -> str:
    if value is None:
        return "–"
    return signed(value, 3) if sign else number(value, 3)


def _interval(low: float | None, high: float | None) -> str:
    """Return a test's interval; a dash for a test that has none."""
    if low is None and high is None:
        return "–"
    return f"[{_value(low, sign=True)}, {_value(high, sign=True)}]"


def _time(text: str) -> str:
    """Return `2026-04-22 09:30 UTC` of an ISO time."""
    return text[:16].replace("T", " ") + " UTC"
