"""Files to answer prompts in: what is written comes back, as it is, half filled, and as tools export it."""

from __future__ import annotations

import csv
import json
import stat
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from compass.data.cleaning import clean
from compass.data.example import Example, Message
from compass.data.label_files import (
    ARGILLA,
    CSV,
    JSONL,
    LABEL_STUDIO_TASKS,
    WRITTEN,
    check_label_files,
    write_label_files,
)
from compass.data.label_list import LabelList, LabelPrompt
from compass.data.readers import read_examples
from compass.errors import DataError

CONTEXT = (Message("system", "Bydd yn fyr."), Message("user", "Helo"), Message("assistant", "Helo!"))
PROMPTS = (
    LabelPrompt("u1", 'Faint o\'r gloch\nyw hi, "nawr"?', "cy", 7, 0.1, 0.4, 3, "stands for 7 usage prompts"),
    LabelPrompt("u2", "Diffodd y golau; nawr", "cy", 4, 0.0, 0.6, 1, "stands for 4 usage prompts", CONTEXT),
    LabelPrompt("u3", "打开灯 \U0001f4a1", "cy", 1, 0.3, 0.7, 2, "stands for 1 usage prompt"),
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_label_files(tmp_path, PROMPTS, name="label-cy")
    return tmp_path


def written(rows: list[Example]) -> list[tuple[str, str, str, str, tuple[Message, ...]]]:
    return [(row.id, row.prompt, row.response, row.language, row.context) for row in rows]


EXPECTED = [(row.id, row.prompt, "", "cy", row.context) for row in PROMPTS]


@pytest.mark.parametrize("name", [JSONL, CSV, LABEL_STUDIO_TASKS, f"{ARGILLA}/records.json"])
def test_every_format_comes_back_as_the_same_prompts(folder: Path, name: str) -> None:
    """Line breaks, quotes, turns before the prompt and other scripts survive; nothing has an answer yet."""
    assert written(read_examples(folder / name)) == EXPECTED


@pytest.mark.parametrize("name", [JSONL, CSV, LABEL_STUDIO_TASKS])
def test_our_own_columns_are_not_said_to_be_unused(folder: Path, name: str, caplog: pytest.LogCaptureFixture) -> None:
    """Who gives the answers back would be warned of columns that we wrote. Those of others are still named."""
    read_examples(folder / name)
    assert "reason" not in caplog.text
    (folder / "other.csv").write_text("prompt,reason,covered\na,b,c\n", "utf-8")
    read_examples(folder / "other.csv")
    assert "columns that are not used: reason, covered" in caplog.text


def test_files_are_their_owner_s_alone(folder: Path) -> None:
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert len(files) == 8
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}


def test_a_table_that_somebody_filled_in_part_reordered_and_commented(folder: Path) -> None:
    """Rows without an answer are dropped and counted; the order, a new column and blanks around it do no harm."""
    with (folder / CSV).open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    rows[0][next(iter(rows[0]))] = "u1"
    rows[0]["response"], rows[2]["response"] = "Hanner dydd.", "  "
    names = ["comment", "response", *[name for name in rows[0] if name != "response"]]
    back = folder / "back.csv"
    with back.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        writer.writerows({**row, "comment": "not sure"} for row in reversed(rows))
    cleaned = clean(read_examples(back, require_response=True), require_response=True, check_language=False)
    assert [(row.id, row.prompt, row.response) for row in cleaned.examples] == [
        ("u1", PROMPTS[0].prompt, "Hanner dydd.")
    ]
    assert dict(cleaned.counts) == {"no response": 2}


ANSWERED: dict[str, tuple[str, str]] = {
    JSONL: ('"response": ""', '"response": "Un."'),
    CSV: (",response,", ",Ateb,"),
    LABEL_STUDIO_TASKS: ('"data"', '"annotations": [{"result": []}], "data"'),
    f"{ARGILLA}/records.json": ('"responses": {}', '"responses": {"response": [{"value": "Un."}]}'),
}


@pytest.mark.parametrize("name", ANSWERED)
def test_what_somebody_has_worked_on_is_never_written_over(folder: Path, name: str) -> None:
    """An afternoon's answers would be gone, whatever the column is called now and whichever tool they were given in."""
    path = folder / name
    path.write_text(path.read_text("utf-8").replace(*ANSWERED[name], 1), "utf-8")
    before = path.read_bytes()
    with pytest.raises(DataError, match=r"changed since it was written, .* --label-dir"):
        write_label_files(folder, PROMPTS[:1], name="label-cy")
    assert path.read_bytes() == before


@pytest.mark.parametrize("name", [JSONL, CSV])
def test_answers_in_files_of_earlier_versions_are_not_written_over_either(folder: Path, name: str) -> None:
    (folder / WRITTEN).unlink()
    path = folder / name
    if name == JSONL:
        path.write_text(path.read_text("utf-8").replace('"response": ""', '"response": "Un."', 1), "utf-8")
    else:
        path.write_text(f"id,prompt,response\nu1,{PROMPTS[2].prompt},Un.\n", "utf-8")
    with pytest.raises(DataError, match=r"1 answer, .* --label-dir"):
        write_label_files(folder, PROMPTS[:1], name="label-cy")


def test_a_place_that_is_a_file_is_refused(folder: Path) -> None:
    with pytest.raises(DataError, match=r"is a file, and the lists to label need a folder"):
        check_label_files(folder / JSONL)


def test_a_file_that_can_not_be_read_is_not_written_over(tmp_path: Path) -> None:
    """A list that an editor has broken may still have answers."""
    (tmp_path / JSONL).write_text('{"prompt": "a", "response": "b"}\n{"prompt": "c", "resp', "utf-8")
    with pytest.raises(DataError, match=r"line 2: broken JSON .* would be written over.*--label-dir"):
        check_label_files(tmp_path)


def test_a_new_list_replaces_one_without_answers(folder: Path) -> None:
    write_label_files(folder, PROMPTS[:1], name="label-cy")
    assert len(read_examples(folder / JSONL)) == 1


def test_argilla_s_settings_ask_for_what_the_records_have(folder: Path) -> None:
    """`argilla.Dataset.from_disk` reads these three files; the names and types are those of argilla 2.8."""
    settings = json.loads((folder / ARGILLA / ".argilla" / "settings.json").read_text("utf-8"))
    records = json.loads((folder / ARGILLA / "records.json").read_text("utf-8"))
    fields = {field["name"]: field["required"] for field in settings["fields"]}
    assert all(set(record["fields"]) <= set(fields) for record in records)
    assert [name for name, required in fields.items() if required] == ["prompt"]
    assert [question["name"] for question in settings["questions"]] == ["response"]
    assert settings["allow_extra_metadata"] is True
    assert all(isinstance(value, str | int | float) for record in records for value in record["metadata"].values())
    assert json.loads((folder / ARGILLA / ".argilla" / "dataset.json").read_text("utf-8"))["name"] == "label-cy"


def test_label_studio_s_view_names_what_the_tasks_have(folder: Path) -> None:
    view = (folder / "label-studio.xml").read_text("utf-8")
    tasks = json.loads((folder / LABEL_STUDIO_TASKS).read_text("utf-8"))
    assert all(set(task) == {"data"} for task in tasks)
    assert all(f'value="${name}"' in view and name in tasks[0]["data"] for name in ("prompt", "earlier_turns"))


# -- what the tools export, as their own exporters wrote it ------------------------------------------------------------


def read(path: Path, rows: Any) -> list[tuple[str, str, str]]:
    path.write_text(json.dumps(rows, ensure_ascii=False), "utf-8")
    return [(row.id, row.prompt, row.response) for row in read_examples(path, require_response=True)]


def task(number: int, name: str, *annotations: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": number,
        "annotations": list(annotations),
        "data": {"id": name, "prompt": f"Prompt {name}", "language": "cy"},
    }


def annotation(number: int, *texts: str, cancelled: bool = False) -> dict[str, Any]:
    value = {"text": list(texts)}
    result = [{"id": "r", "from_name": "response", "to_name": "prompt", "type": "textarea", "value": value}]
    return {"id": number, "completed_by": 1, "was_cancelled": cancelled, "result": result if texts else []}


def test_label_studio_s_tasks(tmp_path: Path) -> None:
    """Each answer is a row; a task that was skipped or left open has an empty response."""
    rows = [
        task(11, "a", annotation(1, "one")),
        task(12, "b"),
        task(13, "c", annotation(2, "first"), annotation(3, "second")),
        task(14, "d", annotation(4, "never mind", cancelled=True)),
        task(15, "e", annotation(5, "x", "y")),
    ]
    assert read(tmp_path / "export.json", rows) == [
        ("a", "Prompt a", "one"), ("b", "Prompt b", ""), ("c", "Prompt c", "first"), ("c-2", "Prompt c", "second"),
        ("d", "Prompt d", ""), ("e", "Prompt e", "x\ny"),
    ]  # fmt: skip


def test_label_studio_s_short_json_and_csv(tmp_path: Path) -> None:
    """A task with two annotations is there twice under one id; several texts are JSON within a cell."""
    about = {"language": "cy", "lead_time": 3.2}
    flat: list[dict[str, Any]] = [
        {"id": 11, "prompt": "Prompt a", "response": "one", "annotation_id": 1, **about},
        {"id": 12, "prompt": "Prompt b", "annotation_id": None, **about},
        {"id": 13, "prompt": "Prompt c", "response": "second", "annotation_id": 3, **about},
        {"id": 13, "prompt": "Prompt c", "response": {"text": ["x", "y"]}, "annotation_id": 2, **about},
    ]
    expected = [
        ("11-1", "Prompt a", "one"), ("12", "Prompt b", ""), ("13-3", "Prompt c", "second"),
        ("13-2", "Prompt c", "x\ny"),
    ]  # fmt: skip
    assert read(tmp_path / "short.json", flat) == expected
    table = tmp_path / "short.csv"
    flat[3]["response"] = '{"text":["x","y"]}'
    with table.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(flat[0]))
        writer.writeheader()
        writer.writerows(flat)
    assert [(row.id, row.prompt, row.response) for row in read_examples(table)] == expected


def test_argilla_s_records(tmp_path: Path) -> None:
    """`records.to_json`: answers by user, and a record that was discarded."""

    def record(name: str, *answers: str, status: str = "completed") -> dict[str, Any]:
        values = [{"value": answer, "user_id": f"user-{i}"} for i, answer in enumerate(answers)]
        return {
            "id": name, "fields": {"prompt": f"Prompt {name}"}, "metadata": {"language": "cy", "stands_for": 3},
            "suggestions": {}, "responses": {"response": values} if values else {}, "vectors": {}, "status": status,
            "_server_id": None,
        }  # fmt: skip

    pending, discarded = record("b", status="pending"), record("d", "z", status="discarded")
    rows = [record("a", "one"), pending, record("c", "x", "y"), discarded]
    assert read(tmp_path / "records.json", rows) == [
        ("a", "Prompt a", "one"), ("b", "Prompt b", ""), ("c", "Prompt c", "x"), ("c-2", "Prompt c", "y"),
        ("d", "Prompt d", ""),
    ]  # fmt: skip


def test_argilla_s_flat_rows(tmp_path: Path) -> None:
    """`records.to_list(flatten=True)` and data sets of the hub: only what was submitted is an answer."""
    name = "response.responses"
    rows = [
        {"id": "a", "prompt": "Prompt a", name: ["Moi", "Terve"], f"{name}.status": ["submitted", "draft"]},
        {"id": "b", "prompt": "Prompt b", name: None, f"{name}.status": None},
    ]
    assert read(tmp_path / "flat.json", rows) == [("a", "Prompt a", "Moi"), ("b", "Prompt b", "")]


def test_rows_that_only_look_alike_are_left_as_they_are(tmp_path: Path) -> None:
    """A column `data`, `fields` or `status` of somebody's own must not turn his rows into an export."""
    own = {"data": {"x": 1}, "fields": {"y": 2}, "responses": {}, "status": "discarded", "annotations": []}
    rows = [{"id": "a", "prompt": "P", "response": "R", **own}]
    assert read(tmp_path / "own.json", rows) == [("a", "P", "R")]


def test_the_list_is_read_back_as_it_was() -> None:
    listed = LabelList(PROMPTS, 0.2, 2, asked_for=24, usage=120, notes=("A note.",))
    assert LabelList.from_dict(json.loads(json.dumps(listed.to_dict()))) == listed
    assert listed.summary().endswith("it is 70 %. After the first 2, an answer covers less than one more usage prompt.")
    assert replace(listed, prompts=()).summary() == "training data and pool cover 20 % of what usage needs."
