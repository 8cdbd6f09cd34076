"""Updates of a project's languages: which run they start from, and what is not made again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from compass.errors import DataError, RunError
from compass.recipes import update_project as recipe
from compass.recipes.project import message_of, read_records, write_records
from compass.recipes.project_runs import newest, write_project_page
from compass.recipes.update_project import LanguageUpdate, named, update_project
from compass.runs import layout
from compass.runs.files import file_hash
from run_folders import write_run, write_space


def test_an_update_starts_from_the_newest_finished_run(tmp_path: Path) -> None:
    space = write_space(tmp_path / "space")
    with pytest.raises(RunError, match="cy does not exist"):
        newest(tmp_path / "cy")
    run = write_run(tmp_path / "cy", space)
    assert newest(run) == (run, tmp_path / "cy-2")
    (write_run(tmp_path / "cy-2", space, seed=1) / "report.html").write_text("")
    assert newest(run) == (tmp_path / "cy-2", tmp_path / "cy-3")


def write_update(parent: Path, folder: Path, space: Path) -> Path:
    """Write an update that remembers which adapter it went on from."""
    run = write_run(folder, space, seed=int(folder.name[-1]))
    (run / "report.html").write_text("")
    lock = json.loads((run / "lock.json").read_text())
    made_of = {"parent": {"adapter": file_hash(parent / layout.ADAPTER_WEIGHTS)}}
    (run / "lock.json").write_text(json.dumps(lock | made_of))
    return run


def test_an_update_of_an_adapter_that_is_no_more_is_passed_over(tmp_path: Path) -> None:
    """`adapt` made `cy` anew after `cy-2`: what follows goes on from the new one, and takes no folder away."""
    space = write_space(tmp_path / "space")
    old, new = write_run(tmp_path / "old", space, seed=7), write_run(tmp_path / "cy", space)
    write_update(old, tmp_path / "cy-2", space)
    assert newest(new) == (new, tmp_path / "cy-3")
    update = write_update(new, tmp_path / "cy-3", space)
    assert newest(new) == (update, tmp_path / "cy-4")


def test_the_page_shows_the_newest_run_and_leads_to_the_earlier_ones(tmp_path: Path) -> None:
    """After `update`, and after `adapt` again; a language that was not asked for stands there, too."""
    space = write_space(tmp_path / "space")
    run = write_run(tmp_path / "cy", space)
    (run / "report.html").write_text("")
    write_update(run, tmp_path / "cy-2", space)
    page = write_project_page(tmp_path, ["cy", "el"], {}).read_text()
    assert '<a href="cy-2/report.html">Welsh' in page
    assert '<a href="cy/report.html">cy' in page
    assert "Earlier runs" in page
    assert "not run" in page


def test_an_update_that_was_finished_when_all_was_stopped_is_not_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    space = write_space(tmp_path / "space")
    run = write_run(tmp_path / "cy", space)
    (tmp_path / "new.jsonl").write_text("")
    update = {"cy": LanguageUpdate(run, str(tmp_path / "new.jsonl"))}

    def stopped(*_: object) -> None:
        write_update(run, tmp_path / "cy-2", space)
        raise KeyboardInterrupt

    monkeypatch.setattr(recipe, "in_parallel", stopped)
    with pytest.raises(KeyboardInterrupt):
        update_project(tmp_path, update)
    done = update_project(tmp_path, update)
    assert [(one.state, one.run_dir.name) for one in done.languages] == [("unchanged", "cy-2")]


def test_a_missing_source_and_a_language_without_a_run_are_in_the_result_and_told_at_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The updates of the other languages may take hours, and the table comes after them."""
    update = LanguageUpdate(tmp_path / "cy", str(tmp_path / "new.{language}.jsonl"))
    with pytest.raises(DataError, match=r"new\.cy\.jsonl: no such file"):
        named("cy", update)
    done = update_project(tmp_path, {"cy": update})
    assert done.failed
    assert "cy does not exist" in done.languages[0].message
    assert f"cy failed: {done.languages[0].message}" in caplog.text


def test_what_is_remembered_is_added_to_and_survives_damage(tmp_path: Path) -> None:
    write_records(tmp_path, {"cy": {"inputs": "a", "lock": "b"}})
    write_records(tmp_path, {"el": {"inputs": "c", "lock": "d"}})
    assert list(read_records(tmp_path)) == ["cy", "el"]
    (tmp_path / "project.json").write_text("[")
    assert read_records(tmp_path) == {}


def test_the_message_of_a_failed_run_is_its_error() -> None:
    assert message_of("12:00 INFO a\ncompass: One.\nTwo.") == "One.\nTwo."
    assert message_of("It was killed (SIGKILL).") == "It was killed (SIGKILL)."
