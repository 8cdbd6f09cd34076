"""Updates of a project's languages: which run they start from, and what is not made again."""

from __future__ import annotations

from pathlib import Path

import pytest

from compass.errors import DataError, RunError
from compass.recipes.project import message_of, read_records, write_records
from compass.recipes.update_project import LanguageUpdate, named, newest, update_project
from run_folders import write_run, write_space


def test_an_update_starts_from_the_newest_finished_run(tmp_path: Path) -> None:
    space = write_space(tmp_path / "space")
    with pytest.raises(RunError, match="is not a finished run"):
        newest(tmp_path / "cy")
    run = write_run(tmp_path / "cy", space)
    assert newest(run) == (run, tmp_path / "cy-2")
    (write_run(tmp_path / "cy-2", space, seed=1) / "report.html").write_text("")
    assert newest(run) == (tmp_path / "cy-2", tmp_path / "cy-3")


def test_a_missing_source_and_a_language_without_a_run_are_in_the_result(tmp_path: Path) -> None:
    update = LanguageUpdate(tmp_path / "cy", str(tmp_path / "new.{language}.jsonl"))
    with pytest.raises(DataError, match=r"new\.cy\.jsonl: no such file"):
        named("cy", update)
    done = update_project(tmp_path, {"cy": update})
    assert done.failed
    assert "is not a finished run" in done.languages[0].message


def test_what_is_remembered_is_added_to_and_survives_damage(tmp_path: Path) -> None:
    write_records(tmp_path, {"cy": {"inputs": "a", "lock": "b"}})
    write_records(tmp_path, {"el": {"inputs": "c", "lock": "d"}})
    assert list(read_records(tmp_path)) == ["cy", "el"]
    (tmp_path / "project.json").write_text("[")
    assert read_records(tmp_path) == {}


def test_the_message_of_a_failed_run_is_its_error() -> None:
    assert message_of("12:00 INFO a\ncompass: One.\nTwo.") == "One.\nTwo."
    assert message_of("It was killed (SIGKILL).") == "It was killed (SIGKILL)."
