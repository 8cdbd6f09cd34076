from __future__ import annotations

import io
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from compass.config import AdaptConfig, MonitorConfig, dump_config
from compass.data.example import Example
from compass.data.readers import write_jsonl
from compass.errors import MonitorError, RunError
from compass.recipes import monitor as recipe
from run_folders import write_options, write_topic_space
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
