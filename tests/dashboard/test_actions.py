"""What may be done, what is refused and why, and that either is on record with who did it."""

from __future__ import annotations

import re

import pytest
import yaml
from filelock import FileLock

from compass.drift.reading import read_kept_rows
from compass.registry.files import write_sealed
from compass.serve.keys import read_keys
from compass.steps.watch_asked import Asked, ask, asked_of, loop_runs
from compass.steps.watch_state import Pending, State
from dashboard_client import Site, keys


def last(site: Site, language: str = "cy") -> dict[str, object]:
    """Return what the last event of a language says."""
    event = site.registry.events(language)[-1]
    assert event.kind == "action"
    return {"message": event.message, **event.details}


def test_a_candidate_is_promoted_through_the_gate(own: Site) -> None:
    """Would break if a promotion leaves out the gate, or who did it."""
    now = own.registry.aliases("cy")
    assert "Its decision now: <strong>promote</strong>" in own.get("/cy/promote").text
    page = own.act("/cy/promote", version=now.candidate, expected=now.current, reason="better <b>x</b>").text
    assert f"{now.candidate} is in production." in page
    move = own.registry.history("cy")[-1]
    assert (move.action, move.after) == ("promote", now.candidate)
    assert move.decision["verdict"] == "promote"  # type: ignore[index]
    assert move.reason == "anna, on the dashboard: better <b>x</b>"
    assert last(own)["by"] == "anna"
    assert last(own)["done"] is True
    assert "&lt;b&gt;x" in page
    assert ">The gate, 20" in page


def test_a_candidate_that_the_gate_refuses_stays_out(own: Site) -> None:
    """Would break if the gate's no is not heeded, not explained or not on record."""
    now = own.registry.aliases("cy")
    own.dashboard.actions.gate = type(own.dashboard.actions.gate)(min_improvement=0.9)
    page = own.act("/cy/promote", version=now.candidate, expected=now.current).text
    assert "Not done." in page
    assert "The gate does not pass it (refuse). The candidate does worse than allowed on cy." in page
    assert own.registry.aliases("cy") == now
    assert last(own)["done"] is False
    assert "was refused to promote" in str(last(own)["message"])


def test_a_rollback_takes_one_step_and_says_who(own: Site) -> None:
    """Would break if it goes back to another version, or its reason is lost."""
    now = own.registry.aliases("cy")
    page = own.act("/cy/rollback", version=now.previous, expected=now.current, reason="complaints").text
    assert f"{now.previous} is in production again" in page
    assert own.registry.history("cy")[-1].reason == "anna, on the dashboard: complaints"
    again = own.act("/cy/rollback", version=now.previous, expected=now.current)
    assert "somebody was faster" in again.text


def test_a_first_version_needs_no_gate(own: Site) -> None:
    """Would break if a language could never begin."""
    id = own.registry.aliases("de").candidate
    assert "is in production." in own.act("/de/promote", version=id, expected="none").text


def test_nothing_to_go_back_to_is_said(own: Site) -> None:
    """Would break if a page or an action fails where there is no earlier version."""
    assert "There is no version to go back to" in own.get("/el/rollback").text
    now = own.registry.aliases("el")
    assert "Not done." in own.act("/el/rollback", version="", expected=now.current).text


def test_prompts_are_marked_and_marks_taken_back(own: Site) -> None:
    """Would break if a mark is not kept with who made it, or one of another language's prompt is taken."""
    url, names = own.places.monitor("cy"), own.places.monitors("cy")
    ids = [row.id for row in read_kept_rows(url, names, "cy", oldest=0.0, most=3)]
    assert (
        "3 prompts are marked for labelling." in own.act("/cy/label", prompts=[*map(str, ids), "x"], marks="yes").text
    )
    assert {row.marked_by for row in read_kept_rows(url, names, "cy", oldest=0.0, most=3)} == {"anna"}
    assert "Not done." in own.act("/cy/label", prompts=ids, marks="yes").text
    assert "1 prompt is no longer marked." in own.act("/cy/label", prompts=ids[:1], marks="no").text
    assert "No prompt was chosen" in own.act("/cy/label", marks="yes").text


def test_an_update_is_asked_of_the_loop_that_runs(own: Site) -> None:
    """Would break if a second loop were started beside it, or two updates asked for."""
    with FileLock(own.root / "watch" / "cy" / "watch.lock"):
        assert loop_runs(own.root / "watch" / "cy")
        assert "The watch loop starts it at its next check" in own.act("/cy/update", reason="new topics").text
        assert "on its way already" in own.act("/cy/update").text
    asked = asked_of(own.root / "watch" / "cy")
    assert (asked.by, asked.reason) == ("anna", "new topics")  # type: ignore[union-attr]
    assert own.launches == []
    assert "An update was asked for" in own.get("/").text


def test_a_version_that_users_judge_is_no_promotion_to_be_made(own: Site) -> None:
    """Would break if the page asked for a promotion while the loop waits for what users say."""
    state = State(pending=Pending(1, own.registry.aliases("cy").current, {}, "v", None, canary_since=1_700_000_000.0))
    write_sealed(own.root / "watch" / "cy" / "state.json", state.to_dict())
    page = own.get("/cy").text
    assert "Wait for what users say" in page
    assert "Version 3 has answered a share of conversations since 2023-11-14" in page


def test_without_a_loop_one_is_started(own: Site) -> None:
    """Would break if its command lost the kept prompts, the windows' options or the gate."""
    (own.root / "serve" / "prompts").mkdir()
    assert "It has started" in own.act("/cy/update").text
    (command,) = own.launches
    line = " ".join(command)
    assert f"watch cy {own.root / 'serve' / 'prompts'}" in line
    for flag in ("--reservoir redacted", "--window 300", f"--watch-dir {own.root / 'watch'}"):
        assert flag in line
    assert "on its way already" in own.act("/cy/update").text


def test_a_loop_that_fails_leaves_no_wish_behind(own: Site) -> None:
    """Would break if the page said for ever that an update is on its way."""
    (own.root / "serve" / "prompts").mkdir()
    own.act("/cy/update")
    (own.root / "watch" / "cy" / "dashboard.log").write_text("compass: the disk is full\n")
    own.launches.process.returncode = 1
    own.dashboard.updates.tidy()
    assert asked_of(own.root / "watch" / "cy") is None
    assert "has not begun: compass: the disk is full" in str(last(own)["message"])


@pytest.mark.parametrize(("language", "why"), [("de", "Nothing is in production"), ("el", "has no prompts for one")])
def test_an_update_that_can_not_start_says_why(own: Site, language: str, why: str) -> None:
    """Would break if a wish waited where nobody could fulfil it."""
    page = own.get(f"/{language}/update").text
    assert why in page
    assert "<form" not in page.split("<main")[1]
    assert why in own.act(f"/{language}/update").text
    assert asked_of(own.root / "watch" / language) is None


def test_a_password_is_in_no_argument(own: Site) -> None:
    """Would break if every user of the machine could read the database's password in the list of processes."""
    import dataclasses

    from compass.dashboard.updates import Updates

    own.places = dataclasses.replace(own.places, database="postgresql://u:secret@db/x")
    updates = Updates(own.places, own.dashboard.actions.gate)
    updates._mode = lambda language: "redacted"  # type: ignore[method-assign]
    command = updates.command("cy", None)
    assert "secret" not in " ".join(command)
    file = own.root / "watch" / "cy" / "dashboard.yaml"
    assert yaml.safe_load(file.read_text()) == {"database": "postgresql://u:secret@db/x"}
    assert file.stat().st_mode & 0o777 == 0o600


def test_a_damaged_wish_is_none(own: Site) -> None:
    """Would break if half a file stopped the loop or the page."""
    folder = own.root / "watch" / "el"
    ask(folder, Asked("anna", "2026-01-01T00:00:00+00:00"))
    assert asked_of(folder)
    (folder / "asked.json").write_text("{")
    assert asked_of(folder) is None
    assert own.get("/el").status_code == 200


def test_live_says_what_has_changed(own: Site) -> None:
    """Would break if a page stayed as it was after a move, or was loaded anew without a reason."""
    live = own.dashboard.live
    first = live.stamp()
    live._looked = float("-inf")
    assert live.stamp() == first
    own.registry.rollback("cy")
    live._looked = float("-inf")
    assert live.stamp() != first
    assert re.fullmatch(r"[0-9a-f]{16}", first)
    assert keys().open_dashboard
    assert not read_keys("", {}).open_dashboard
