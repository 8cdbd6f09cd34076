"""Tests of an update of a real run folder: tiny model, packaged encoder, real commands."""

from __future__ import annotations

import dataclasses
import json
import logging
import math
import re
import shlex
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from compass.config import AdaptConfig, UpdateConfig, dump_config, load_config, load_parent, load_stored
from compass.data.example import Dropped, Example
from compass.data.readers import read_jsonl, write_jsonl
from compass.errors import DataError, RunError
from compass.evaluation import read_evaluation
from compass.recipes.adapt import adapt
from compass.recipes.update import NewData, _command, begin, update
from compass.runs.files import file_hash
from compass.steps.history import Version, read_version
from compass.steps.stored_data import stored_data
from compass.training.retention.fisher import Fisher
from small_data import Files
from tiny_model import make_tiny_model

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def parent(files: Files, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of adapt on a few Welsh commands."""
    folder = tmp_path_factory.mktemp("update")
    model = make_tiny_model(folder / "model")
    usage, asked, train, pool, english = (
        read_jsonl(files.folder / f"{name}.jsonl") for name in ("usage", "asked", "current", "pool", "english")
    )
    write_jsonl(folder / "usage.jsonl", usage[:30])
    write_jsonl(folder / "window.jsonl", asked[:40])
    write_jsonl(folder / "current.jsonl", train[:40])
    write_jsonl(folder / "more.jsonl", train[40:52])
    write_jsonl(folder / "pool.jsonl", pool[:300])
    write_jsonl(folder / "test.jsonl", asked[40:46])
    write_jsonl(folder / "english.jsonl", english[:4])
    sources = {name: str(folder / f"{name}.jsonl") for name in ("usage", "current", "pool", "test")}
    adapt(
        load_config(
            None,
            {
                "output_dir": str(folder / "v0"), "cache_dir": str(files.cache), "language": "cy", "budget": 16,
                "retention_tests": [str(folder / "english.jsonl")], "max_steps": 2, "max_new_tokens": 4,
                "model_name_or_path": str(model), "lora_r": 4, "averaged_trainings": 2, "n_clusters": 6,
                "max_length": 200, **sources,
            },
        )
    )  # fmt: skip
    return folder / "v0"


def child(parent: Path, name: str) -> AdaptConfig:
    return load_config(parent / "compass.yaml", {"output_dir": str(parent.parent / name)})


def test_two_updates_keep_history_space_and_tests(parent: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Each version must be a whole run folder that says what it came from, and the next one must build on it."""
    caplog.set_level(logging.INFO)
    window = str(parent.parent / "window.jsonl")
    before = {path: file_hash(path) for path in parent.rglob("*") if path.is_file() and "logs" not in path.parts}
    options = UpdateConfig(method="ecda", anchor_share=0.1, min_anchors=0, fisher_rows=6)
    first = update(child(parent, "v1"), options, parent=parent, new=NewData(window))
    assert before == {p: file_hash(p) for p in parent.rglob("*") if p.is_file() and "logs" not in p.parts}

    # The parent is the average of two trainings; the update trains once more, at the rank that it found.
    assert ", rank 8 (the average of 2 trainings)," in (parent / "adapter" / "README.md").read_text("utf-8")
    assert ", rank 8, " in (first.adapter / "README.md").read_text("utf-8")
    assert load_config(first.run_dir / "compass.yaml").training.averaged_trainings == 1

    lock = json.loads((first.run_dir / "lock.json").read_text("utf-8"))
    assert lock["parent"]["adapter"] == file_hash(parent / "adapter" / "adapter_model.safetensors")
    assert lock["update"]["period"] == 1
    assert lock["hashes"]["fisher.safetensors"] == file_hash(first.run_dir / "fisher.safetensors")
    for name in ("space.safetensors", "space.json", "clusters.json"):
        assert (first.run_dir / "space" / name).read_bytes() == (parent / "space" / name).read_bytes()
    stored = read_jsonl(first.run_dir / "data" / "current.jsonl")
    history = {(row.id, row.role, row.period) for row in stored}
    assert {role for _, role, _ in history} == {"train", "picked"}
    anchors = read_jsonl(first.run_dir / "anchors" / "anchors.jsonl")
    (seen, drawn) = json.loads((first.run_dir / "anchors" / "summary.json").read_text("utf-8"))["periods"]["0"].values()
    assert seen >= len(history), "rows count as often as they were trained on"
    assert drawn == len(anchors) == math.ceil(0.1 * seen)
    assert {(row.id, row.role, row.period) for row in anchors} <= history
    entries = [json.loads(line) for line in (first.run_dir / "training" / "log.jsonl").read_text("utf-8").splitlines()]
    assert {"task_loss", "ewc_loss", "replay_loss"} <= entries[0].keys()
    assert {d.name for d in first.differences} == {"cy", "cy-0", "english"}
    assert first.report.is_file()
    assert not (first.run_dir / "inputs").exists()
    assert Fisher.load(first.run_dir / "fisher.safetensors").versions == 2

    # What the parent's run measured is not asked again, and means the same; only new usage is.
    for child_model, parent_model in (("base", "base"), ("parent", "adapter")):
        for test, known in (("cy-0", "cy"), ("english", "english")):
            took, had = (
                read_evaluation(folder / "eval" / model / f"{name}.json")
                for folder, model, name in ((first.run_dir, child_model, test), (parent, parent_model, known))
            )
            assert (took.predictions, took.nats.tolist()) == (had.predictions, had.nats.tolist())
    assert re.findall(r"(\d+ of (?:6|4)) answers are known", caplog.text) == ["6 of 6", "4 of 4"] * 2

    again = {path: path.stat().st_mtime_ns for path in (first.adapter / "adapter_model.safetensors",)}
    update(child(parent, "v1"), options, parent=parent, new=NewData(window))
    assert again == {path: path.stat().st_mtime_ns for path in again}, "a finished update is not trained again"

    options = UpdateConfig(method="replay", anchor_share=0.1, min_anchors=0, fisher_rows=6)
    current = str(parent.parent / "more.jsonl")
    second = update(child(first.run_dir, "v2"), options, parent=first.run_dir, new=NewData(window, train=current))
    version = read_version(second.run_dir)
    assert version.period == 2
    assert {row.period for row in version.history} == {0, 1, 2}
    assert sum((row.role, row.period) == ("train", 2) for row in version.history) > 0
    assert list(version.tests) == ["cy", "cy-1", "cy-0", "english"]
    assert {row.period for row in read_jsonl(second.run_dir / "anchors" / "anchors.jsonl")} == {0, 1}
    picked = [
        {(row.prompt, row.response) for row in read_jsonl(folder / "selection" / "selected.jsonl")}
        for folder in (parent, first.run_dir, second.run_dir)
    ]
    assert not picked[0] & picked[1]
    assert not picked[1] & picked[2]


def test_retraining_uses_all_history_and_no_anchors(parent: Path) -> None:
    """A yardstick that saw less than the history would flatter the other methods."""
    options = UpdateConfig(method="retrain", fisher_rows=6)
    window = str(parent.parent / "window.jsonl")
    done = update(child(parent, "retrained"), options, parent=parent, new=NewData(window))
    rows = json.loads((done.run_dir / "training" / "result.json").read_text("utf-8"))["rows"]
    history = len(read_jsonl(done.run_dir / "data" / "current.jsonl"))
    picked = len(read_jsonl(done.run_dir / "selection" / "selected.jsonl"))
    assert rows >= history + picked
    assert not (done.run_dir / "anchors" / "anchors.jsonl").exists()
    assert not (done.run_dir / "fisher.safetensors").exists(), (
        "a method without a penalty measures no Fisher information"
    )
    # The next update with a penalty measures what its parent did not keep.
    options = UpdateConfig(method="ewc", fisher_rows=6)
    after = update(child(done.run_dir, "after"), options, parent=done.run_dir, new=NewData(window))
    assert Fisher.load(after.run_dir / "fisher.safetensors").versions == 2


def test_the_recorded_command_makes_the_same_update(tmp_path: Path) -> None:
    """An option that equals the parent's was left out where the command line alone would set another, or refuse it."""
    before = {
        "language": "cy", "usage": "u", "max_retention_rows": 20, "trust_remote_code": True, "averaged_trainings": 2
    }  # fmt: skip
    (tmp_path / "compass.yaml").write_text(dump_config(load_config(None, before)), encoding="utf-8")
    version = cast("Version", SimpleNamespace(folder=tmp_path))
    plain = load_parent(tmp_path / "compass.yaml")
    for config, flags in (
        (plain, ""),
        (load_stored(tmp_path / "compass.yaml"), " --max-retention-rows 20"),
        (load_config(tmp_path / "compass.yaml"), " --trust-remote-code --max-retention-rows 20"),
        (
            load_config(tmp_path / "compass.yaml", {"max_retention_rows": 0}),
            " --trust-remote-code --max-retention-rows 0",
        ),
    ):
        # An update is one training, whatever its parent was.
        config = dataclasses.replace(config, training=dataclasses.replace(config.training, averaged_trainings=1))
        command = _command(version, NewData("window"), config, UpdateConfig())
        assert command == f"compass update {tmp_path} window --output-dir {config.run.output_dir}{flags}"


def test_the_recorded_command_allows_the_endpoint_of_the_parent(tmp_path: Path) -> None:
    """The parent's folder may not send prompts anywhere by itself, so the command was refused when it was repeated."""
    address = "http://localhost:9/v1"
    before = {"language": "cy", "usage": "u", "encoder": address, "encoder_model": "m"}
    (tmp_path / "compass.yaml").write_text(dump_config(load_config(None, before)), encoding="utf-8")
    config = load_stored(tmp_path / "compass.yaml", allow_endpoint=address)
    version = cast("Version", SimpleNamespace(folder=tmp_path))
    command = shlex.split(_command(version, NewData("window"), config, UpdateConfig()))
    assert command[command.index("--allow-endpoint") + 1] == address
    assert "--encoder" not in command


def test_what_is_no_finished_version_is_refused(parent: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"is not a finished run: lock\.json, compass\.yaml, .* missing"):
        read_version(tmp_path)
    with pytest.raises(RunError, match=r"nowhere does not exist\. Give the output_dir"):
        read_version(tmp_path / "nowhere")
    window = str(parent.parent / "window.jsonl")
    with pytest.raises(RunError, match="would overwrite its parent"):
        update(child(parent, "v0"), UpdateConfig(), parent=parent, new=NewData(window))
    lock = parent / "lock.json"
    text = lock.read_text("utf-8")
    weights = file_hash(parent / "adapter" / "adapter_model.safetensors")
    lock.write_text(text.replace(weights, "0" * 64), encoding="utf-8")
    try:
        with pytest.raises(RunError, match=r"adapter_model\.safetensors is not what the run in"):
            read_version(parent)
    finally:
        lock.write_text(text, encoding="utf-8")


def test_new_sources_are_read_with_the_parents_mapping(parent: Path, tmp_path: Path) -> None:
    """A pool with its own column names could not be given to an update; rows that are there already have our names."""

    def lines(name: str, *rows: dict[str, str]) -> str:
        (tmp_path / name).write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
        return str(tmp_path / name)

    columns = {"prompt": "cwestiwn", "pool.prompt": "frage", "pool.response": "antwort"}
    asked = [f"beth yw rhif {i} heddiw" for i in range(24)]
    theirs = lines("theirs.jsonl", *({"cwestiwn": text, "language": "cy"} for text in asked))
    pool = lines(
        "pool.jsonl",
        *({"frage": f"was ist die Zahl {i} heute", "antwort": str(i), "language": "de"} for i in range(9)),
    )
    rows = [Example(str(i), text, language="cy") for i, text in enumerate(asked)]
    for name, window in (("named", theirs), ("rows", rows)):
        overrides = {"output_dir": str(tmp_path / name), "columns": columns, "identify_languages": False}
        config = load_config(parent / "compass.yaml", overrides | {"near_duplicates": 1.0})
        known = Dropped("9", "other language", "tagged de", "log.jsonl:9")
        begin(config, parent=parent, new=NewData(window, pool=(pool,), left_out={"usage": [known]}))
        # What whoever handed in the rows has left out is named with the others.
        dropped = (tmp_path / name / "data" / "dropped.jsonl").read_text("utf-8").splitlines()
        assert {"set": "usage", **known.to_dict()} in map(json.loads, dropped)
        counts = json.loads((tmp_path / name / "data" / "cleaning.json").read_text("utf-8"))
        assert counts["usage"]["dropped"]["other language"] == 1
        found = stored_data(tmp_path / name)
        assert [row.prompt for row in found.usage] == asked
        assert (len(found.pool), found.pool[0].response) == (9, "0")


def test_no_prompt_stays_where_reading_fails(parent: Path, tmp_path: Path) -> None:
    """The window would lie in the run folder as it came, private data and all, until somebody looks."""
    window = tmp_path / "few.jsonl"
    window.write_text('{"prompt": "ffonia 029 2087 0000"}\n', encoding="utf-8")
    config = load_config(parent / "compass.yaml", {"output_dir": str(tmp_path / "v1")})
    with pytest.raises(DataError, match="has 1 rows"):
        update(config, UpdateConfig(), parent=parent, new=NewData(str(window)))
    files = [path for path in (tmp_path / "v1").rglob("*") if path.is_file()]
    assert not [path for path in files if "2087" in path.read_text("utf-8")]
