"""Several languages as one project: what is done once, what is told when, and what stays of a failure."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from compass.config import AdaptConfig, Project, load_config, load_project
from compass.data.example import Example
from compass.data.readers import write_jsonl
from compass.errors import ConfigError
from compass.recipes.adapt import adapt
from compass.recipes.project import ProjectDone, adapt_project, select_project
from compass.runs import layout
from compass.runs.finished import check_finished
from compass.steps import read as reading
from compass.steps.resources import Resources
from tiny_model import make_tiny_model
from topics import TopicEncoder, prompts

LANGUAGES = ("cy", "el", "de")


@dataclass
class Counted:
    """An encoder of topics that counts what it embeds."""

    texts: list[str] = field(default_factory=list)

    def wrapped(self) -> Any:
        encoder: Any = TopicEncoder()
        kept: dict[str, Any] = {}

        def encode(texts: list[str]) -> Any:
            new = [text for text in dict.fromkeys(texts) if text not in kept]
            self.texts += new
            kept.update(zip(new, encoder.encode(new), strict=True) if new else ())
            return encoder.encode([]) if not texts else __import__("numpy").stack([kept[text] for text in texts])

        return SimpleNamespace(encoder=encoder, encode=encode, name=encoder.name, revision=encoder.revision)


def rows(texts: list[str], language: str, response: str = "ok") -> list[Example]:
    return [Example(f"{language}{i}", f"{text} {language}", response, language) for i, text in enumerate(texts)]


def write(folder: Path, *, broken: str = "") -> Path:
    """Write three small languages and the file of their project; a record of the broken one's usage is cut."""
    for tag in LANGUAGES:
        write_jsonl(folder / f"usage.{tag}.jsonl", rows(prompts(24, [1 / 6] * 6, 1), tag))
        write_jsonl(folder / f"train.{tag}.jsonl", rows(prompts(12, [1 / 3] * 3 + [0, 0, 0], 2), tag))
    if broken:
        with (folder / f"usage.{broken}.jsonl").open("a") as file:
            file.write('{"prompt": "cut\n')
    write_jsonl(folder / "pool.jsonl", [row for tag in ("fr", "es") for row in rows(prompts(40, [1 / 6] * 6, 3), tag)])
    options = folder / "compass.yaml"
    options.write_text(
        f"usage: {folder}/usage.{{language}}.jsonl\ntrain: {folder}/train.{{language}}.jsonl\n"
        f"pool: {folder}/pool.jsonl\noutput_dir: {folder}/runs\ncache_dir: {folder}/cache\n"
        f"model_name_or_path: {folder}/model\nbudget: 8\nmax_steps: 1\nmax_new_tokens: 2\nn_clusters: 6\n"
        "language_removal: none\nidentify_languages: false\nmax_length: 200\nmax_test_rows: 4\n"
        "languages: [cy, el, de]\n"
    )
    return options


def project_of(options: Path, *only: str) -> Project[AdaptConfig]:
    project = load_project(AdaptConfig, options, only=only)
    assert project is not None
    return project


@dataclass
class Here:
    """Finishes runs in this process, and remembers which."""

    encoder: Any
    failing: Mapping[str, str] = field(default_factory=dict)
    finished: list[str] = field(default_factory=list)

    def __call__(self, folders: Mapping[str, Path]) -> Mapping[str, str]:
        for tag, folder in folders.items():
            self.finished.append(tag)
            if tag not in self.failing:
                config = load_config(folder / layout.CONFIG)
                adapt(config, Resources(config, encoder=self.encoder))
        return {tag: message for tag, message in self.failing.items() if tag in folders}


@dataclass
class World:
    """One project that was run, and what happened on the way."""

    options: Path
    counted: Counted
    finish: Here
    reads: list[str]
    done: ProjectDone


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    folder = tmp_path_factory.mktemp("project")
    make_tiny_model(folder / "model")
    options, counted, reads = write(folder, broken="el"), Counted(), list[str]()
    encoder = counted.wrapped()
    finish = Here(encoder, {"de": "12:00 INFO training\nan odd line\ncompass: The model is gone.\nGive another."})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reading, "read_examples", spy(reading.read_examples, reads))
        patch.setattr(reading, "iter_sources", spy(reading.iter_sources, reads))
        done = adapt_project(project_of(options), finish=finish, encoder=encoder)
    return World(options, counted, finish, reads, done)


def spy(function: Callable[..., Any], calls: list[str]) -> Callable[..., Any]:
    def read(source: Any, **more: Any) -> Any:
        calls.append(str(source))
        return function(source, **more)

    return read


def test_what_is_wrong_with_one_language_leaves_the_others(world: World) -> None:
    """A broken record of `el` is told before anything is trained; `de` fails in its own process."""
    assert world.finish.finished == ["cy", "de"]
    cy, el, de = world.done.languages
    assert [one.state for one in (cy, el, de)] == ["finished", "failed", "failed"]
    assert "usage.el.jsonl" in el.message
    assert "line 25" in el.message
    assert de.message == "The model is gone.\nGive another."
    assert world.done.failed
    assert cy.picked == 8
    assert cy.difference is not None
    assert cy.difference.name == "cy"


def test_the_pool_is_read_and_embedded_once(world: World) -> None:
    assert sum("pool.jsonl" in source for source in world.reads) == 1
    assert len(world.counted.texts) == len(set(world.counted.texts))


def test_a_language_is_the_same_as_a_run_of_its_own(world: World, tmp_path: Path) -> None:
    config = load_config(world.options, {"language": "cy", "output_dir": str(tmp_path)})
    adapt(config, Resources(config, encoder=Counted().wrapped()))
    alone, ours = tmp_path / "cy", world.done.languages[0].run_dir
    for name in (
        layout.POOL, layout.USAGE, layout.DROPPED, layout.SPACE_WEIGHTS, layout.PICKS, layout.ADAPTER_WEIGHTS,
        layout.DIFFERENCES, "eval/adapter/cy.json",
    ):  # fmt: skip
        assert (alone / name).read_bytes() == (ours / name).read_bytes(), name
    check_finished(ours)


def test_the_same_command_goes_on_with_what_is_not_finished(world: World) -> None:
    write(world.options.parent)
    finish = Here(world.finish.encoder, {"de": "It was killed."})
    done = adapt_project(project_of(world.options), finish=finish, encoder=world.finish.encoder)
    assert finish.finished == ["el", "de"]
    assert [one.state for one in done.languages] == ["unchanged", "finished", "failed"]
    assert done.languages[0].difference == world.done.languages[0].difference
    finish = Here(world.finish.encoder, {"cy": "", "de": ""})
    changed = world.options.read_text().replace("[cy, el, de]", "{cy: {lora_r: 8}, el: , de: }")
    world.options.write_text(changed)
    adapt_project(project_of(world.options), finish=finish, encoder=world.finish.encoder)
    assert finish.finished == ["cy", "de"]


def test_the_page_leads_to_the_reports(world: World) -> None:
    page = world.done.page.read_text()
    assert world.done.page == world.options.parent / "runs" / "index.html"
    assert '<a href="cy/report.html">Welsh' in page
    assert not re.search(r"(src|href)=.?https?:", page)


def test_languages_that_are_not_asked_for_stay_on_the_page(tmp_path: Path) -> None:
    options = write(tmp_path)
    done = select_project(project_of(options, "de"), encoder=Counted().wrapped())
    assert [(one.language, one.state, one.picked) for one in done.languages] == [("de", "finished", 8)]
    page = done.page.read_text()
    assert "not run" in page
    assert "Greek" in page
    assert json.loads((tmp_path / "runs/de/selection/summary.json").read_text())["picked"] == 8


def test_tags_that_are_no_languages_are_told_with_their_line(tmp_path: Path) -> None:
    options = tmp_path / "compass.yaml"
    options.write_text("languages:\n- cy\n- cym\n- xq\n")
    with pytest.raises(ConfigError) as raised:
        adapt_project(project_of(options))
    same, unknown = raised.value.problems
    assert same == f"{options}:3: cym is the same language as cy; remove one of them"
    assert unknown.startswith(f"{options}:4: ")
