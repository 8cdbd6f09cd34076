"""Local files as lm-eval tasks: what is in the folder, and what is refused."""

from __future__ import annotations

import gzip
import importlib.util
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from compass.errors import ConfigError, DataError
from compass.evaluation.lm_eval.local_tasks import NUMBER, make_tasks, split_usage


def write(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_bytes(gzip.compress("".join(json.dumps(row) + "\n" for row in rows).encode()))
    return str(path)


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").split("\n") if line]


EXAMS = [
    {"id": f"{language}-{i}", "lang": language, "question": f"въпрос {i} {{{{x}}}}?",
     "choices": ["а", "б", "в"][: 2 + i % 2],
     "answer": i % 2, "prompt": "-", "response": "-", "topic": ("Physics", "Fine Arts (Music)")[i % 2]}
    for language in ("bg", "tr") for i in range(6)
]  # fmt: skip


def test_exams_by_subject(tmp_path: Path) -> None:
    """Subjects would mix, rows of another language come in, or braces in a question be taken for a template."""
    source = write(tmp_path / "test.jsonl.gz", EXAMS)
    made = make_tasks(source, tmp_path / "t", name="exams_bg", template="letters", language="bg", by="topic")
    assert made.tasks == {"exams_bg_physics": 3, "exams_bg_fine_arts_music": 3}
    rows = read(made.folder / "exams_bg_fine_arts_music.jsonl")
    assert rows[0] == {
        "id": "bg-1",
        "text": "въпрос 1 {{x}}?\nA. а\nB. б\nC. в\nAnswer:",
        "choices": ["A", "B", "C"],
        "answer": 1,
    }
    group = yaml.safe_load((made.folder / "exams_bg.group.yaml").read_text("utf-8"))
    assert (group["group"], group["task"]) == ("exams_bg", ["exams_bg_fine_arts_music", "exams_bg_physics"])
    task = yaml.safe_load((made.folder / "exams_bg_physics.yaml").read_text("utf-8"))
    assert task["dataset_kwargs"]["data_files"] == {"test": str(made.folder / "exams_bg_physics.jsonl")}
    assert task["num_fewshot"] == 0, "lm-eval draws examples from the test where a task has no other rows"
    assert not list(made.folder.glob("*.part"))


def test_values_that_would_be_one_task_are_refused(tmp_path: Path) -> None:
    """C and C++ would be one task in silence; a subject CS would be overwritten by the culturally sensitive rows."""
    rows = [dict(row, topic=("C", "C++")[i % 2]) for i, row in enumerate(EXAMS)]
    source = write(tmp_path / "c.jsonl.gz", rows)
    with pytest.raises(DataError, match=r"topic 'C\+\+' and topic 'C' would both be the task x_c"):
        make_tasks(source, tmp_path / "t", name="x", template="letters", language="bg", by="topic")
    rows = [dict(row, topic="CS", cultural_sensitivity_label="CS") for row in EXAMS]
    source = write(tmp_path / "cs.jsonl.gz", rows)
    with pytest.raises(DataError, match="'CS' would be the task x_cs, the name of the rows that are labelled CS"):
        make_tasks(source, tmp_path / "t", name="x", template="letters", language="bg", by="topic")


def test_sib_is_sorted_by_the_labels_of_its_own_test(tmp_path: Path) -> None:
    """A label would be missing from the choices, or `swh-Latn` not be found as sw."""
    rows = [
        {"id": str(i), "lang": "swh-Latn", "split": "test", "prompt": f"maandishi {i}", "response": label}
        for i, label in enumerate(["travel", "sports", "travel"])
    ] + [{"id": "d", "lang": "swh-Latn", "split": "dev", "prompt": "x", "response": "politics"}]
    made = make_tasks(
        write(tmp_path / "a.jsonl.gz", rows), tmp_path / "t", name="sib", template="labels", language="sw", split="test"
    )
    docs = read(made.folder / "sib.jsonl")
    assert [doc["answer"] for doc in docs] == [1, 0, 1]
    assert docs[0]["choices"] == ["sports", "travel"]
    assert docs[0]["text"] == "maandishi 0\nTopic (sports, travel):"


def test_halves_are_tasks_where_the_label_is(tmp_path: Path) -> None:
    """A row without a label, or of the other half, would count."""
    rows = [
        {"question": f"q{i}", "choices": ["a", "b"], "answer": 0, "cultural_sensitivity_label": label}
        for i, label in enumerate(["CS", "CA", "-", None, "CS"])
    ]
    source = write(tmp_path / "a.jsonl.gz", rows)
    assert make_tasks(source, tmp_path / "t", name="g", template="letters").tasks == {"g": 5, "g_cs": 2, "g_ca": 1}


@pytest.mark.skipif(importlib.util.find_spec("lm_eval") is None, reason="pip install 'compass-peft[lm-eval]'")
@pytest.mark.filterwarnings("ignore")
def test_xcopa_reads_as_in_lm_eval(tmp_path: Path) -> None:
    """The example of lm-eval's own task: premise without its period, connector, choices that go on in lower case."""
    row = {
        "lang": "et",
        "question": "Ese oli kilesse mässitud.",
        "kind": "cause",
        "choices": ["See oli õrn.", "See oli."],
    }
    source = write(tmp_path / "a.jsonl.gz", [row | {"answer": 0}])
    (doc,) = read(make_tasks(source, tmp_path / "t", name="x", template="xcopa").folder / "x.jsonl")
    assert (doc["text"], doc["choices"][0]) == ("Ese oli kilesse mässitud sest", "see oli õrn.")
    source = write(tmp_path / "b.jsonl.gz", [row | {"answer": 0, "lang": "cy"}])
    with pytest.raises(DataError, match="no connector for language 'cy'"):
        make_tasks(source, tmp_path / "t", name="x", template="xcopa")


@pytest.mark.parametrize(
    ("text", "last"),
    [("jibu ni 1,234.", "1,234"), ("3 + 4 = 7", "7"), ("-5", "-5"), ("$18.50 kila siku", "18.50"), ("ni 6, basi", "6")],
)
def test_the_last_number_is_taken(text: str, last: str) -> None:
    """A full stop or a comma of the sentence would make a right sum wrong."""
    assert re.findall(NUMBER, text)[-1] == last


REFUSED: dict[str, tuple[dict[str, Any], dict[str, Any], type[Exception], str]] = {
    "no number": ({"prompt": "p", "response": "many"}, {"template": "number"}, DataError, "'many' is not a number"),
    "no subject": ({"question": "q", "choices": ["a", "b"], "answer": 0}, {"by": "topic"}, DataError, "no 'topic'"),
    "no choices": ({"question": "q", "answer": 0}, {}, DataError, "line 1: 0 choices"),
    "no rows": ({"question": "q", "lang": "tr"}, {"language": "bg"}, DataError, "no rows of language bg"),
    "template": ({"question": "q"}, {"template": "letter"}, ConfigError, "there is no 'letter'; one of letters"),
    "name": ({"question": "q"}, {"name": "../x"}, ConfigError, "has to serve as a file name"),
    "examples": ({"question": "q"}, {"num_fewshot": 1}, ConfigError, "fewshot has 0 rows"),
    "usage": (
        {"question": "q"},
        {"fewshot": [{"question": "habari ya asubuhi?"}], "usage": ["habari ya asubuhi?\nA. x\nB. y"]},
        DataError,
        "1 of the few-shot rows are in the usage sample",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_does_not_fit_is_refused(tmp_path: Path, name: str) -> None:
    """A task would be scored against wrong answers, and nobody would see it."""
    row, options, kind, message = REFUSED[name]
    source = write(tmp_path / "a.jsonl.gz", [row])
    with pytest.raises(kind, match=message):
        make_tasks(source, tmp_path / "t", **{"name": "x", "template": "letters"} | options)


def test_a_dev_row_is_usage_or_an_example_and_never_both() -> None:
    """A question that chose the training data would be shown with its answer; so would its translation."""
    rows = [
        {"question": f"question {i % 8}", "lang": language, "parallel_id": i % 8 if i < 8 else None, "n": (language, i)}
        for language in ("bg", "tr") for i in range(10)
    ]  # fmt: skip
    rows = [row | {"question": f"{row['question']} {row['lang']}"} for row in rows]
    split = split_usage(rows, 3, 0)
    assert len(split.fewshot) == 3
    assert len(split.usage) + len(split.fewshot) + split.dropped == len(rows)
    assert split.dropped >= 3, "each example has at least a translation"
    for example in split.fewshot:
        assert example["question"] not in {row["question"] for row in split.usage}
        if example["parallel_id"] is not None:
            assert example["parallel_id"] not in {row["parallel_id"] for row in split.usage}
    assert split_usage(rows, 3, 0) == split
    assert split_usage(rows, 3, 1).fewshot != split.fewshot
    with pytest.raises(DataError, match="there are 1 different questions"):
        split_usage([{"question": "one"}, {"question": "one"}], 2, 0)
