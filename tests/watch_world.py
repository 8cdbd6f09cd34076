"""A watch loop with an encoder that costs nothing and an update that is written down instead of trained."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from compass.config import EvaluationConfig, UpdateConfig, WatchOptions
from compass.data.example import Example
from compass.data.readers import write_jsonl
from compass.evaluation import write_evaluation
from compass.evaluation.evaluate import assemble
from compass.recipes import watch as recipe
from compass.recipes.update import NewData
from compass.records import Event
from compass.registry import Registry
from compass.runs.files import file_hash
from compass.steps.watch_state import Updater
from run_folders import write_adapter, write_options, write_topic_space
from topics import MOVED, STEADY, TopicEncoder, prompts

ROWS = 120


def write_version(
    folder: Path, usage: list[str], *, seed: int, right: dict[str, tuple[int, int]], parent: Path | None = None
) -> Path:
    """Write a finished run: `right` has test -> rows that parent and adapter answer rightly."""
    write_topic_space(folder)
    write_options(folder)
    write_adapter(folder, seed)
    tests = {"cy": usage, **{name: [f"news {name} {i}" for i in range(ROWS)] for name in right if name != "cy"}}
    (folder / "data" / "tests").mkdir(parents=True)
    (folder / "data" / "tests.json").write_text(json.dumps(list(tests)))
    for name, prompts_ in tests.items():
        rows = [Example(f"{name}/{i}", text, "ie", "cy") for i, text in enumerate(prompts_)]
        write_jsonl(folder / "data" / "tests" / f"{name}.jsonl", rows)
        for model, n_right in zip(("parent", "adapter"), right.get(name, ()), strict=False):
            n = len(rows)
            answers = ["ie" if i < n_right else "na" for i in range(n)]
            done = assemble(
                rows, answers, np.ones(n), np.ones(n), name=name, language="cy",
                config=EvaluationConfig(), seed=0,
            )  # fmt: skip
            write_evaluation(done, folder / "eval" / model)
    weights = "adapter/adapter_model.safetensors"
    made_of = {"parent": {"adapter": file_hash(parent / weights)}} if parent else {}
    (folder / "lock.json").write_text(json.dumps({"hashes": {weights: file_hash(folder / weights)}, **made_of}))
    return folder


BETTER = {"cy": (40, 90), "cy-0": (100, 100), "english": (80, 80)}
WORSE = {"cy": (40, 90), "cy-0": (100, 40), "english": (80, 80)}


class Clock:
    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        self.now += 0.001
        return self.now


@pytest.fixture
def world(tmp_path: Path) -> SimpleNamespace:
    """A registry with one version in production, a folder of logs, and an update that can be told how it ends."""
    encoder = TopicEncoder()
    wrapped = SimpleNamespace(encoder=encoder, encode=encoder.encode, name=encoder.name, revision=encoder.revision)
    registry = Registry(tmp_path / "registry")
    first = write_version(tmp_path / "v0", prompts(300, STEADY, 1), seed=0, right={})
    registry.register(first, trigger="adapt")
    registry.promote("cy")
    logs = tmp_path / "logs"
    logs.mkdir()
    seen = tmp_path / "hook.jsonl"
    options = WatchOptions()
    options = dataclasses.replace(
        options,
        registry=dataclasses.replace(options.registry, registry_dir=str(tmp_path / "registry")),
        monitor=dataclasses.replace(
            options.monitor, window=100, prompts_per_false_alarm=20_000, monitor_batch_size=50,
            reservoir="full", reservoir_size=300,
        ),
        hooks=dataclasses.replace(
            options.hooks, hook_command=f"cat >> '{seen}'; echo >> '{seen}'"
        ),
        watch=dataclasses.replace(
            options.watch, watch_dir=str(tmp_path / "watch"), prompts_after_drift=100, min_usage_rows=60
        ),
    )  # fmt: skip
    made: list[dict[str, Any]] = []
    world = SimpleNamespace(
        root=tmp_path, registry=registry, logs=logs, options=options, made=made, right=BETTER, clock=Clock(), hook=seen
    )

    def begin(config: Any, *, parent: Path, new: NewData) -> None:
        world.begun = new

    def finish(config: Any, options: UpdateConfig, *, parent: Path) -> Any:
        new = world.begun
        usage, test = [row.prompt for row in new.window], [row.prompt for row in new.test]
        made.append({"parent": parent, "usage": usage, "rows": config.evaluation.max_retention_rows, "test": test})
        folder = Path(config.run.output_dir)
        if not (folder / "lock.json").is_file():
            write_version(folder, prompts(ROWS, MOVED, 9), seed=len(made), right=world.right, parent=parent)
        return SimpleNamespace(run_dir=folder)

    world.updater, world.encoder = Updater(begin, finish), wrapped
    return world


def write(path: Path, texts: list[str]) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.writelines(json.dumps({"prompt": text, "language": "cy"}) + "\n" for text in texts)


def start(world: SimpleNamespace, source: str = "", **more: Any) -> Iterator[dict[str, Any]]:
    return recipe.watch(
        "cy", source or str(world.logs), world.options,
        clock=world.clock, encoder=world.encoder, updater=world.updater, **more,
    )  # fmt: skip


def run(world: SimpleNamespace, **more: Any) -> list[Event]:
    events = list(start(world, **more))
    json.dumps([event.to_dict() for event in events])
    return events


def kinds(events: list[Event]) -> list[str]:
    return [event.kind for event in events if event.kind not in ("drift", "recovered")]


def status_of(events: list[Event]) -> Mapping[str, Any]:
    return events[-1].details


def hooked(world: SimpleNamespace) -> list[str]:
    lines = world.hook.read_text("utf-8").split("\n") if world.hook.is_file() else []
    return [json.loads(line)["kind"] for line in lines if line]


def drift(world: SimpleNamespace) -> None:
    write(world.logs / "day1.jsonl", prompts(200, STEADY, 2))
    write(world.logs / "day2.jsonl", prompts(300, MOVED, 3))


def watch_folder(world: SimpleNamespace) -> Path:
    return Path(world.options.watch.watch_dir) / "cy"
