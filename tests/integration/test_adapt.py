"""The real command on real data and the embedded models: whole, again, and killed in each stage."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from compass.report.load import load_run
from forked import Forked, start_command
from processes import kill_when
from small_data import Files
from tiny_model import make_tiny_model

pytestmark = pytest.mark.integration

Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def finished(files: Files, compass: Command, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole run with Gemma 3 270M."""
    output = tmp_path_factory.mktemp("runs") / "whole"
    done = compass("adapt", *files.arguments(output))
    assert done.returncode == 0, done.stderr
    assert "Gemma Terms of Use" in done.stderr, "the licence is shown when the model is first used"
    assert str(output / "report.html") in done.stdout
    return output


def test_a_run_leaves_what_it_promises(finished: Path) -> None:
    """A stranger opens the report, an engineer serves the adapter, a researcher reads the audit."""
    selected = [
        json.loads(line) for line in (finished / "selection" / "selected.jsonl").read_text("utf-8").splitlines()
    ]
    assert len(selected) == 24
    assert {"prompt", "response", "cluster", "score", "rank", "reason"} <= selected[0].keys()
    kinds = pq.read_table(finished / "selection" / "answers.parquet").to_pylist()
    assert sum(kind["picked"] for kind in kinds) == 24
    assert kinds[0]["usage_share"] == max(kind["usage_share"] for kind in kinds)
    config = json.loads((finished / "adapter" / "adapter_config.json").read_text("utf-8"))
    assert config["base_model_name_or_path"] == "embedded:gemma3-270m"
    assert "## What usage needed" in (finished / "adapter" / "README.md").read_text("utf-8")
    lock = json.loads((finished / "lock.json").read_text("utf-8"))
    assert lock["model"]["revision"] == config["revision"]
    assert lock["hashes"]["adapter/adapter_model.safetensors"]
    differences = json.loads((finished / "eval" / "differences.json").read_text("utf-8"))
    loss = {row["name"]: row for row in differences if row["metric"] == "loss_per_byte"}
    assert set(loss) == {"cy", "english"}
    assert loss["cy"]["high"] < 0, "even two steps make the format of the answers likelier"
    assert (finished / "report.html").stat().st_size > 1e6
    assert not list(finished.rglob("*.partial"))


def test_the_same_command_again_does_nothing_again(finished: Path, files: Files, compass: Command) -> None:
    """A second run must cost seconds and change no byte."""
    kept = ("selection/selected.jsonl", "adapter/adapter_model.safetensors", "report.html", "lock.json")
    before = {name: (finished / name).read_bytes() for name in kept if name != "report.html"}
    again = compass("adapt", *files.arguments(finished), "--json")
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout)["adapter"] == str(finished / "adapter")
    assert again.stderr.count("skipped") == 8
    assert before == {name: (finished / name).read_bytes() for name in before}


def test_another_strategy_reuses_data_and_space(finished: Path, files: Files, compass: Command, tmp_path: Path) -> None:
    """One changed option must redo only what depends on it."""
    copy = tmp_path / "copy"
    shutil.copytree(finished, copy)
    done = compass("select", *_selecting(files.arguments(copy, "--strategy", "random")), "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["strategy"] == "random"
    assert "data: already finished" in done.stderr
    assert "space: already finished" in done.stderr
    assert "selection: started" in done.stderr
    # The adapter's results are of other picks: neither lock nor report may show them together.
    assert "adapter/adapter_model.safetensors" not in json.loads((copy / "lock.json").read_text("utf-8"))["hashes"]
    assert not load_run(copy).adapter
    assert load_run(finished).adapter


def test_selecting_again_leaves_a_finished_run_whole(
    finished: Path, files: Files, compass: Command, tmp_path: Path
) -> None:
    """A run whose lock forgot its adapter could neither be registered nor updated."""
    copy = tmp_path / "copy"
    shutil.copytree(finished, copy)
    options = compass("adapt", *files.arguments(copy), "--json")
    assert options.returncode == 0, options.stderr
    kept = ("lock.json", "compass.yaml")
    before = [(copy / name).read_bytes() for name in kept]
    done = compass("select", *_selecting(files.arguments(copy)), "--json")
    assert done.returncode == 0, done.stderr
    assert [(copy / name).read_bytes() for name in kept] == before
    assert load_run(copy).adapter


def _selecting(arguments: list[str]) -> list[str]:
    """Leave out the options that `compass select` does not have."""
    kept = []
    for flag, value in zip(arguments[::2], arguments[1::2], strict=True):
        if flag != "--max-new-tokens":
            kept += [flag, value]
    return kept


@contextmanager
def _started(arguments: list[str], environment: dict[str, str], log: Path) -> Iterator[Forked]:
    process = start_command(arguments, environment, Path(os.devnull), log)
    try:
        yield process
    finally:
        process.wait()


def test_killed_in_embedding_it_embeds_only_the_rest(
    finished: Path, files: Files, environment: dict[str, str], compass: Command, tmp_path: Path
) -> None:
    """Embedding a pool takes hours in earnest: what was embedded has to survive a kill."""
    cache, output, log = tmp_path / "cache", tmp_path / "run", tmp_path / "log"
    arguments = ["select", *_selecting(files.arguments(output, "--cache-dir", str(cache)))]
    with _started(arguments, environment, log) as process:
        # An index record is written after its vector: the small sets come first, and a chunk may hold the whole pool.
        kill_when(process, lambda: sum(path.stat().st_size for path in cache.rglob("index.bin")) > 0)
    from compass.config import EncoderConfig
    from compass.data.readers import read_jsonl
    from compass.encoders import load_encoder

    prompts = [row.prompt for name in ("usage", "pool") for row in read_jsonl(output / "data" / f"{name}.jsonl")]
    left = len(load_encoder(EncoderConfig(), cache).missing(prompts))
    assert 0 < left < len(prompts)
    again = compass(*arguments)
    assert again.returncode == 0, again.stderr
    assert (output / "selection" / "selected.jsonl").read_bytes() == (
        finished / "selection" / "selected.jsonl"
    ).read_bytes()


def test_killed_in_selection_it_selects_the_same(
    finished: Path, files: Files, environment: dict[str, str], compass: Command, tmp_path: Path
) -> None:
    """A half-written selection must not pass for a whole one."""
    output, log = tmp_path / "run", tmp_path / "log"
    arguments = ["select", *_selecting(files.arguments(output))]
    with _started(arguments, environment, log) as process:
        kill_when(process, lambda: log.is_file() and b"selection: started" in log.read_bytes())
    assert not (output / "logs" / "stages" / "selection.json").exists()
    again = compass(*arguments)
    assert again.returncode == 0, again.stderr
    assert "space: already finished" in again.stderr
    assert (output / "selection" / "selected.jsonl").read_bytes() == (
        finished / "selection" / "selected.jsonl"
    ).read_bytes()


def test_killed_in_training_it_goes_on_from_its_checkpoint(
    files: Files, environment: dict[str, str], compass: Command, tmp_path: Path
) -> None:
    """The end is the adapter that an undisturbed run makes, byte for byte (a tiny random model keeps this short)."""
    model = str(make_tiny_model(tmp_path / "model"))
    tiny = ("--model-name-or-path", model, "--max-steps", "24", "--lora-r", "4")
    whole, output, log = tmp_path / "whole", tmp_path / "run", tmp_path / "log"
    assert compass("adapt", *files.arguments(whole, *tiny)).returncode == 0
    arguments = ["adapt", *files.arguments(output, *tiny)]
    with _started(arguments, environment, log) as process:
        kill_when(process, lambda: any(output.glob("checkpoints/checkpoint-*/complete")))
    assert not (output / "adapter").exists()
    again = compass(*arguments)
    assert again.returncode == 0, again.stderr
    assert json.loads((output / "training" / "result.json").read_text("utf-8"))["resumed_from_step"] >= 2
    weights = Path("adapter") / "adapter_model.safetensors"
    assert (output / weights).read_bytes() == (whole / weights).read_bytes()


def test_an_adapter_is_evaluated_on_any_file(finished: Path, files: Files, compass: Command, tmp_path: Path) -> None:
    """`compass evaluate` has to give the figures of the run itself."""
    done = compass(
        "evaluate", str(files.folder / "test.jsonl"), "--adapter", str(finished / "adapter"), "--max-new-tokens", "4",
        "--output-dir", str(tmp_path), "--json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    ours = {row["metric"]: row["adapter"] for row in json.loads(done.stdout)["differences"]}
    theirs = {
        row["metric"]: row["adapter"]
        for row in json.loads((finished / "eval" / "differences.json").read_text("utf-8"))
        if row["name"] == "cy"
    }
    assert ours["loss_per_byte"] == pytest.approx(theirs["loss_per_byte"], rel=1e-6)
    assert ours["exact_match"] == theirs["exact_match"]
