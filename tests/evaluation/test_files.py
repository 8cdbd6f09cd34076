"""Evaluations written and read back."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from compass.config import EvaluationConfig
from compass.data.example import Example
from compass.errors import DataError
from compass.evaluation.evaluate import Evaluation, assemble, compare
from compass.evaluation.files import (
    drop_others,
    lacks_metrics,
    read_differences,
    read_evaluation,
    write_differences,
    write_evaluation,
)
from compass.records import Interval


def evaluation(name: str = "cy") -> Evaluation:
    """Three scored rows with the characters that break line-based readers."""
    rows = [
        Example(id="a", prompt="tanio\u2028golau", response='{"intent":"A","x":1}', language="cy", label="A"),
        Example(id="b", prompt="किचन", response='{"intent":"B"}', language="ne"),
        Example(id="c", prompt="c", response="plain\ntext", language="en"),
    ]
    return assemble(
        rows,
        ['{"intent":"A","x":1}', "न\u2028\x85\r\nx\ud800", "plain\ntext"],
        np.array([1.5, 2.5, 0.25]),
        np.array([20.0, 14.0, 10.0]),
        name=name,
        language="cy",
        config=EvaluationConfig(),
        seed=3,
        clusters=np.array([2, 0, 2]),
        seen_labels=["B", "A"],
        rows_left_out=4,
    )


def test_round_trip(tmp_path: Path) -> None:
    """A resumed run would compare other figures than the run that was killed."""
    before = evaluation()
    path = write_evaluation(before, tmp_path / "eval" / "base")
    after = read_evaluation(path)
    assert after.to_dict() == before.to_dict()
    assert after.examples == before.examples
    assert after.scores.exact.tolist() == before.scores.exact.tolist() == [True, False, True]
    assert compare(after, after) == compare(before, before)
    assert not list(path.parent.glob("*.part"))


def test_predictions_have_the_promised_fields(tmp_path: Path) -> None:
    """The report would not find answers beside prompts."""
    write_evaluation(evaluation(), tmp_path)
    lines = (tmp_path / "cy.predictions.jsonl").read_bytes().split(b"\n")
    rows = [json.loads(line) for line in lines if line]
    assert all({"id", "prompt", "response", "prediction", "exact"} <= set(row) for row in rows)
    assert rows[1]["prompt"] == "किचन"


@pytest.mark.parametrize("name", ["", "..", "a/b", "/etc/x"])
def test_names_stay_in_the_folder(tmp_path: Path, name: str) -> None:
    """A test set's name would write outside the run folder."""
    with pytest.raises(DataError, match="without slashes"):
        write_evaluation(evaluation(name), tmp_path)


def test_broken_files_are_named(tmp_path: Path) -> None:
    """A missing or foreign file would end in a traceback."""
    path = write_evaluation(evaluation(), tmp_path)
    with pytest.raises(DataError, match=r"none\.json cannot be read"):
        read_evaluation(tmp_path / "none.json")
    path.write_text("{}")
    with pytest.raises(DataError, match="not an evaluation that compass wrote"):
        read_evaluation(path)


def test_differences(tmp_path: Path) -> None:
    """Differences would not survive the disk, or a nan would make the file unreadable to other JSON readers."""
    differences = compare(evaluation(), evaluation())
    unknown = replace(differences[0], interval=Interval(math.nan, math.nan, math.nan))
    path = tmp_path / "eval" / "differences.json"
    write_differences([*differences, unknown], path)
    assert read_differences(path) == differences
    path.write_text('[{"metric": 1}]')
    with pytest.raises(DataError, match="not a list of differences"):
        read_differences(path)


def test_others_are_removed_with_their_rows(tmp_path: Path) -> None:
    """A test that is no longer measured would keep an earlier adapter's scores in the report."""
    for name in ("cy", "en"):
        (tmp_path / f"{name}.json").write_text("{}", "utf-8")
        (tmp_path / f"{name}.predictions.jsonl").write_text("", "utf-8")
    drop_others(tmp_path, {"cy": None})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cy.json", "cy.predictions.jsonl"]


def free_text() -> Evaluation:
    """Three commands, one of them answered exactly."""
    rows = [Example(f"r{i}", f"p{i}", f"tar xf path/to/file_{i}.tar", "de") for i in range(3)]
    return assemble(
        rows, ["tar xf path/to/file_0.tar", "tar xf", ""], np.ones(3), np.full(3, 25.0), name="de", language="de",
        config=EvaluationConfig(), seed=0,
    )  # fmt: skip


def test_rows_of_free_text_are_stored_with_how_close_they_are(tmp_path: Path) -> None:
    """The report would call each of them wrong. Other rows have nothing to be stored."""
    now = free_text()
    write_evaluation(now, tmp_path)
    rows = [json.loads(line) for line in (tmp_path / "de.predictions.jsonl").read_text("utf-8").splitlines()]
    assert [row["chrf"] for row in rows] == now.scores.chrf.tolist()
    assert rows[0]["chrf"] == 1.0 > rows[1]["chrf"]


def test_metrics_that_a_folder_of_0_1_lacks_are_taken_from_its_answers(tmp_path: Path) -> None:
    """A night of generation would be repeated for a score that its answers give."""
    now = free_text()
    path = write_evaluation(now, tmp_path)
    assert not lacks_metrics(path, now)
    before = now.to_dict()
    del before["responses"]
    before["metrics"] = {name: before["metrics"][name] for name in ("exact_match", "loss_per_byte")}
    path.write_text(json.dumps(before), "utf-8")
    found = read_evaluation(path)
    assert list(found.metrics) == ["loss_per_byte", "chrf", "token_f1", "rouge_l", "exact_match"]
    assert found.to_dict() == now.to_dict()
    assert lacks_metrics(path, found)
    assert [d.metric for d in compare(found, now)] == list(now.metrics)
