from __future__ import annotations

import io
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pytest

from compass.config import AdaptConfig, MonitorConfig, dump_config
from compass.data.example import Example
from compass.data.readers import write_jsonl
from compass.drift import Monitor
from compass.errors import EncoderError, MonitorError, RunError
from compass.recipes import monitor as recipe
from compass.report import build_report
from compass.runs.folder import Run
from run_folders import as_version, write_options, write_topic_space
from topics import MOVED, STEADY, TopicEncoder, prompts

OPTIONS = MonitorConfig(window=100, prompts_per_false_alarm=20_000, monitor_batch_size=64)


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    """A run folder as `compass adapt` leaves it, of an encoder that costs nothing."""
    folder = tmp_path / "run"
    write_topic_space(folder)
    write_options(folder)
    (folder / "data" / "tests").mkdir(parents=True)
    (folder / "data" / "tests.json").write_text('["cy"]')
    rows = [Example(id=str(i), prompt=text, language="cy") for i, text in enumerate(prompts(300, STEADY, 1))]
    write_jsonl(folder / "data" / "tests" / "cy.jsonl", rows)
    write_jsonl(folder / "data" / "usage.jsonl", rows[:50])
    return folder


def monitor(*given: Any, **more: Any) -> Iterator[Any]:
    encoder: Any = TopicEncoder()
    wrapped: Any = SimpleNamespace(encoder=encoder, encode=encoder.encode, name=encoder.name, revision=encoder.revision)
    return recipe.monitor(*given, **more, encoder=wrapped)


def write(path: Path, texts: list[str]) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.writelines(json.dumps({"prompt": text, "language": "cym"}) + "\n" for text in texts)


def test_a_folder_is_watched_and_drift_is_told(run_dir, tmp_path):
    """Breaks if a line is counted twice over three runs, steady usage alarms, or drift is not told by name."""
    logs = tmp_path / "logs"
    logs.mkdir()
    write(logs / "day1.jsonl", prompts(300, STEADY, 2))
    (status,) = monitor(run_dir, str(logs), OPTIONS)
    assert (status.kind, status.details["prompts"], status.details["drift"]) == ("status", 300, False)
    (status,) = monitor(run_dir, str(logs), OPTIONS)
    assert status.details["prompts"] == 300
    write(logs / "day1.jsonl", prompts(20, STEADY, 3))
    write(logs / "day2.jsonl", [*prompts(200, MOVED, 4)])
    with (logs / "day2.jsonl").open("a") as file:
        file.write("not json\n")
    *events, status = monitor(run_dir, str(logs), replace(OPTIONS, reservoir="full"))
    assert (status.details["prompts"], status.details["skipped_lines"], status.details["drift"]) == (520, 1, True)
    drift = next(event for event in events if event.kind == "drift" and event.details["test"] == "histogram")
    grown, *_ = drift.details["explanation"]["grew"]
    assert grown["name"] == "vacuum"
    assert grown["examples"]
    assert drift.details["explanation"]["shrank"][0]["examples"][0].endswith("old")
    (first, *_) = drift.details["label_next"]
    assert first["prompt"].startswith("vacuum")
    assert first["stands_for"] > 20
    assert drift.summary.endswith("compass label RUN --kept lists the kept prompts to answer first")
    json.dumps([event.to_dict() for event in events])
    assert b"vacuum 4-" not in (run_dir / "monitor" / "reference" / "reference.safetensors").read_bytes()


def test_standard_input_and_another_reference(run_dir, tmp_path, monkeypatch):
    """Breaks if a pipe can't be read, or a new reference is mixed with windows of the old one."""
    lines = "".join(json.dumps({"prompt": text}) + "\n" for text in prompts(120, STEADY, 5))
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(lines.encode())))
    (status,) = monitor(run_dir, "-", OPTIONS)
    assert status.details["streams"]["cy"]["prompts"] == status.details["prompts"] == 120
    fresh = tmp_path / "fresh.jsonl"
    write(fresh, prompts(200, MOVED, 6))
    with pytest.raises(MonitorError, match="another reference"):
        list(monitor(run_dir, "-", OPTIONS, reference=str(fresh)))
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(b"")))
    (status,) = monitor(run_dir, "-", OPTIONS, reference=str(fresh), restart=True)
    assert status.details["streams"]["cy"]["prompts"] == 0


def test_no_prompt_is_left_behind(run_dir, tmp_path):
    """Breaks if by default any file below the run folder holds a prompt of production."""
    write(tmp_path / "in.jsonl", [f"{text} uniquely-private" for text in prompts(150, MOVED, 7)])
    list(monitor(run_dir, str(tmp_path / "in.jsonl"), OPTIONS))
    files = [path for path in run_dir.rglob("*") if path.is_file()]
    assert any(path.name == "state.db" for path in files)
    assert not [path for path in files if b"uniquely-private" in path.read_bytes()]


def test_a_folder_that_is_no_run_is_named(tmp_path):
    """Breaks if a wrong folder ends in a traceback."""
    with pytest.raises(RunError, match="not a run folder"):
        list(monitor(tmp_path, "-", OPTIONS))


@pytest.mark.parametrize("stopped", [KeyboardInterrupt, SystemExit])
def test_who_stops_a_followed_log_is_told_its_status_and_who_starts_it_that_drift_stands(
    run_dir, tmp_path, stopped, monkeypatch
):
    """Breaks if drift that was told days ago is neither said at the end of following nor at the next start."""
    monkeypatch.setattr("compass.drift.sources.time", SimpleNamespace(sleep=Mock(side_effect=stopped)))
    log = tmp_path / "log.jsonl"
    write(log, prompts(300, STEADY, 2) + prompts(200, MOVED, 4))
    for begin in (False, True):
        told = []
        with pytest.raises(stopped):
            keep(told, monitor(run_dir, str(log), OPTIONS, follow=True))
        statuses = [event for event in told if event.kind == "status"]
        assert [event.details["drift"] for event in statuses] == [True] * (2 if begin else 1)
        assert [event.details["prompts"] for event in statuses] == [500] * len(statuses)
        assert told[0].kind == ("status" if begin else "drift")
        assert told[-1].kind == "status"


def test_a_status_that_cannot_be_told_does_not_hide_the_stop(run_dir, tmp_path, monkeypatch):
    """Breaks if who stops a monitor on a database that is gone gets the exit code of an error."""
    log = tmp_path / "log.jsonl"
    write(log, prompts(200, STEADY, 2))
    monkeypatch.setattr("compass.drift.state.MonitorState.write", Mock(side_effect=SystemExit(143)))
    events = monitor(run_dir, str(log), OPTIONS)
    read = Monitor.status
    first = iter([read])
    monkeypatch.setattr(Monitor, "status", lambda self: next(first, Mock(side_effect=MonitorError("gone")))(self))
    with pytest.raises(SystemExit) as end:
        list(events)
    assert end.value.code == 143


def test_the_status_of_a_batch_that_was_broken_off_is_what_is_on_record(run_dir, tmp_path, monkeypatch):
    """Breaks if Ctrl-C between a window and its transaction tells prompts as counted that are not."""
    log = tmp_path / "log.jsonl"
    write(log, prompts(200, STEADY, 2))
    monkeypatch.setattr("compass.drift.state.MonitorState.write", Mock(side_effect=KeyboardInterrupt))
    told = []
    with pytest.raises(KeyboardInterrupt):
        keep(told, monitor(run_dir, str(log), OPTIONS))
    (status,) = told
    assert (status.details["prompts"], status.details["streams"]["cy"]["prompts"]) == (0, 0)


def keep(told: list[Any], events: Iterator[Any]) -> None:
    """Add events to a list, which has those before an error too."""
    for event in events:
        told.append(event)


def test_a_version_of_the_registry_is_not_written_to(run_dir, tmp_path):
    """Breaks if monitoring a version adds files to it, so that it counts as damaged and can't be rolled back to."""
    write(tmp_path / "log.jsonl", prompts(50, STEADY, 2))
    version = run_dir.rename(as_version(tmp_path))
    before = sorted(version.rglob("*"))
    with pytest.raises(RunError, match=r"version of the registry.*compass watch LANGUAGE"):
        list(monitor(version, str(tmp_path / "log.jsonl"), OPTIONS))
    with pytest.raises(RunError, match=r"version of the registry.*or a copy"):
        build_report(version)
    with pytest.raises(RunError, match=r"version of the registry.*or a copy"), Run(version).locked():
        pass
    assert sorted(version.rglob("*")) == before


def test_the_status_says_what_is_new(run_dir, tmp_path):
    """A file of which no line can be read would look like steady usage."""
    logs = tmp_path / "day1.jsonl"
    write(logs, prompts(30, STEADY, 2))
    (status,) = monitor(run_dir, str(logs), OPTIONS)
    assert (status.details["new_prompts"], status.details["skipped_lines"]) == (30, 0)
    plain = tmp_path / "plain.jsonl"
    plain.write_text("helo\n" * 5)
    (status,) = monitor(run_dir, str(plain), OPTIONS)
    assert (status.details["prompts"], status.details["new_prompts"], status.details["skipped_lines"]) == (30, 0, 5)


def test_what_another_adapter_answered_is_no_usage_of_this_one(run_dir, tmp_path):
    """Of a gateway with two languages every monitor would raise an alarm of the mix of languages."""
    logs = tmp_path / "day1.jsonl"
    served = {"cy": ("cy", prompts(120, STEADY, 2)), "el": ("el", prompts(150, MOVED, 3)), "und": ("?", ["hm"] * 9)}
    rows = [
        {"prompt": text, "language": language, "served_language": adapter}
        for adapter, (language, texts) in served.items()
        for text in texts
    ]
    # A Greek sentence that a client sent to the Welsh adapter by name is Welsh usage.
    rows += [{"prompt": text, "language": "el", "served_language": "cy"} for text in prompts(10, STEADY, 4)]
    logs.write_text("".join(json.dumps(row) + "\n" for row in rows))
    *events, status = monitor(run_dir, str(logs), OPTIONS)
    assert events == []
    assert (status.details["new_prompts"], status.details["answered_elsewhere"]) == (130, 159)
    assert status.details["skipped_lines"] == 0
    assert "159 answered by other adapters and left out" in status.summary
    (row,) = recipe.skipped(run_dir, OPTIONS)
    assert (row.n, row.reason[:41]) == (159, "a prompt that another language's adapter ")
    assert status.details["skipped"] == {}


def test_what_users_say_of_answers_is_the_monitors_loss(run_dir, tmp_path):
    """An adapter that answers worse and worse would go unnoticed while usage stays what it was."""
    logs = tmp_path / "day1.jsonl"
    write(logs, prompts(150, STEADY, 2))

    def say(first: int, last: int, *, correct: bool, language: str = "cy") -> None:
        with logs.open("a") as file:
            for i in range(first, last):
                row = {"label_of": f"a{i}", "served_language": language, "version": 2, "correct": correct}
                file.write(json.dumps(row) + "\n")

    say(0, 250, correct=True)
    say(0, 400, correct=False, language="el")
    say(0, 200, correct=False)  # The first word on an answer counts.
    (status,) = monitor(run_dir, str(logs), OPTIONS)
    assert (status.details["new_prompts"], status.details["skipped_lines"]) == (150, 0)
    assert status.details["streams"]["cy"]["labelled"] == 50  # The first 200 are what later ones are compared with.
    say(250, 450, correct=False)
    with logs.open("a") as file:
        file.write('{"label_of": "a900", "served_language": "cy"}\n')
    *events, status = monitor(run_dir, str(logs), OPTIONS)
    assert {event.details["test"] for event in events if event.kind == "drift"} == {"loss"}
    assert status.details["skipped"] == {"feedback without answer, language, version or verdict": 1}


def test_a_prompt_that_the_encoder_does_not_take_is_passed_over(run_dir, tmp_path):
    """Breaks if one prompt that the encoder fails on ends the stream, takes its batch with it, or is not told."""
    logs = tmp_path / "day1.jsonl"
    write(logs, [*prompts(70, STEADY, 2), "weather secret", *prompts(20, STEADY, 3), "weather too"])
    with logs.open("a") as file:
        file.write("{\n")
    (status,) = monitor(run_dir, str(logs), OPTIONS)
    assert (status.details["new_prompts"], status.details["skipped_lines"]) == (90, 3)
    (skip, other) = recipe.skipped(run_dir, OPTIONS)
    assert (skip.reason, skip.n) == ("the encoder fails on the prompt (ValueError)", 2)
    assert (other.reason, other.n) == ("broken JSON", 1)
    assert skip.first.startswith("day1.jsonl from byte ")
    assert "secret" not in json.dumps([skip.to_dict()]) + status.summary


def test_an_encoder_that_takes_nothing_stops_the_monitor_and_loses_nothing(run_dir, tmp_path, monkeypatch):
    """Breaks if an encoder that is down turns all prompts into skipped lines, or its batch is not read again."""
    logs = tmp_path / "day1.jsonl"
    write(logs, prompts(70, STEADY, 2))
    list(monitor(run_dir, str(logs), OPTIONS))
    write(logs, prompts(200, STEADY, 3))
    with monkeypatch.context() as patch:
        patch.setattr(TopicEncoder, "encode", lambda *_: 1 / 0)
        for _ in range(2):
            with pytest.raises(EncoderError, match=r"topics fails on texts that it took before \(ZeroDivisionError\)"):
                list(monitor(run_dir, str(logs), OPTIONS))
    (status,) = monitor(run_dir, str(logs), OPTIONS)
    assert (status.details["prompts"], status.details["skipped"]) == (270, {})


def test_prompts_that_the_encoder_never_takes_are_an_error_after_many(run_dir, tmp_path, monkeypatch):
    """Breaks if a log that the encoder can't take at all is skipped for ever, or blocks what comes after it."""
    monkeypatch.setattr("compass.steps.counting.MOST_IN_A_ROW", 100)
    logs = tmp_path / "day1.jsonl"
    write(logs, ["weather"] * 150 + prompts(10, STEADY, 2))
    with pytest.raises(EncoderError, match="did not take 100 prompts in a row"):
        list(monitor(run_dir, str(logs), OPTIONS))
    (status,) = monitor(run_dir, str(logs), OPTIONS)
    assert (status.details["prompts"], status.details["skipped"]) == (
        10, {"the encoder fails on the prompt (ValueError)": 150}
    )  # fmt: skip


@pytest.mark.parametrize("piped", [False, True])
def test_a_batch_that_fails_is_given_up_once_another_was_counted(run_dir, tmp_path, monkeypatch, piped):
    """Breaks if an error that nobody thought of ends the stream, or is passed over where every batch has it."""
    logs, real = tmp_path / "day1.jsonl", Monitor.observe
    write(logs, [*prompts(64, STEADY, 2), *prompts(64, MOVED, 3), *prompts(64, STEADY, 4)])
    fails = {"3-"}

    def source() -> str:
        monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(logs.read_bytes())))
        return "-" if piped else str(logs)

    def observe(self: Any, vectors: Any, languages: Any, *, texts: Any = (), **more: Any) -> Any:
        if any(text.split()[1].startswith(tuple(fails)) for text in texts):
            raise LookupError(texts[0])
        return real(self, vectors, languages, texts=texts or None, **more)

    with monkeypatch.context() as patch:
        patch.setattr(Monitor, "observe", observe)
        (status,) = monitor(run_dir, source(), OPTIONS)
        lost = {"its batch could not be counted (LookupError)": 64}
        assert (status.details["prompts"], status.details["skipped"], status.details["skipped_lines"]) == (
            128,
            lost,
            64,
        )
        fails = {"5-", "6-"}
        logs = tmp_path / "day2.jsonl"
        write(logs, [*prompts(64, STEADY, 1), *prompts(64, MOVED, 5), *prompts(64, MOVED, 6)])
        with pytest.raises(MonitorError, match="Two batches of prompts in a row"):
            list(monitor(run_dir, source(), OPTIONS))
        fails = {"6-"}
        with pytest.raises(MonitorError, match="The last batch of prompts could not be counted"):
            list(monitor(run_dir, source(), OPTIONS))
    if not piped:
        *_, status = monitor(run_dir, source(), OPTIONS)
        assert (status.details["prompts"], status.details["skipped"]) == (128 + 192, lost)


def test_the_adapters_language_is_known_in_any_form(run_dir, tmp_path):
    """Breaks if `cym` in the options or `cy-GB` in a line is another language, which was never seen before."""
    options = AdaptConfig()
    text = dump_config(replace(options, data=replace(options.data, language="cym")))
    (run_dir / "compass.yaml").write_text(text)
    log = tmp_path / "log.jsonl"
    with log.open("w", encoding="utf-8") as file:
        for i, prompt in enumerate(prompts(300, STEADY, 2)):
            tag = {0: {}, 1: {"language": "cy-GB"}, 2: {"language": "cy_GB"}}[i % 3]
            file.write(json.dumps({"prompt": prompt, **tag}) + "\n")
    (status,) = monitor(run_dir, str(log), OPTIONS)
    assert (status.details["drift"], status.details["streams"]["cy"]["prompts"]) == (False, 300)
