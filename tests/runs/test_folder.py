"""Tests of the stage machine: what is skipped, what is done again."""

from __future__ import annotations

import json
from pathlib import Path
from unittest.mock import Mock

import pytest
from filelock import FileLock

from compass.errors import RunError
from compass.runs.files import file_hash, fingerprint, write_json
from compass.runs.folder import Run
from compass.runs.machine import peak_memory, versions


def _do(run: Run, inputs: dict[str, int], text: str = "x") -> None:
    with run.stage("work", inputs, [run.folder / "out"]):
        run.path("out", "file.txt").write_text(text, encoding="utf-8")


def test_a_finished_stage_counts_as_finished_only_with_the_same_inputs(tmp_path: Path) -> None:
    """Reusing the result of other options would be silently wrong."""
    run = Run(tmp_path)
    assert not run.finished("work", {"a": 1})
    _do(run, {"a": 1})
    assert run.finished("work", {"a": 1})
    assert not run.finished("work", {"a": 2})


def test_a_stage_says_which_inputs_differ_from_those_it_was_finished_with(tmp_path: Path) -> None:
    """What a changed input leaves as it was need not be worked out again."""
    run = Run(tmp_path)
    assert run.changed("work", {"a": 1}) is None
    _do(run, {"a": 1, "b": 2})
    assert run.changed("work", {"b": 2, "a": 1}) == set()
    assert run.changed("work", {"a": 3, "c": 2}) == {"a", "b", "c"}
    (tmp_path / "out" / "file.txt").unlink()
    assert run.changed("work", {"a": 1, "b": 2}) is None


def test_records_of_an_older_version_still_count(tmp_path: Path) -> None:
    """They hold one fingerprint of all inputs: equal or unknown."""
    run = Run(tmp_path)
    _do(run, {"a": 1})
    record = tmp_path / "logs" / "stages" / "work.json"
    record.write_text(json.dumps(json.loads(record.read_text("utf-8")) | {"inputs": fingerprint({"a": 1})}), "utf-8")
    assert run.finished("work", {"a": 1})
    assert run.changed("work", {"a": 2}) is None


@pytest.mark.parametrize("damage", ["missing", "cut"])
def test_a_stage_whose_output_was_damaged_is_done_again(tmp_path: Path, damage: str) -> None:
    run = Run(tmp_path)
    _do(run, {"a": 1}, "whole")
    file = tmp_path / "out" / "file.txt"
    file.unlink() if damage == "missing" else file.write_text("wh", encoding="utf-8")
    assert not run.finished("work", {"a": 1})


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "null", "{}", '{"outputs": 3, "inputs": {}}', '{"outputs": {}, "inputs": 3}']
)
def test_a_record_that_can_not_be_read_means_not_finished(tmp_path: Path, content: str) -> None:
    """A record that a power failure cut would end each further start in an error."""
    run = Run(tmp_path)
    _do(run, {"a": 1})
    (record,) = tmp_path.rglob("work.json")
    record.write_text(content, "utf-8")
    assert not run.finished("work", {"a": 1})
    _do(run, {"a": 1})
    assert run.finished("work", {"a": 1})


def test_a_stage_that_fails_is_not_finished_and_forgets_its_earlier_record(tmp_path: Path) -> None:
    """The earlier record would vouch for outputs that the failed attempt has overwritten."""
    run = Run(tmp_path)
    _do(run, {"a": 1})
    with pytest.raises(ZeroDivisionError), run.stage("work", {"a": 2}, []):
        raise ZeroDivisionError
    assert not run.finished("work", {"a": 2})
    assert not run.finished("work", {"a": 1})


def test_the_log_tells_cost_and_skips(tmp_path: Path) -> None:
    run = Run(tmp_path)
    _do(run, {"a": 1})
    run.skip("work")
    lines = [json.loads(line) for line in (tmp_path / "logs" / "stages.jsonl").read_text("utf-8").splitlines()]
    assert [line["skipped"] for line in lines] == [False, True]
    assert lines[0]["peak_memory_bytes"] > 2**20


def test_two_processes_do_not_work_in_one_folder(tmp_path: Path) -> None:
    """Two writers would leave a mixture of both."""
    run = Run(tmp_path)
    (tmp_path / "logs").mkdir()
    with (
        FileLock(tmp_path / "logs" / "run.lock"),
        pytest.raises(RunError, match="Another process is at work"),
        run.locked(),
    ):
        pass


def test_fingerprints_do_not_depend_on_the_order_of_keys() -> None:
    assert fingerprint({"a": 1, "b": "é"}) == fingerprint({"b": "é", "a": 1})
    assert fingerprint({"a": 1}) != fingerprint({"a": 2})


def test_json_files_are_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "file.json"
    write_json(path, {"a": 1})
    first = file_hash(path)
    write_json(path, {"a": 2})
    assert file_hash(path) != first
    assert [p.name for p in path.parent.iterdir()] == ["file.json"]


def test_what_is_stamped_is_what_is_installed() -> None:
    import numpy

    assert versions()["numpy"] == numpy.__version__
    assert peak_memory() > 2**20


def test_a_forgotten_stage_does_not_speak_for_files_that_are_gone(tmp_path: Path) -> None:
    """A run whose last command had no use for them would count as damaged for good."""
    run = Run(tmp_path)
    with run.stage("fisher", {}, [tmp_path / "fisher.safetensors"]):
        (tmp_path / "fisher.safetensors").write_text("x", "utf-8")
    run.forget("fisher")
    run.forget("fisher")
    assert not run.finished("fisher", {})
    assert not list((tmp_path / "logs" / "stages").iterdir())


def test_a_folder_that_may_not_be_written_to_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Breaks if a read-only run folder ends in the name of a lock that nobody knows."""
    refused = PermissionError(13, "Permission denied", "run.lock")
    monkeypatch.setattr("compass.runs.locks.FileLock.acquire", Mock(side_effect=refused))
    said = r"can't be written to: Permission denied\. Make it writable, or copy"
    with pytest.raises(RunError, match=said), Run(tmp_path).locked():
        pass
