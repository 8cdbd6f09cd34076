"""Tests of the loop with an encoder that costs nothing and an update that is written down instead of trained."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pytest

from compass.data.example import Example
from compass.data.readers import write_jsonl
from compass.drift import Monitor
from compass.errors import ConfigError, DataError, MonitorError, RegistryError, RegistryUnavailableError, RunError
from compass.recipes import watch as recipe
from compass.recipes import watch_update
from compass.registry import Registry
from compass.runs.files import file_hash
from compass.steps.watch_asked import Asked, ask, asked_of
from compass.steps.watch_state import MONITOR_FILE, Updater, open_site
from half_written import half_written
from topics import MOVED, STEADY, prompts
from watch_world import (
    BETTER,
    WORSE,
    drift,
    hooked,
    kinds,
    run,
    start,
    status_of,
    watch_folder,
    write,
    write_version,
)


def test_steady_usage_changes_nothing_and_is_counted_once(world):
    """Breaks if the loop updates without cause or counts a line twice over two runs."""
    write(world.logs / "day1.jsonl", prompts(300, STEADY, 2))
    for _ in range(2):
        (status,) = run(world)
        assert (status.kind, status.details["prompts"], status.details["drift"]) == ("status", 300, False)
        assert "no drift; v0001-" in status.summary
    assert not world.made
    assert not hooked(world)


def test_too_few_prompts_are_not_called_steady(world):
    """Breaks if nothing was tested and the loop says that there is no drift."""
    write(world.logs / "day1.jsonl", prompts(30, STEADY, 2))
    (status,) = run(world)
    assert status.summary.startswith("30 prompts counted (30 new): too few to tell; v0001-")


def test_drift_leads_to_an_update_that_serves_and_is_watched(world):
    """The whole loop: alarm, new usage alone, candidate, gate, promotion, and no alarm on the usage it was made for."""
    drift(world)
    before = world.registry.get("cy", "production")
    events = run(world)
    assert kinds(events) == ["update", "promotion", "status"]
    after = world.registry.get("cy", "production")
    assert (after.parent, after.trigger, after.number) == (before.id, "drift", 2)
    assert after.notes["drift"]["alarms"]
    usage = world.made[0]["usage"]
    assert len(usage) == 100
    assert all(text.split()[1].startswith("3-") for text in usage), "prompts of before the alarm are no new usage"
    assert world.made[0]["rows"] == 200, "the gate needs as many rows of the old tests as of the new"
    assert hooked(world)[-2:] == ["update", "promotion"]
    assert set(hooked(world)) == {"drift", "update", "promotion"}
    assert [event.kind for event in world.registry.events("cy")] == hooked(world)
    assert after.id in (Path(world.options.watch.watch_dir) / "status.html").read_text("utf-8")
    assert not list(watch_folder(world).glob("update-*")), "prompts must not lie about"
    assert all(check.ok for check in world.registry.verify("cy")), "a version must not be written to"
    with closing(sqlite3.connect(watch_folder(world) / "monitor.db")) as state:
        kept = [text for (text,) in state.execute("SELECT prompt FROM compass_prompts")]
    assert len(kept) == status_of(events)["streams"]["cy"]["prompts"], "kept prompts of the old windows are forgotten"

    write(world.logs / "day3.jsonl", prompts(400, MOVED, 4))
    (status,) = run(world)
    assert status.details["drift"] is False
    assert status.details["streams"]["cy"]["prompts"] >= 400


@pytest.mark.parametrize(
    "step", ["tell drift", "_update", "tell update", "decide", "_promote before", "_promote after", "tell promotion"]
)
def test_a_killed_loop_goes_on_and_promotes_once(world, monkeypatch, step):
    """Kill the loop in and between its steps: the same command ends with one version, promoted once."""
    drift(world)
    name = step.split()[0]
    real: Callable[..., Any] = open_site if name == "tell" else getattr(watch_update, name)

    def killed(*given: Any, **more: Any) -> Any:
        if step in ("_update", "_promote after"):
            real(*given, **more)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        if name == "tell":
            from compass.steps.watch_state import Site

            tell = Site.tell

            def dies(site: Any, event: Any) -> None:
                if event.kind == step.split()[1]:
                    raise KeyboardInterrupt
                tell(site, event)

            patch.setattr(Site, "tell", dies)
        else:
            patch.setattr(watch_update, name, killed)
        with pytest.raises(KeyboardInterrupt):
            run(world)
    events = run(world)
    assert kinds(events)[-2:] == ["promotion", "status"]
    assert len(world.registry.versions("cy")) == 2
    assert [move.action for move in world.registry.history("cy")].count("promote") == 2, (
        "the first version and this one"
    )
    assert world.registry.aliases("cy").current == world.registry.versions("cy")[1].id
    assert hooked(world).count("update") == hooked(world).count("promotion") == 1
    told = [event.id for event in world.registry.events("cy")]
    assert len(set(told)) == len(told) == len(hooked(world))
    assert "drift" in hooked(world)


@pytest.mark.parametrize("move", ["rollback", "another version"])
def test_what_a_person_took_out_of_production_is_not_promoted_again(world, monkeypatch, move):
    """Killed after the move, taken back by a person, started again: the person's word holds, and nothing failed."""
    drift(world)
    real = watch_update._promote

    def dies(*given: Any) -> None:
        real(*given)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(watch_update, "_promote", dies)
        with pytest.raises(KeyboardInterrupt):
            run(world)
    if move == "rollback":
        world.registry.rollback("cy", reason="complaints")
    else:
        other = write_version(world.root / "other", prompts(300, STEADY, 7), seed=5, right={})
        world.registry.register(other, trigger="manual")
        world.registry.promote("cy", reason="by hand")
    chosen = world.registry.aliases("cy").current
    *events, status = run(world)
    assert "refusal" not in kinds(events)
    assert world.registry.aliases("cy").current == chosen == status.version


@pytest.mark.parametrize("trained", [False, True])
def test_an_update_of_what_serves_no_longer_ends_before_more_is_done(world, monkeypatch, trained):
    """A person was faster: it would be trained and tested for nothing, for the registry refuses it."""
    drift(world)
    first = world.registry.aliases("cy").current
    other = write_version(world.root / "other", prompts(300, STEADY, 7), seed=5, right={})
    real = watch_update._update

    def moved(*given: Any) -> Any:
        done = real(*given) if trained else None
        world.registry.register(other, trigger="manual")
        world.registry.promote("cy", reason="by hand")
        if done is None:
            raise KeyboardInterrupt
        return done

    with monkeypatch.context() as patch:
        patch.setattr(watch_update, "_update", moved)
        if trained:
            patch.setattr(watch_update, "decide", None)
            events = run(world)
        else:
            with pytest.raises(KeyboardInterrupt):
                run(world)
            events = run(world)
    assert kinds(events)[:-1] == (["update", "refusal"] if trained else ["refusal"])
    now = world.registry.aliases("cy")
    refused = next(event for event in events if event.kind == "refusal")
    assert f"{now.current} is in production now, and the update was to follow {first}." in refused.summary
    assert (len(world.made), now.candidate) == (int(trained), "")
    assert world.registry.get("cy", now.current).trigger == "manual"


def test_a_refusal_leaves_production_and_starts_the_quiet_period(world):
    """An update that forgets must not serve; and it must not be tried again at each look."""
    drift(world)
    world.right = WORSE
    first = world.registry.aliases("cy").current
    events = run(world)
    assert kinds(events) == ["update", "refusal", "blocked", "status"]
    refused = events[[event.kind for event in events].index("refusal")]
    assert refused.details["decision"]["verdict"] == "refuse"
    assert "quiet period" in next(event.summary for event in events if event.kind == "blocked")
    aliases = world.registry.aliases("cy")
    assert (aliases.current, aliases.candidate) == (first, "")
    assert world.registry.events("cy")[-1].details["decision"]["verdict"] == "refuse"

    world.clock.now += 7 * 3600
    write(world.logs / "day3.jsonl", prompts(100, MOVED, 5))
    assert kinds(run(world)) == ["update", "refusal", "blocked", "status"]
    world.clock.now += 7 * 3600
    write(world.logs / "day4.jsonl", prompts(100, MOVED, 6))
    held = run(world)
    assert kinds(held) == ["blocked", "status"]
    assert "budget of 2 updates a day" in held[0].summary
    world.clock.now += 24 * 3600
    world.right = BETTER
    write(world.logs / "day5.jsonl", prompts(100, MOVED, 7))
    assert kinds(run(world))[:2] == ["update", "promotion"]


def test_a_dry_run_says_what_it_would_do_and_changes_nothing(world):
    """Breaks if a dry run leaves any byte in the registry or the loop's folder, or calls a hook."""
    write(world.logs / "day1.jsonl", prompts(200, STEADY, 2))
    run(world)
    write(world.logs / "day2.jsonl", prompts(300, MOVED, 3))
    roots = (world.root / "registry", world.root / "watch")

    def hashes() -> dict[Path, str]:
        return {path: file_hash(path) for root in roots for path in root.rglob("*") if path.is_file()}

    before = hashes()
    events = run(world, dry_run=True)
    assert kinds(events) == ["would", "blocked", "status"]
    assert events[-1].details["prompts"] == 500, "it goes on where the real loop is"
    assert before == hashes()
    assert not world.made
    assert not hooked(world)


def test_a_dry_run_reads_what_a_killed_loop_left_half_done(world):
    """Breaks if it fails on the journal of a commit that a kill cut off, until the loop itself runs again."""
    write(world.logs / "day1.jsonl", prompts(200, STEADY, 2))
    run(world)
    database = next((world.root / "watch").rglob(MONITOR_FILE))
    half_written(database, world.root / "killed")
    for end in ("", "-journal"):
        shutil.copy(world.root / f"killed{end}", f"{database}{end}")
    assert run(world, dry_run=True)[-1].details["prompts"] == 200


def test_without_kept_prompts_an_update_needs_a_source(world):
    """Breaks if the loop updates on nothing, or a source of labelled rows is not used."""
    drift(world)
    world.options = dataclasses.replace(
        world.options, monitor=dataclasses.replace(world.options.monitor, reservoir="off")
    )
    events = run(world)
    assert kinds(events) == ["blocked", "status"]
    assert "an update needs the new usage" in next(e.summary for e in events if e.kind == "blocked")

    rows = [Example(str(i), text, "ie", "cy") for i, text in enumerate(prompts(80, MOVED, 8))]
    write_jsonl(world.root / "labelled.jsonl", [*rows, Example("en", "news en", "yes", "en")])
    world.options = dataclasses.replace(
        world.options,
        watch=dataclasses.replace(
            world.options.watch, update_usage=str(world.root / "labelled.jsonl"),
            update_test=str(world.root / "labelled.jsonl"),
        ),
    )  # fmt: skip
    write(world.logs / "day3.jsonl", prompts(100, MOVED, 4))
    assert "promotion" in kinds(run(world))
    assert world.made[0]["usage"] == [row.prompt for row in rows]
    assert world.made[0]["test"] == [row.prompt for row in rows]


def test_an_update_that_fails_is_told_and_the_watch_goes_on(world, monkeypatch):
    """A source that is gone must not end the watch, nor be tried at each look."""
    drift(world)

    def fails(*_given: Any, **_more: Any) -> None:
        raise DataError("The usage sample has 3 rows in cy.")

    world.updater = Updater(fails, fails)
    events = run(world)
    assert kinds(events) == ["refusal", "blocked", "status"]
    assert "failed" in world.registry.events("cy")[-1].message
    assert len(world.registry.versions("cy")) == 1


def test_an_update_that_ends_in_any_error_does_not_end_the_watch(world):
    """Breaks if an error of a library, at each restart again, keeps prompts from being counted, or quotes them."""
    drift(world)

    def fails(*_given: Any, **_more: Any) -> None:
        raise LookupError("secret prompt")

    world.updater = Updater(world.updater.begin, fails)
    events = run(world)
    assert kinds(events) == ["refusal", "blocked", "status"]
    assert "unexpected LookupError" in events[-3].summary
    assert "secret" not in json.dumps([event.to_dict() for event in [*events, *world.registry.events("cy")]])


def test_what_the_loop_skipped_is_on_its_page(world):
    """Breaks if lines that the loop passed over are seen in its log alone."""
    write(world.logs / "day1.jsonl", [*prompts(100, STEADY, 2), "weather", *prompts(100, STEADY, 3)])
    (world.logs / "day2.jsonl").write_text('{"prompt": 1}\n')
    (status,) = run(world)
    assert (status.details["prompts"], status.details["skipped_lines"]) == (200, 2)
    page = (Path(world.options.watch.watch_dir) / "status.html").read_text("utf-8")
    assert "Skipped by the monitor" in page
    assert "day2.jsonl, line 1" in page


def test_a_full_disk_ends_the_watch_and_costs_no_update(world, monkeypatch):
    """A trained adapter would be thrown away, and the budget of updates with it, for want of a few bytes."""
    drift(world)
    with monkeypatch.context() as patch:

        def full(*_given: Any, **_more: Any) -> None:
            raise RegistryUnavailableError("Can't register: no space left on the device.")

        patch.setattr(Registry, "register", full)
        with pytest.raises(RegistryUnavailableError):
            run(world)
    assert (watch_folder(world) / "update-0001" / "run" / "lock.json").is_file()
    assert kinds(run(world)) == ["update", "promotion", "status"]
    assert len(list(watch_folder(world).glob("update-*"))) == 0


def test_what_a_person_asks_for_waits_for_no_drift(world):
    """Breaks if the wish is not followed once all prompts are counted, is followed twice, or who asked is lost."""
    write(world.logs / "a.jsonl", prompts(200, STEADY, 2))
    folder = Path(world.options.watch.watch_dir) / "cy"
    ask(folder, Asked("anna", "2026-11-29T12:00:00+00:00", "new topics"))
    kinds = [event.kind for event in run(world)]
    assert kinds == ["update", "promotion", "status"]
    assert asked_of(folder) is None
    version = world.registry.get("cy", "production")
    assert (version.trigger, version.notes["drift"]["asked_by"]) == ("manual", "anna")
    assert world.registry.history("cy")[-1].reason == "asked for by anna; the gate passed it"
    assert len(world.made) == 1


def test_a_wish_without_usage_is_refused_on_record(world):
    """Breaks if the wish waits for ever, or nobody hears why nothing came of it."""
    write(world.logs / "a.jsonl", prompts(20, STEADY, 2))
    folder = Path(world.options.watch.watch_dir) / "cy"
    ask(folder, Asked("anna", "2026-11-29T12:00:00+00:00"))
    events = run(world)
    assert [event.kind for event in events] == ["refusal", "status"]
    assert asked_of(folder) is None
    assert "anna asked for can't begin: the reservoir has 20 prompts" in world.registry.events("cy")[-1].message


def test_a_second_loop_on_the_registry_is_heard(world):
    """Its first update would have the number, and the id, of the first loop's, which hooks are told of once."""
    drift(world)
    run(world)
    before = hooked(world)
    write(world.logs / "day3.jsonl", prompts(300, STEADY, 4))
    world.options = dataclasses.replace(
        world.options, watch=dataclasses.replace(world.options.watch, watch_dir=str(world.root / "other"))
    )
    assert {"update", "promotion"} <= {event.kind for event in run(world)} or "refusal" in hooked(world)
    assert hooked(world)[len(before) :].count("update") == 1
    ids = [event.id for event in world.registry.events("cy")]
    assert len(ids) == len(set(ids))


def test_too_little_usage_makes_no_version(world):
    """Usage too scarce to be the next reference would end the watch after its promotion."""
    drift(world)
    source = world.root / "few.jsonl"
    write(source, prompts(12, MOVED, 8))
    world.options = dataclasses.replace(
        world.options, watch=dataclasses.replace(world.options.watch, update_usage=str(source))
    )
    assert kinds(run(world)) == ["refusal", "blocked", "status"]
    assert "has 12 rows in cy" in world.registry.events("cy")[-1].message
    assert not world.made


def test_a_mirror_that_fails_does_not_undo_a_promotion(world, monkeypatch):
    """Our registry decides: what MLflow says of it must not turn a promotion into a refusal."""
    drift(world)
    world.options = dataclasses.replace(
        world.options, registry=dataclasses.replace(world.options.registry, mlflow_uri="http://127.0.0.1:1")
    )

    def fails(*_given: Any) -> None:
        raise RegistryError("MLflow can't be written.")

    monkeypatch.setattr("compass.registry.mirror", fails)
    assert kinds(run(world)) == ["update", "promotion", "status"]


def test_a_promotion_by_a_person_is_followed(world):
    """The monitor must compare with the usage of what serves, whoever put it there."""
    write(world.logs / "day1.jsonl", prompts(200, STEADY, 2))
    run(world)
    world.registry.register(write_version(world.root / "v1", prompts(300, MOVED, 5), seed=7, right={}))
    world.registry.promote("cy")
    write(world.logs / "day2.jsonl", prompts(200, MOVED, 3))
    (status,) = run(world)
    assert status.version == world.registry.aliases("cy").current
    assert (status.details["drift"], status.details["streams"]["cy"]["prompts"]) == (False, 200)


def test_what_is_wrong_is_said_at_once(world):
    with pytest.raises(RegistryError, match="Nothing of ne is in production"):
        list(recipe.watch("ne", str(world.logs), world.options))
    with pytest.raises(DataError, match="nowhere does not exist"):
        list(recipe.watch("cy", "nowhere", world.options))
    absent = dataclasses.replace(
        world.options, watch=dataclasses.replace(world.options.watch, update_test="tests-of-next-week.jsonl")
    )
    with pytest.raises(DataError, match=r"tests-of-next-week\.jsonl"):
        list(recipe.watch("cy", str(world.logs), absent))
    assert not Path(world.options.watch.watch_dir).exists()
    wrong = dataclasses.replace(
        world.options,
        monitor=dataclasses.replace(world.options.monitor, window=130),
        watch=dataclasses.replace(world.options.watch, updates_per_day=-1),
    )
    with pytest.raises(ConfigError, match=r"(?s)window must be a multiple.*updates_per_day must be at least 0"):
        list(recipe.watch("cy", str(world.logs), wrong))
    with (
        open_site(
            "cy", world.options, {}, dry_run=False, clock=world.clock, encoder=world.encoder, updater=world.updater
        ),
        pytest.raises(RunError, match="Another process watches cy"),
    ):
        run(world)
    run(world)
    world.options = dataclasses.replace(world.options, monitor=dataclasses.replace(world.options.monitor, window=200))
    with pytest.raises(MonitorError, match="restart"):
        run(world)
    assert kinds(run(world, restart=True)) == ["status"]


@pytest.mark.parametrize("dry_run", [False, True])
def test_a_damaged_state_says_what_to_do_and_that_helps(world, dry_run):
    """Breaks if the advice is to run the command that just failed, or names a copy of a dry run that is gone."""
    write(world.logs / "day1.jsonl", prompts(200, STEADY, 2))
    run(world)
    state = Path(world.options.watch.watch_dir) / "cy" / "state.json"
    state.write_text("?", "utf-8")
    with pytest.raises(RegistryError) as raised:
        run(world, dry_run=dry_run)
    said = str(raised.value)
    assert said.startswith(f"{state} can't be read as JSON (")
    assert said.count("can't be read") == 1
    assert "move it away" in said
    assert "run the command" not in said
    state.rename(state.with_name("state.json.broken"))
    assert kinds(run(world)) == ["status"]
    assert world.registry.aliases("cy").current


def test_a_stream_is_not_cut_when_the_version_changes(world, monkeypatch):
    """Standard input can't be read twice: what was read of it goes on to the next monitor."""
    lines = "".join(json.dumps({"prompt": t}) + "\n" for t in [*prompts(200, STEADY, 2), *prompts(600, MOVED, 3)])

    class Pipe:
        def __init__(self) -> None:
            self.parts: Iterator[bytes] = (lines.encode()[i : i + 701] for i in range(0, len(lines), 701))

        def read1(self, _size: int) -> bytes:
            return next(self.parts, b"")

        read = read1

    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=Pipe()))
    events = list(start(world, "-"))
    assert "promotion" in kinds(events)
    assert tuple(status_of(events)[name] for name in ("prompts", "skipped_lines", "drift")) == (800, 0, False)


def test_a_status_page_that_can_not_be_written_stops_nothing(world, caplog, monkeypatch):
    """An update of hours counted as failed because a page for people had no room."""

    def full(*_given: Any, **_more: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("compass.report.build_status", full)
    drift(world)
    assert kinds(run(world)) == ["update", "promotion", "status"]
    assert "The status page can't be written" in caplog.text


def test_a_pipe_as_status_page_is_refused_at_the_start(world):
    os.mkfifo(world.root / "pipe")
    watch_options = dataclasses.replace(world.options.watch, status_page=str(world.root / "pipe"))
    world.options = dataclasses.replace(world.options, watch=watch_options)
    with pytest.raises(ConfigError, match=r"status_page: .* is not a file but a pipe"):
        run(world)


def test_a_clock_that_goes_back_loses_no_hook(world):
    """Summer time on a machine without UTC, or a first synchronisation: drift stood, and nobody was told."""
    world.options = dataclasses.replace(
        world.options, watch=dataclasses.replace(world.options.watch, prompts_after_drift=100_000)
    )
    drift(world)
    run(world)
    before = hooked(world)
    assert set(before) == {"drift"}
    world.clock.now -= 7200
    write(world.logs / "day3.jsonl", prompts(400, STEADY, 4))
    write(world.logs / "day4.jsonl", prompts(400, MOVED, 5))
    run(world)
    assert len(hooked(world)) > len(before)
    told = [event.id for event in world.registry.events("cy")]
    assert len(set(told)) == len(told) == len(hooked(world))
    run(world)
    assert len(hooked(world)) == len(told), "nobody is told twice"


def test_a_clock_that_was_a_year_ahead_makes_no_loop_wait(world):
    drift(world)
    world.right = WORSE
    world.clock.now += 365 * 86_400
    assert kinds(run(world)) == ["update", "refusal", "blocked", "status"]
    world.clock.now -= 365 * 86_400
    write(world.logs / "day3.jsonl", prompts(100, MOVED, 5))
    assert kinds(run(world)) == ["update", "refusal", "blocked", "status"]


def test_a_loop_of_version_0_1_tells_no_drift_again(world):
    """Its state knows the time of the last drift, not its id."""
    from compass.registry.files import read_sealed, write_sealed

    world.options = dataclasses.replace(
        world.options, watch=dataclasses.replace(world.options.watch, prompts_after_drift=100_000)
    )
    drift(world)
    run(world)
    before, path = hooked(world), watch_folder(world) / "state.json"
    state = read_sealed(path)
    del state["told_event"]
    write_sealed(path, {**state, "told": world.clock.now})
    run(world)
    assert hooked(world) == before


def keep(told, events):
    """Add events to a list, which has those before an error too."""
    for event in events:
        told.append(event)


def test_who_stops_the_loop_is_told_its_status_and_who_starts_it_that_drift_stands(world, monkeypatch):
    """Breaks if a followed loop ends without a word, or begins without one while drift stands."""
    monkeypatch.setattr("compass.drift.sources.time", SimpleNamespace(sleep=Mock(side_effect=KeyboardInterrupt)))
    world.options = dataclasses.replace(
        world.options, watch=dataclasses.replace(world.options.watch, min_usage_rows=5_000)
    )
    drift(world)
    for begin in (False, True):
        told = []
        with pytest.raises(KeyboardInterrupt):
            keep(told, start(world, follow=True))
        statuses = [event for event in told if event.kind == "status"]
        assert [status.details["drift"] for status in statuses] == [True] * (2 if begin else 1)
        assert {status.details["prompts"] for status in statuses} == {500}
        assert (told[0].kind == "status") == begin
        assert told[-1].summary.endswith(" is in production")


def test_a_status_that_cannot_be_told_does_not_hide_who_stopped_the_loop(world, monkeypatch, caplog):
    """Breaks if Ctrl-C, while the database is gone, ends the loop as an error, or nobody hears why it has no status."""
    stopped = Mock(side_effect=KeyboardInterrupt)
    monkeypatch.setattr("compass.drift.sources.time", SimpleNamespace(sleep=stopped))
    write(world.logs / "day1.jsonl", prompts(200, STEADY, 2))
    status = Monitor.status

    def gone(self):
        if stopped.called:
            raise MonitorError("the database is gone")
        return status(self)

    monkeypatch.setattr(Monitor, "status", gone)
    told = []
    with pytest.raises(KeyboardInterrupt):
        keep(told, start(world, follow=True))
    assert "status" not in {event.kind for event in told}
    assert "The status can't be told: the database is gone" in caplog.text
