"""Damaged run folders: read in part, or refused by one message; never taken for whole."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compass.drift import Reference
from compass.evaluation.files import read_differences, read_evaluation
from compass.registry import Registry
from compass.report.html import render
from compass.report.load import load_run
from compass.runs.files import file_hash, write_json
from compass.runs.finished import served_files
from compass.runs.folder import Run
from compass.semantic.space import SemanticSpace
from compass.steps.reference import clusters_of, config_of
from compass.steps.stored_data import stored_tests
from fuzzing import damage_file, fuzz, refused_or_fine, same_json, some_of
from run_folders import write_run, write_space

RUN = Path(__file__).parent.parent / "fixtures" / "v0_1" / "run"
SERVED = ("adapter/adapter_model.safetensors", "space/space.safetensors")
"""What decides what is served, of which version 0.1 wrote down a hash: a registry must take in none of it changed."""
READERS: tuple[Callable[[Path], object], ...] = (
    lambda folder: render(load_run(folder)),
    config_of,
    clusters_of,
    stored_tests,
    lambda folder: SemanticSpace.load(folder / "space"),
    lambda folder: Reference.load(folder / "monitor" / "reference"),
    lambda folder: read_evaluation(folder / "eval" / "adapter" / "cy.json"),
    lambda folder: read_differences(folder / "eval" / "differences.json"),
    lambda folder: Run(folder).finished("training", {}),
)


@pytest.fixture(scope="module")
def _loaded() -> None:
    """Load the libraries that draw a report before the first input: that takes longer than an input may."""
    render(load_run(RUN))


@pytest.mark.usefixtures("_loaded")
@fuzz(12, share=0.12)
@given(data=st.data())
def test_a_damaged_run_folder(data: st.DataObject) -> None:
    """A traceback of a library, or a hang, of a command that only reads."""
    with tempfile.TemporaryDirectory() as name:
        folder, _ = damaged_run(data, Path(name))
        for read in data.draw(some_of(READERS)):
            with refused_or_fine():
                read(folder)


@fuzz(12, share=0.08)
@given(data=st.data())
def test_a_damaged_run_folder_is_no_version(data: st.DataObject) -> None:
    """What is registered is promoted and served: it must be what the run was."""
    with tempfile.TemporaryDirectory() as name:
        folder, hurt = damaged_run(data, Path(name))
        taken = False
        with refused_or_fine():
            Registry(Path(name) / "registry").register(folder, language="cy")
            taken = True
        assert not taken or not set(hurt) & set(SERVED), f"a run with a damaged {hurt} was taken in as a version"


@pytest.fixture(scope="module")
def today(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose lock has the hash of each file that decides what is served."""
    home = tmp_path_factory.mktemp("today")
    folder = write_run(home / "run", write_space(home / "space"))
    lock = json.loads((folder / "lock.json").read_text("utf-8"))
    lock["hashes"] |= {name: file_hash(folder / name) for name in served_files(folder)}
    write_json(folder / "lock.json", lock)
    return folder


@fuzz(12, share=0.08)
@given(data=st.data())
def test_a_damaged_run_of_today_is_no_version(today: Path, data: st.DataObject) -> None:
    """Not a byte may differ of what is served, be it options, an adapter's settings or those of a space."""
    with tempfile.TemporaryDirectory() as name:
        folder, hurt = damaged_run(data, Path(name), today, served_files(today))
        more = data.draw(st.sampled_from(("", "", "", "tokenizer.json", "chat_template.jinja", "more/x.py")))
        if more:
            (folder / "adapter" / more).parent.mkdir(exist_ok=True)
            (folder / "adapter" / more).write_text("{}")
        taken = False
        with refused_or_fine():
            Registry(Path(name) / "registry").register(folder, language="cy")
            taken = True
        assert not (taken and more), f"a run with adapter/{more}, which it did not write, was taken in as a version"
        changed = {path for path in hurt if _content(today / path) != _content(folder / path)}
        assert not taken or not changed & {*served_files(today)}, f"a damaged {hurt} was taken in as a version"


def _content(path: Path) -> bytes:
    return path.read_bytes() if path.is_file() else b""


def damaged_run(
    data: st.DataObject, where: Path, run: Path = RUN, served: Sequence[str] = SERVED
) -> tuple[Path, list[str]]:
    """Return a copy of a run folder and the files in it that are damaged."""
    folder = where / "run"
    shutil.copytree(run, folder)
    files = sorted(path.relative_to(run).as_posix() for path in run.rglob("*") if path.is_file())
    files = [path for path in files if (run / path).stat().st_size]
    hurt = data.draw(st.lists(st.sampled_from(files) | st.sampled_from(served), min_size=1, max_size=2, unique=True))
    for path in hurt:
        damage_file(data, folder / path)
    return folder, [path for path in hurt if not same_json(run / path, folder / path)]
