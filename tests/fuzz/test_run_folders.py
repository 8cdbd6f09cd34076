"""Damaged run folders: read in part, or refused by one message; never taken for whole."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compass.drift import Reference
from compass.evaluation.files import read_differences, read_evaluation
from compass.registry import Registry
from compass.report.html import render
from compass.report.load import load_run
from compass.runs.folder import Run
from compass.semantic.space import SemanticSpace
from compass.steps.read import stored_tests
from compass.steps.reference import clusters_of, config_of
from fuzzing import damage_file, fuzz, refused_or_fine, same_json, some_of

RUN = Path(__file__).parent.parent / "fixtures" / "v0_1" / "run"
FILES = sorted(path.relative_to(RUN).as_posix() for path in RUN.rglob("*") if path.is_file())
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


def damaged_run(data: st.DataObject, where: Path) -> tuple[Path, list[str]]:
    """Return a run folder and the files in it that are damaged."""
    folder = where / "run"
    shutil.copytree(RUN, folder)
    hurt = data.draw(st.lists(st.sampled_from(FILES) | st.sampled_from(SERVED), min_size=1, max_size=2, unique=True))
    for path in hurt:
        damage_file(data, folder / path)
    return folder, [path for path in hurt if not same_json(RUN / path, folder / path)]
