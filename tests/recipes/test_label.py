"""From usage, or what a monitor kept, to a list, files and a report; nothing that a person wrote is lost."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import compass
from compass.config import AdaptConfig, MonitorConfig
from compass.data.example import Example
from compass.data.readers import read_jsonl, write_jsonl
from compass.errors import CompassError, ConfigError, DataError, RunError
from compass.recipes.label import Labelled
from compass.recipes.monitor import monitor
from run_folders import as_version
from topics import TOPICS, TopicEncoder, prompts


def wrapped() -> Any:
    encoder: Any = TopicEncoder()
    return SimpleNamespace(encoder=encoder, encode=encoder.encode, name=encoder.name, revision=encoder.revision)


def label(*given: Any, **more: Any) -> Labelled:
    return compass.label(*given, **more, encoder=wrapped())


def rows(texts: list[str], *, response: str = "", language: str = "cy") -> list[Example]:
    return [Example(f"{language}{i}", text, response, language) for i, text in enumerate(texts)]


@pytest.fixture
def config(tmp_path: Path) -> AdaptConfig:
    """Usage of six topics alike, training data of the first three, a pool in two other languages."""
    write_jsonl(tmp_path / "usage.jsonl", rows(prompts(120, [1 / 6] * 6, 1)))
    write_jsonl(tmp_path / "train.jsonl", rows(prompts(90, [1 / 3] * 3 + [0, 0, 0], 2), response="ok"))
    pool = [row for tag in ("de", "fr") for row in rows(prompts(60, [1 / 6] * 6, 3), response="ok", language=tag)]
    write_jsonl(tmp_path / "pool.jsonl", [replace(row, prompt=f"{row.prompt} {row.language}") for row in pool])
    base = AdaptConfig()
    sources = {"usage": str(tmp_path / "usage.jsonl"), "train": (str(tmp_path / "train.jsonl"),)}
    return replace(
        base,
        run=replace(base.run, output_dir=str(tmp_path / "run"), cache_dir=str(tmp_path / "cache")),
        data=replace(base.data, **sources, pool=(str(tmp_path / "pool.jsonl"),), identify_languages=False),
        space=replace(base.space, n_clusters=6, language_removal="none"),
    )


def topics_of(done: Labelled) -> list[str]:
    return [row.prompt.split()[0] for row in done.labels.prompts]


def test_the_list_asks_for_the_topics_that_nothing_serves(config: AdaptConfig, tmp_path: Path) -> None:
    done = label(config, 3)
    assert sorted(topics_of(done)) == sorted(TOPICS[3:])
    assert all(row.stands_for > 10 for row in done.labels.prompts)
    assert done.report == tmp_path / "run" / "report.html"
    assert "Label these next" in done.report.read_text("utf-8")
    assert [row.prompt for row in read_jsonl(done.files["jsonl"])] == [row.prompt for row in done.labels.prompts]
    assert json.loads((tmp_path / "run" / "label" / "list.json").read_text("utf-8")) == done.labels.to_dict()


def test_a_run_folder_needs_no_more_options_and_is_not_read_again(config: AdaptConfig, tmp_path: Path) -> None:
    """A longer list begins with the shorter one; the data of the run are those that it has."""
    short = label(config, 3)
    (tmp_path / "usage.jsonl").unlink()
    long = label(tmp_path / "run", 8)
    assert topics_of(long)[:3] == topics_of(short)
    assert len(long.labels.prompts) == 8
    elsewhere = label(tmp_path / "run", 2, label_dir=tmp_path / "mine")
    assert elsewhere.report is None
    assert len(read_jsonl(tmp_path / "mine" / "to-label.jsonl")) == 2
    assert len(read_jsonl(tmp_path / "run" / "label" / "to-label.jsonl")) == 8


def test_answers_come_back_as_training_data_and_move_the_list_on(config: AdaptConfig, tmp_path: Path) -> None:
    """Half of the list is answered; the answered prompts are not asked for again, the empty rows are counted."""
    first = label(config, 6)
    listed = read_jsonl(first.files["jsonl"])
    answered = [replace(row, response="ok") if i % 2 == 0 else row for i, row in enumerate(listed)]
    write_jsonl(tmp_path / "answers.jsonl", answered)
    data = replace(config.data, train=(*config.data.train, str(tmp_path / "answers.jsonl")))
    second = label(replace(config, data=data, run=replace(config.run, output_dir=str(tmp_path / "second"))), 6)
    asked = {row.prompt for row in second.labels.prompts}
    assert not asked & {row.prompt for row in answered if row.response}
    assert second.labels.covered_before > first.labels.covered_before
    cleaning = json.loads((tmp_path / "second" / "data" / "cleaning.json").read_text("utf-8"))
    assert cleaning["current"]["dropped"] == {"no response": 3}


def test_only_prompts_without_a_response_are_listed_unless_all_have_one(config: AdaptConfig, tmp_path: Path) -> None:
    usage = read_jsonl(tmp_path / "usage.jsonl")
    test = [Example(f"t{i}", f"{TOPICS[0]} t{i}", "ok", "cy") for i in range(5)]
    write_jsonl(tmp_path / "test.jsonl", test)
    config = replace(config, data=replace(config.data, test=str(tmp_path / "test.jsonl")))
    mixed = [replace(row, response="ok") if i < 80 else row for i, row in enumerate(usage)]
    write_jsonl(tmp_path / "usage.jsonl", mixed)
    done = label(config, 10)
    assert {row.prompt for row in done.labels.prompts} <= {row.prompt for row in mixed[80:]}
    assert done.labels.notes == ("80 of 120 usage prompts have a response already and are not listed.",)
    write_jsonl(tmp_path / "usage.jsonl", [replace(row, response="ok") for row in usage])
    done = label(replace(config, run=replace(config.run, output_dir=str(tmp_path / "all"))), 10)
    assert len(done.labels.prompts) == 10
    assert done.labels.notes[0].startswith("Every usage prompt has a response already")
    assert all(row.response == "" for row in read_jsonl(done.files["jsonl"]))


def test_what_a_monitor_kept_is_listed_as_the_reservoir_has_it(config: AdaptConfig, tmp_path: Path) -> None:
    """Kept prompts go to the files alone: they have a time to be deleted, which a run folder's report has not."""
    label(config, 3)
    run, logs = tmp_path / "run", tmp_path / "logs.jsonl"
    write_jsonl(run / "data" / "tests" / "cy.jsonl", rows(prompts(120, [1 / 6] * 6, 4), response="ok"))
    (run / "data" / "tests.json").write_text('["cy"]')
    new = [f"{text} mail me at a{i}@example.org" for i, text in enumerate(prompts(100, [0, 0, 0, 0, 0, 1], 5))]
    write_jsonl(logs, rows(new))
    kept = MonitorConfig(window=100, reservoir="redacted")
    with pytest.raises(DataError, match="has no monitor"):
        label(run, 3, kept=kept)
    assert len(list(monitor(run, str(logs), kept, encoder=wrapped()))) >= 1
    before = (run / "label" / "list.json").read_bytes()
    done = label(run, 3, kept=kept, label_dir=tmp_path / "kept")
    assert set(topics_of(done)) == {TOPICS[5]}
    assert all("[EMAIL]" in row.prompt and "example.org" not in row.prompt for row in done.labels.prompts)
    assert (run / "label" / "list.json").read_bytes() == before
    time.sleep(0.01)
    with pytest.raises(DataError, match="keeps no prompt in cy"):
        label(run, 3, kept=replace(kept, retention_days=1e-9))


def test_what_can_t_be_done_is_said(config: AdaptConfig, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    refusals: list[tuple[type[CompassError], str, Callable[[], Any]]] = [
        (ConfigError, "n must be at least 1", lambda: label(config, 0)),
        (RunError, "is not a run folder", lambda: label(tmp_path / "nothing", 3)),
    ]
    for error, text, call in refusals:
        with pytest.raises(error, match=text):
            call()
    label(config, 3)
    run = tmp_path / "run"
    (run / "adapter").mkdir()
    (run / "adapter" / "adapter_model.safetensors").write_bytes(b"x")
    with pytest.raises(RunError, match="holds a finished run"):
        label(config, 3)
    run = run.rename(as_version(tmp_path))
    with pytest.raises(RunError, match=r"version of the registry.*--label-dir"):
        label(run, 3)
    assert label(run, 3, label_dir=tmp_path / "mine").files["csv"].is_file()
    (run / "space" / "space.safetensors").unlink()
    with pytest.raises(RunError, match=r"has no space/space.safetensors yet"):
        label(run, 3, label_dir=tmp_path / "mine")
