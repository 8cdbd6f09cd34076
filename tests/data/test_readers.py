"""What goes in comes out, and what cannot is refused with its place."""

from __future__ import annotations

import errno
import gzip
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compass.data.example import Example, Message
from compass.data.json_text import parse_json
from compass.data.readers import (
    SourceAccount,
    UnusableRowError,
    iter_examples,
    iter_records,
    read_examples,
    read_jsonl,
    read_row,
    write_jsonl,
)
from compass.data.readers.formats import FORMATS
from compass.errors import DataError, LanguageError

TURNS = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Hi"},
    {"role": "assistant", "content": "Hello"},
    {"role": "user", "content": "Faint o'r gloch yw hi?"},
    {"role": "assistant", "content": "Un."},
]
CONTEXT = tuple(Message(t["role"], t["content"]) for t in TURNS[:3])

SHAPES: dict[str, tuple[dict[str, Any], tuple[str, str, tuple[Message, ...], str]]] = {
    "completion": ({"prompt": "p", "completion": "r"}, ("p", "r", (), "und")),
    "response": ({"prompt": "p", "response": "r", "lang": "zh_CN"}, ("p", "r", (), "zh-CN")),
    "prompt only": ({"prompt": "p"}, ("p", "", (), "und")),
    "messages": ({"messages": TURNS}, (TURNS[3]["content"], "Un.", CONTEXT, "und")),
    "no answer yet": ({"messages": TURNS[:4]}, (TURNS[3]["content"], "", CONTEXT, "und")),
    "sharegpt": (
        {"conversations": [{"from": "human", "value": "p"}, {"from": "gpt", "value": "r"}]},
        ("p", "r", (), "und"),
    ),
    "conversational prompt": (
        {"prompt": TURNS[:4], "completion": TURNS[4:]},
        (TURNS[3]["content"], "Un.", CONTEXT, "und"),
    ),
    "instruction": (
        {"instruction": "Translate", "input": "cath", "output": "cat"},
        ("Translate\n\ncath", "cat", (), "und"),
    ),
    "instruction alone": ({"instruction": "Sing", "input": "", "output": "la"}, ("Sing", "la", (), "und")),
    "aya": (
        {"inputs": "p", "targets": "r", "language": "Welsh", "language_code": "cym"},
        ("p", "r", (), "cy"),
    ),
    "question": ({"question": "p", "answer": "r"}, ("p", "r", (), "und")),
    "Global-MMLU": (
        {"question": "p", "option_a": "w", "option_b": "x", "option_c": "y", "option_d": "z", "answer": "C"},
        ("p\nA. w\nB. x\nC. y\nD. z", "C. y", (), "und"),
    ),
    "MMLU-ProX": (
        {"question": "p", "option_0": "w", "option_1": "x", "option_2": None, "answer": "B", "answer_index": 1},
        ("p\nA. w\nB. x", "B. x", (), "und"),
    ),
    "choices": ({"question": "p", "choices": ["w", "x"], "answer": 0}, ("p\nA. w\nB. x", "A. w", (), "und")),
    "prompt before choices": (
        {"prompt": "q", "response": "r", "question": "p", "choices": ["w", "x"], "answer": 0},
        ("q", "r", (), "und"),
    ),
    "language by name": ({"prompt": "p", "language": "Welsh"}, ("p", "", (), "cy")),
}


def lines(path: Path, *rows: Any) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.mark.parametrize("name", SHAPES)
def test_shapes(name: str, tmp_path: Path) -> None:
    """A shape that trl or Aya users have would be read into the wrong fields."""
    row, (prompt, response, context, language) = SHAPES[name]
    (example,) = read_examples(lines(tmp_path / "a.jsonl", row))
    assert (example.prompt, example.response, example.context, example.language) == (
        prompt,
        response,
        context,
        language,
    )
    assert example.source == "a.jsonl"


ROWS = [
    {"id": "a", "prompt": "Trowch y golau\nymlaen", "response": '{"intent":"TurnOn"}', "language": "cy", "label": "x"},
    {"id": "b", "prompt": "开灯", "response": "", "language": "zh-CN", "label": "y, z"},
]


def write_as(kind: str, folder: Path) -> str:
    path = folder / f"rows.{kind}"
    text = "".join(json.dumps(row) + "\n" for row in ROWS)
    if kind in ("jsonl", "ndjson", "json"):
        path.write_text(text)
    elif kind == "array.json":
        path.write_text(json.dumps(ROWS, indent=1))
    elif kind == "jsonl.gz":
        path.write_bytes(gzip.compress(text.encode()))
    elif kind in ("csv", "tsv"):
        import csv

        with path.open("w", encoding="utf-8-sig", newline="") as out:
            writer = csv.DictWriter(out, list(ROWS[0]), delimiter="\t" if kind == "tsv" else ",")
            writer.writeheader()
            writer.writerows(ROWS)
    elif kind == "parquet":
        pq.write_table(pa.Table.from_pylist(ROWS).append_column("vector", pa.array([[1.0], [2.0]])), path)
    elif kind == "folder":
        datasets.Dataset.from_list(ROWS).save_to_disk(path)
    else:
        splits = datasets.DatasetDict(
            {"train": datasets.Dataset.from_list(ROWS[:1]), "dev": datasets.Dataset.from_list(ROWS)}
        )
        splits.save_to_disk(path)
        return f"{path}:dev"
    return str(path)


KINDS = ["jsonl", "ndjson", "json", "array.json", "jsonl.gz", "csv", "tsv", "parquet", "folder", "splits"]


def test_every_format_is_compared() -> None:
    """A new format would be read without the test that its rows are those of the other formats."""
    assert {suffix.removeprefix(".") for suffix in FORMATS} <= set(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_formats_agree(kind: str, tmp_path: Path) -> None:
    """The same rows would differ by file format: line breaks, empty fields, the byte-order mark, unused columns."""
    examples = read_examples(write_as(kind, tmp_path))
    assert [e.to_dict() | {"source": ""} for e in examples] == [row | {"source": ""} for row in ROWS]


def test_limit_and_required_response(tmp_path: Path) -> None:
    """A limit would read on, or a test row without its answer would count as a wrong answer."""
    path = write_as("jsonl", tmp_path)
    assert [e.id for e in read_examples(path, limit=1, require_response=True)] == ["a"]
    # A row whose response is empty is cleaning's to drop and count.
    assert [e.response for e in read_examples(path, require_response=True)] == [row["response"] for row in ROWS]
    with pytest.raises(DataError, match=r"response is required.*nearest: 'respons'.*Found: prompt, respons"):
        read_examples(lines(tmp_path / "r.jsonl", {"prompt": "p", "respons": "r"}), require_response=True)
    with pytest.raises(DataError, match="limit"):
        read_examples(path, limit=0)


@pytest.mark.parametrize("kind", ["jsonl", "csv", "parquet"])
def test_columns_are_mapped(kind: str, tmp_path: Path) -> None:
    """A mapped column would be lost (Parquet reads only known ones), or lose against a column of our name."""
    rows = [{"vraag": "p", "antwoord": "r", "taal": "nld", "prompt": "wrong", "id": "x"}]
    path = tmp_path / f"a.{kind}"
    if kind == "jsonl":
        lines(path, *rows)
    elif kind == "csv":
        path.write_text("vraag,antwoord,taal,prompt,id\np,r,nld,wrong,x\n")
    else:
        pq.write_table(pa.Table.from_pylist(rows), path)
    (example,) = read_examples(path, columns={"prompt": "vraag", "response": "antwoord", "language": "taal", "id": ""})
    assert (example.prompt, example.response, example.language) == ("p", "r", "nl")
    assert example.id != "x"


def test_translations_keep_what_they_share(tmp_path: Path) -> None:
    """Statistics would take translations of one question for independent rows."""
    path = lines(tmp_path / "a.jsonl", {"prompt": "p", "response": "r", "parallel_id": 7, "nummer": "n1"})
    own, mapped, aside = (
        read_examples(path, columns=columns) for columns in (None, {"parallel_id": "nummer"}, {"parallel_id": ""})
    )
    assert [rows[0].parallel_id for rows in (own, mapped, aside)] == ["7", "n1", ""]
    assert Example.from_dict(own[0].to_dict()) == own[0]


@pytest.mark.parametrize(
    ("row", "prompt", "response"),
    [
        ({"question": "q", "response": "r"}, "q", "r"),
        ({"instruction": "q", "answer": "r"}, "q", "r"),
        ({"inputs": "q", "response": "r"}, "q", "r"),
        ({"inputs": "q", "targets": "r", "response": "other"}, "q", "r"),
        ({"prompt": "q", "output": "r"}, "q", "r"),
        ({"messages": None, "prompt": "q", "response": "r"}, "q", "r"),
        ({"messages": [{"role": "user", "content": "q"}], "answer": "r"}, "q", "r"),
        ({"messages": [{"role": "User", "content": "q"}, {"role": "chatgpt", "content": "r"}]}, "q", "r"),
        ({"messages": [{"role": "user", "content": "q"}, *2 * [{"role": "assistant", "content": "r"}]]}, "q", "r\nr"),
        ({"prompt": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "So:"}],
          "completion": [{"role": "assistant", "content": " r"}]}, "q", "So: r"),
        ({"prompt": "q", "completion": "r", "label": True}, "q", "r"),
        ({"prompt": "q", "completion": "r", "label": ["x"], "source": ["y"]}, "q", "r"),
        ({"prompt": "q", "chosen": "r", "rejected": "s"}, "q", "r"),
        ({"prompt": "q", "chosen": [{"role": "assistant", "content": "r"}], "rejected": []}, "q", "r"),
        ({"prompt": "q", "chosen": [{"role": "user", "content": "q "}, {"from": "gpt", "value": "r"}]}, "q", "r"),
        ({"chosen": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "r"}]}, "q", "r"),
        ({"question": "q", "answers": {"text": ["r", "r"], "answer_start": [1, 9]}}, "q", "r"),
        ({"prompt": "q", "answer": ["r"]}, "q", "r"),
        ({"prompt": "q", "answers": ["r", "", "r"]}, "q", "r"),
    ],
)  # fmt: skip
def test_an_answer_is_found_wherever_it_stands(row: dict[str, Any], prompt: str, response: str, tmp_path: Path) -> None:
    """Usage would become prompts without answers, or half of an answer would be taught, and nobody would be told."""
    (example,) = read_examples(lines(tmp_path / "a.jsonl", row), require_response=True)
    assert (example.prompt, example.response) == (prompt, response)


@pytest.mark.parametrize("name", ["system", "system_prompt"])
def test_a_system_turn_in_a_column_of_its_own_is_context(name: str, tmp_path: Path) -> None:
    """The model would be trained without what it was told."""
    rows = ({"question": "q", "response": "r"}, {"conversations": [{"from": "human", "value": "q"}]})
    for row in rows:
        (example,) = read_examples(lines(tmp_path / "a.jsonl", row | {name: "Be brief."}))
        assert [(turn.role, turn.content) for turn in example.context] == [("system", "Be brief.")]


@pytest.mark.parametrize(
    "turns",
    [
        [{"role": "assistant", "content": "wait", "tool_calls": [{"id": "1"}]}, {"role": "tool", "content": "9"}],
        [{"role": "function_call", "content": "{}"}, {"role": "observation", "content": "ok"}],
        [{"role": "tool", "content": "7"}, {"role": "assistant", "content": "r"}],
    ],
)
def test_rows_with_tool_calls_are_left_out_and_never_half_an_answer(
    turns: list[dict[str, Any]], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The words before a call would be taught as the answer. A log's prompt is read all the same."""
    row = {"messages": [{"role": "user", "content": "q"}, *turns, {"role": "assistant", "content": "r"}]}
    with pytest.raises(DataError, match=r"none of its 1 rows .*: 1 tool calls\. .* line 1: 'messages' has tool calls"):
        read_examples(lines(tmp_path / "a.jsonl", row))
    assert read_row(row).prompt == "q"
    good = {"messages": [{"role": "user", "content": "g"}, {"role": "assistant", "content": "r"}]}
    no_user = {"messages": [{"role": "assistant", "content": "r"}]}
    accounts: list[SourceAccount] = []
    path = lines(tmp_path / "b.jsonl", good, {"id": "called", **row}, no_user)
    (read,) = read_examples(path, accounts=accounts)
    assert (read.prompt, read.place) == ("g", f"{path}, line 1")
    assert [(row.id, row.reason, row.place) for row in accounts[0].dropped] == [
        ("called", "tool calls", f"{path}, line 2"),
        ("", "no user turn", f"{path}, line 3"),
    ]
    assert "2 of 3 rows are left out: 1 tool calls, 1 no user turn" in caplog.text


def test_files_of_windows_and_gzip_under_another_name_are_read(tmp_path: Path) -> None:
    """The hint to convert from windows-1252 would make nonsense of them."""
    for name, text in (
        ("a.jsonl", '{"prompt": "Καλημέρα\\u2028ŵ"}\n{"prompt": "b"}\n'),
        ("a.csv", "prompt\nΚαλημέρα\nb\n"),
    ):
        for encoding in ("utf-16", "utf-32"):
            (tmp_path / name).write_bytes(text.encode(encoding))
            assert [e.prompt[:8] for e in read_examples(tmp_path / name)] == ["Καλημέρα", "b"]
    (tmp_path / "packed.jsonl").write_bytes(gzip.compress(b'{"prompt": "a"}\n'))
    assert [e.prompt for e in read_examples(tmp_path / "packed.jsonl")] == ["a"]
    (tmp_path / "wide.csv").write_text(f"prompt, response\n{'a' * 200_000},b\n", "utf-8")
    assert [(len(e.prompt), e.response) for e in read_examples(tmp_path / "wide.csv")] == [(200_000, "b")]
    pq.write_table(pa.table([["a"], ["b"]], names=["prompt", "prompt"]), tmp_path / "twice.parquet")
    with pytest.raises(DataError, match=r"twice\.parquet: the column 'prompt' is there twice"):
        read_examples(tmp_path / "twice.parquet")
    (tmp_path / "semi.csv").write_text('prompt;response\na, b;"c;d"\n', "utf-8")
    assert [(e.prompt, e.response, e.place[-6:]) for e in read_examples(tmp_path / "semi.csv")] == [
        ("a, b", "c;d", "line 2")
    ]
    for mark in "\t|":
        (tmp_path / "other.csv").write_text(f"prompt{mark}response\na, b{mark}c;d\n", "utf-8")
        assert [(e.prompt, e.response) for e in read_examples(tmp_path / "other.csv")] == [("a, b", "c;d")]


@pytest.mark.parametrize(
    "turns",
    [
        [
            {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "input_text", "text": "b"}, "c"]},
            {"role": "assistant", "content": [{"type": "output_text", "text": "r", "image": None}]},
        ],
        {"role": ["user", "assistant"], "content": ["a\nb\nc", "r"]},
        [
            {"role": "user", "from": None, "content": None, "value": "a\nb\nc"},
            {"role": None, "from": "gpt", "value": "r"},
        ],
        [{"role": "user", "text": "a\nb\nc"}, {"role": "assistant", "text": "r"}],
        json.dumps({"from": ["human", "gpt"], "value": ["a\nb\nc", "r"]}),
    ],
)
def test_turns_in_parts_and_field_by_field(turns: Any, tmp_path: Path) -> None:
    """OpenAI's and Hugging Face's chat files write turns so; one of them refused the whole file."""
    row = {"messages": turns}
    (read,) = read_examples(lines(tmp_path / "a.jsonl", row))
    assert (read.prompt, read.response) == ("a\nb\nc", "r")
    assert read_row(row).prompt == "a\nb\nc"


def test_rows_with_pictures_are_left_out_and_counted(tmp_path: Path) -> None:
    """What is asked about a picture makes no sense without it, and the other rows of the file do."""
    picture = [{"role": "user", "content": [{"type": "text", "text": "q"}, {"type": "image_url", "image_url": {}}]}]
    accounts: list[SourceAccount] = []
    path = lines(tmp_path / "a.jsonl", {"messages": picture}, {"messages": [{"role": "user", "content": "a"}]})
    assert [row.prompt for row in read_examples(path, accounts=accounts)] == ["a"]
    assert [(row.reason, row.place) for row in accounts[0].dropped] == [("images or other media", f"{path}, line 1")]


def test_parquet_with_a_text_that_is_not_utf_8_is_refused_with_its_record(tmp_path: Path) -> None:
    """Parquet declares UTF-8 and does not check it: a traceback would name neither file nor record."""
    offsets = pa.py_buffer(np.array([0, 1, 3, 4], dtype=np.int32).tobytes())
    texts = pa.Array.from_buffers(pa.string(), 3, [None, offsets, pa.py_buffer(b"a\xff\xfeb")])
    pq.write_table(pa.table({"prompt": texts}), tmp_path / "a.parquet")
    with pytest.raises(DataError, match=r"a\.parquet, record 2: a text that is not UTF-8"):
        read_examples(tmp_path / "a.parquet")


TURNS = [{"role": "user", "content": "p"}, {"role": "assistant", "content": "r"}]


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize(
    "content",
    [
        {"version": 2, "source": "s", "data": [{"prompt": "p", "response": "r"}]},
        {"rows": [{"messages": TURNS}]},
        {"messages": TURNS},
        {"prompt": TURNS[:1], "completion": TURNS[1:]},
        {"prompt": "p", "response": "r", "tools": [{"name": "t"}, {"name": "u"}]},
        {"prompt": ["p"], "response": ["r"]},
        {"prompt": {"0": "p"}, "response": {"0": "r"}},
    ],
)
def test_a_json_file_that_is_one_object_is_read(content: Any, indent: int | None, tmp_path: Path) -> None:
    """It would be refused as broken JSON Lines, or its only row be one without a prompt."""
    (tmp_path / "a.json").write_text(json.dumps(content, indent=indent), "utf-8")
    (read,) = read_examples(tmp_path / "a.json")
    assert (read.prompt, read.response) == ("p", "r")
    (tmp_path / "b.json").write_text(json.dumps(content) + "\n" + json.dumps(content), "utf-8")
    if "prompt" in content and isinstance(content["prompt"], str):
        assert len(read_examples(tmp_path / "b.json")) == 2


def test_a_json_file_with_several_lists_is_named(tmp_path: Path) -> None:
    """Rows of a test split would be taken for those to train on."""
    row = {"prompt": "p", "response": "r"}
    (tmp_path / "a.json").write_text(json.dumps({"train": [row], "test": [row]}, indent=1), "utf-8")
    with pytest.raises(DataError, match=r"a\.json: it is one object with the lists train, test"):
        read_examples(tmp_path / "a.json")


def test_history_becomes_earlier_turns(tmp_path: Path) -> None:
    """An answer would stand without the question that it goes on from."""
    rows = [
        {"instruction": "c", "output": "d", "system": "s", "history": [["a", "b"], ["", None]]},
        {"prompt": "c", "response": "d", "history": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]},
        {"prompt": "c", "response": "d", "history": '[["a", "b"]]'},
        {"prompt": "c", "response": "d", "history": []},
    ]
    pairs = (("user", "a"), ("assistant", "b"))
    assert [tuple((turn.role, turn.content) for turn in read_row(row).context) for row in rows] == [
        (("system", "s"), *pairs), pairs, pairs, (),
    ]  # fmt: skip
    with pytest.raises(DataError, match="'history' must be a list of messages, got the text x"):
        read_examples(lines(tmp_path / "a.jsonl", {"prompt": "c", "history": "x"}))


def test_columns_that_are_not_used_are_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A misspelt column would vanish without a word."""
    row = {"prompt": "p", "respones": "r", "url": "u", "label": None, "completion": "c", "answer": "a"}
    accounts: list[SourceAccount] = []
    read_examples(lines(tmp_path / "a.jsonl", row, row), accounts=accounts)
    assert [r.message.split(": ", 1)[1] for r in caplog.records] == ["columns that are not used: respones, url, answer"]
    assert accounts[0].uses == {"prompt": "prompt", "completion": "response"}
    pq.write_table(pa.table({"prompt": ["p"], "url": ["u"], "label": [None]}), tmp_path / "a.parquet")
    read_examples(tmp_path / "a.parquet", accounts=accounts)
    assert accounts[1].unused == ["url"]


def test_mapping_errors(tmp_path: Path) -> None:
    """A typo in a mapping would be ignored in silence."""
    path = lines(tmp_path / "a.jsonl", {"question": "q", "answer": "a"})
    with pytest.raises(DataError, match=r"there is no field 'promt'; nearest: 'prompt'"):
        read_examples(path, columns={"promt": "question"})
    with pytest.raises(DataError, match=r"no column 'questions'.*nearest: 'question'.*Found: question, answer"):
        read_examples(path, columns={"prompt": "questions"})


BAD: dict[str, tuple[str, bytes, str]] = {
    "broken line": (
        "a.jsonl",
        b'{"prompt":"p"}\n\n{"prompt": "x\n',
        r"a\.jsonl, line 3: broken JSON \(.*column \d+\): \{",
    ),
    "a line that is cut off": (
        "a.jsonl",
        b'{"prompt":"p"}\n{"prompt": "x"\n{"prompt":"p"}\n',
        r"a\.jsonl, line 2: broken JSON \([^()]* at column 15\): \{",
    ),
    "no object": ("a.jsonl", b'{"prompt":"p"}\n[1]\n', r"line 2: a record must be a JSON object, got list"),
    "missing column": (
        "a.csv",
        b"promt,reply\na,b\n",
        r"no column for the prompt.*nearest: 'promt'.*Found: promt, reply",
    ),
    "an id is no prompt": ("a.csv", b"message_id,text\n123456,abc d\n654321,how are you\n", r"example prompt=text"),
    "no text at all": ("a.json", b"{}", r"Found: none\..*example prompt=COLUMN"),
    "an answer is no prompt": ("a.csv", b"completion\na\n", r"example prompt=COLUMN"),
    "turns of another name": (
        "a.jsonl",
        b'{"id":"x","items":[{"from":"human","value":"a"}]}\n',
        r"example messages=items",
    ),
    "zip": ("a.jsonl", b"PK\x03\x04\xff", r"a\.jsonl is a zip file, not text\. Unpack it"),
    "zstd": ("a.csv", b"\x28\xb5\x2f\xfd\x04", r"a\.csv is a Zstandard file"),
    "packed twice": ("a.jsonl.gz", gzip.compress(b"BZh91AY"), r"is a bzip2 file"),
    "not UTF-8": (
        "a.jsonl",
        b'{"prompt":"p"}\n{"prompt":"caf\xe9"}\n',
        r"line 2: not UTF-8 \(byte 0xe9.*windows-1253 for Greek",
    ),
    "not UTF-8 in CSV": ("a.csv", b"prompt\ncaf\xe9\n", r"line 2: not UTF-8"),
    "empty": ("a.jsonl", b"", r"a\.jsonl is empty"),
    "blank": ("a.jsonl", b"\n \n", r"contains no records"),
    "header alone": ("a.csv", b"prompt,response\n", r"contains no records"),
    "ragged CSV": (
        "a.csv",
        b'prompt,response\n"a\nb",c\na,b,c\n',
        r"line 4: 3 fields, but 2 in the header \(.*\)\. Put a",
    ),
    "open quote": ("a.csv", b'prompt\na\n"b\n', r"line 3: broken CSV .* must end with one"),
    "old Mac line ends": ("a.csv", b"prompt,response\ra,b\rc,d\r", r"line 1: lines end in a carriage return alone"),
    "several texts": ("a.csv", b"Frage,Antwort\nwas,das\n", r"example prompt=COLUMN"),
    "double column": ("a.csv", b"prompt,prompt\na,b\n", r"'prompt' is there twice\. Rename one"),
    "nested too deeply": (
        "a.jsonl",
        b'{"prompt":"p"}\n' + b"[" * 100_000,
        r"a\.jsonl, line 2: JSON that is nested too deeply",
    ),
    "a number of 5,000 digits": (
        "a.jsonl",
        b'{"prompt":1' + b"0" * 5_000 + b"}",
        r"a\.jsonl, line 1: a number with too many",
    ),
    "messages nested too deeply": (
        "a.jsonl",
        json.dumps({"messages": "[" * 100_000}).encode(),
        r"a\.jsonl, line 1: 'messages' must be a list",
    ),
    "a deep field": (
        "a.jsonl",
        b'{"prompt":' + b"[" * 900 + b"]" * 900 + b"}",
        r"a\.jsonl, line 1: each message of 'prompt'",
    ),
    "broken array": ("a.json", b'[{"prompt":"p"},\n{"prompt"]\n', r"a\.json: broken JSON .* line 2, column 10"),
    "record of array": ("a.json", b'[{"prompt":"p"},3]', r"record 2: a record must be"),
    "not Parquet": ("a.parquet", b"PAR0nothing", r"cannot be read as Parquet"),
    "cut gzip": ("a.jsonl.gz", gzip.compress(b'{"prompt":"p"}\n' * 99)[:-9], r"gzip file is broken or cut off"),
    "no gzip": ("a.jsonl.gz", b'{"prompt":"p"}\n', r"gzip file is broken"),
    "format": ("a.xlsx", b"x", r"unknown format '\.xlsx'\. Known: \.jsonl"),
    "no user": (
        "a.jsonl",
        b'{"messages":[{"role":"system","content":"x"}]}\n',
        r"line 1: no message has the role 'user'; found system",
    ),
    "no role": ("a.jsonl", b'{"messages":[{"content":"x"}]}\n', r"line 1: each message of 'messages' must be"),
    "context of text": ("a.jsonl", b'{"prompt":"p","context":"x"}\n', r"'context' must be a list of messages"),
    "same id": ("a.csv", b"id,prompt\n1,a\n2,b\n1,c\n", r"line 4: the id '1' occurs twice, first in line 2"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_refused_with_its_place(name: str, tmp_path: Path) -> None:
    """A user would get a traceback, or a run on half the data, instead of the file and line to mend."""
    file, content, message = BAD[name]
    path = tmp_path / file
    path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_examples(path)


UNUSABLE: dict[str, tuple[dict[str, Any], str, str]] = {
    "a number": ({"prompt": 5}, "a field of another type", "'prompt' must be text, got int: 5. Write it as text."),
    "an object": ({"prompt": {"a": 1}}, "a field of another type", "'prompt' must be text, got dict"),
    "a list": ({"prompt": [1, 2]}, "a field of another type", "each message of 'prompt' must be an object"),
    "a response": ({"prompt": "p", "response": 4.0}, "a field of another type", "'response' must be text, got float"),
    "turns of text": ({"prompt": "p", "context": "x"}, "a field of another type", "'context' must be a list of"),
    "history": ({"prompt": "p", "history": 3}, "a field of another type", "'history' must be a list of messages"),
    "missing": ({"promp": "p"}, "no prompt", "no 'prompt'; nearest: 'promp'. Found: id, promp."),
    "language": ({"prompt": "p", "lang": "wlsh"}, "an unknown language tag", "'wlsh' is not a language tag"),
    "answers": ({"prompt": "p", "answers": ["a", "b"]}, "several answers", "'answers' has 2 different answers. Put"),
    "squad": ({"prompt": "p", "answers": {"text": ["a", "b"]}}, "several answers", "'answers' has 2 different answers"),
}


@pytest.mark.parametrize("kind", ["jsonl", "json", "parquet", "folder"])
@pytest.mark.parametrize("name", UNUSABLE)
def test_a_row_that_cannot_be_used_does_not_take_its_file_along(
    name: str, kind: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """One value in row 17 of a good file would refuse the file; skipped in silence, rows would be missing."""
    row, reason, message = UNUSABLE[name]
    good = [{"prompt": f"p {i}", "response": "r"} for i in range(3)]
    given, place = [*good[:2], {"id": "bad", **row}, good[2]], "record 3"
    path = tmp_path / f"a.{kind}"
    if kind == "jsonl":
        lines(path, *given)
        place = "line 3"
    elif kind == "json":
        path.write_text(json.dumps(given), "utf-8")
    else:
        # A column has one type there, so all of its values are what the one is, or it is another column.
        given = [{"id": "bad", **row}] if name != "missing" else [{**row, "id": "bad", "prompt": None}]
        if kind == "parquet":
            pq.write_table(pa.Table.from_pylist(given), path)
        else:
            datasets.Dataset.from_list(given).save_to_disk(path)
    accounts: list[SourceAccount] = []
    if kind in ("parquet", "folder"):
        if name == "missing":
            return
        with pytest.raises(DataError, match=f"none of its 1 rows can be used: 1 {reason}. The first: .*record 1"):
            read_examples(path, accounts=accounts)
    else:
        assert [row.prompt for row in read_examples(path, accounts=accounts)] == ["p 0", "p 1", "p 2"]
        assert f"1 of 4 rows are left out: 1 {reason}. The first: {path}, {place}: {message}" in caplog.text
    (dropped,) = accounts[0].dropped
    assert (dropped.id, dropped.reason) == ("bad", reason)
    with pytest.raises((UnusableRowError, LanguageError)):
        # A log is asked for prompts alone: responses do not matter there.
        read_row(row if name not in ("answers", "squad", "a response") else {})


def test_an_id_that_is_none_is_made_from_the_content(tmp_path: Path) -> None:
    """A row of a database export, whose id is an object, would be refused for a field that nothing is learned from."""
    (read,) = read_examples(lines(tmp_path / "a.jsonl", {"prompt": "p", "id": {"$oid": "5f"}, "label": {"a": 1}}))
    (own,) = read_examples(lines(tmp_path / "b.jsonl", {"prompt": "p"}))
    assert (read.id, read.label) == (own.id, "")


SPELT: dict[str, dict[str, Any]] = {
    "capitals": {"Prompt": "q", "Response": "r", "Language": "cy", "ID": "7"},
    "spaces": {" prompt": "q", "response ": "r", "language-code": "cy", "\ufeffid": "7"},
    "shape": {"INSTRUCTION": "q", "Output": "r", "Lang": "Welsh", "Id": 7},
    "choices": {"Question": "q", "Option A": "x", "Option B": "y", "Answer": "B", "Language": "cy", "id": "7"},
}


@pytest.mark.parametrize("kind", ["jsonl", "csv", "parquet"])
@pytest.mark.parametrize("name", SPELT)
def test_columns_in_another_spelling_are_read(name: str, kind: str, tmp_path: Path) -> None:
    """Usage would become prompts without answers, with exit code 0, for a capital letter."""
    row, path = SPELT[name], tmp_path / f"a.{kind}"
    if kind == "jsonl":
        lines(path, row)
    elif kind == "csv":
        path.write_text(",".join(row) + "\n" + ",".join(map(str, row.values())) + "\n", "utf-8")
    else:
        pq.write_table(pa.Table.from_pylist([row]), path)
    accounts: list[SourceAccount] = []
    (read,) = read_examples(path, require_response=True, accounts=accounts)
    prompt, response = ("q\nA. x\nB. y", "B. y") if name == "choices" else ("q", "r")
    assert (read.prompt, read.response, read.language, read.id) == (prompt, response, "cy", "7")
    names = [column.strip() for column in accounts[0].uses] if kind == "csv" else list(accounts[0].uses)
    assert names == ([column.strip() for column in row] if kind == "csv" else list(row))
    assert not accounts[0].unused
    if name != "choices":
        assert read_row(row).prompt == "q"


def test_a_column_of_our_name_comes_before_one_in_another_spelling(tmp_path: Path) -> None:
    """A second column would be read in its place, or be lost without a word."""
    rows = [{"prompt": "q", "Response": "no", "response": "r"}, {"Prompt": "p", "RESPONSE": "s", "Response": "no"}]
    accounts: list[SourceAccount] = []
    read = read_examples(lines(tmp_path / "a.jsonl", *rows), accounts=accounts)
    assert [(row.prompt, row.response) for row in read] == [("q", "r"), ("p", "s")]
    assert accounts[0].unused == ["Response"]
    (mapped,) = read_examples(
        lines(tmp_path / "b.jsonl", {"Prompt": "p", "question": "q", "Answer": "a"}), columns={"prompt": "question"}
    )
    assert (mapped.prompt, mapped.response) == ("q", "a")


def test_a_file_of_one_endless_line_is_refused_before_it_fills_the_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sparse file of terabytes, or a dump without line ends, would be read whole as one line."""
    monkeypatch.setattr("compass.data.readers.formats.text_lines.__defaults__", (2**20,))
    for name in ("a.jsonl", "a.csv"):
        with (tmp_path / name).open("wb") as file:
            file.truncate(2**36)
        with pytest.raises(DataError, match=rf"{name}: a line is longer than 1 MiB"):
            read_examples(tmp_path / name)
    row = {"prompt": "p" * 2**21}
    (tmp_path / "a.json").write_text(json.dumps([row]), "utf-8")
    assert len(read_examples(tmp_path / "a.json")) == 1


def test_pipes_and_devices_are_refused_at_once(tmp_path: Path) -> None:
    """A pipe that nobody writes to would wait for ever, and one that somebody writes to lose its first bytes."""
    os.mkfifo(tmp_path / "a.jsonl")
    (tmp_path / "b.jsonl").symlink_to("/dev/zero")
    for name in ("a.jsonl", "b.jsonl"):
        with pytest.raises(DataError, match=rf"{name} is not a file but a pipe or a device"):
            read_examples(tmp_path / name)


def test_missing_file_names_the_nearest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A typo in a path would leave the user to search."""
    (tmp_path / "usage.jsonl").touch()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=r"FILE: no such file\. The current folder, .*, holds usage\.jsonl\."):
        read_examples("FILE")
    with pytest.raises(DataError, match=r"no such file\. The folder .* holds usage\.jsonl\."):
        read_examples(tmp_path / "FILE")
    with pytest.raises(DataError, match=r"no such file; the current folder, .*, has no folder no\."):
        read_examples("no/usage.csv")
    with pytest.raises(DataError, match=r"no such file\. Did you mean .*usage\.jsonl\?"):
        read_examples(tmp_path / "usge.jsonl")
    with pytest.raises(DataError, match=r"no such file; the folder .* has no folder no/there\.$"):
        read_examples(tmp_path / "no" / "there" / "usage.jsonl")
    # The same name in another format comes before another name, and a folder that is here is no owner on the hub.
    for name in ("usage-sw.csv", "usage-ta.json"):
        (tmp_path / name).touch()
    with pytest.raises(DataError, match=r"Did you mean .*usage-ta\.json\?"):
        read_examples("usage-ta.csv")
    with pytest.raises(DataError, match=r"no such file\. Did you mean [^ ]*/usage\.jsonl\?$"):
        read_examples(tmp_path / "usage.xlsx")
    (tmp_path / "data").mkdir()
    with pytest.raises(DataError, match=r"holds nothing\.$"):
        read_examples("data/logs.xlsx")
    (tmp_path / "loop.jsonl").symlink_to("loop.jsonl")
    with pytest.raises(DataError, match=r"loop\.jsonl is a link that leads nowhere"):
        read_examples(tmp_path / "loop.jsonl")
    with pytest.raises(DataError, match="A source has no name"):
        read_examples("")
    with pytest.raises(DataError, match=r"write hub:CohereLabs/aya_dataset"):
        read_examples("CohereLabs/aya_dataset")
    with pytest.raises(DataError, match=r"neither state\.json nor"):
        read_examples(tmp_path)


def test_columns_that_are_not_read_are_not_decoded(tmp_path: Path) -> None:
    """A picture beside the prompt would be decoded, which needs a library, or is broken: the rows are texts."""
    row = {"prompt": "p", "picture": {"bytes": b"none", "path": ""}, "Response": "r"}
    datasets.Dataset.from_list([row]).cast_column("picture", datasets.Image()).save_to_disk(tmp_path / "a")
    accounts: list[SourceAccount] = []
    (read,) = read_examples(tmp_path / "a", accounts=accounts)
    assert (read.prompt, read.response) == ("p", "r")
    assert accounts[0].unused == ["picture"]


def test_splits(tmp_path: Path) -> None:
    """The wrong split would be trained on without a word."""
    path = write_as("splits", tmp_path).removesuffix(":dev")
    with pytest.raises(DataError, match=r"has the splits train, dev\. Choose one"):
        read_examples(path)
    with pytest.raises(DataError, match=r"no split 'tran'; nearest: 'train'"):
        read_examples(f"{path}:tran")


def test_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    """The revision, the split, the configuration or streaming would not reach the hub."""
    calls = []

    def load_dataset(name: str, config: str | None, **options: Any) -> Any:
        calls.append((name, config, options))
        data = datasets.Dataset.from_list(ROWS)
        return data.to_iterable_dataset() if options["streaming"] else data

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    rows = read_examples("hub:a/b/cym@main:train[:2]", streaming=True)
    assert read_examples("hub:squad") == [replace(row, source="hub:squad") for row in rows]
    assert [row.id for row in rows] == ["a", "b"]
    assert calls == [
        ("a/b", "cym", {"revision": "main", "split": "train[:2]", "streaming": True}),
        ("squad", None, {"revision": None, "split": None, "streaming": False}),
    ]
    for name in ("hub:", "hub:../../x", "hub:a/..", "hub:./x", "hub:/etc", "hub:a/b/../c"):
        with pytest.raises(DataError, match="does not name a data set on the hub"):
            read_examples(name)


def test_subjects_are_labels_of_multiple_choice(tmp_path: Path) -> None:
    """The report would have no kinds of question to show, or Parquet would lose the options."""
    row = {"question": "p", "option_a": "w", "option_b": "x", "answer": "B", "subject": "law"}
    pq.write_table(pa.Table.from_pylist([row]), tmp_path / "a.parquet")
    (example,) = read_examples(tmp_path / "a.parquet", default_language="sw")
    assert (example.response, example.label, example.language) == ("B. x", "law", "sw")
    (example,) = read_examples(tmp_path / "a.parquet", columns={"label": ""})
    assert example.label == ""
    (example,) = read_examples(tmp_path / "a.parquet", columns={"prompt": "question", "response": "answer"})
    assert (example.prompt, example.response) == ("p", "B"), "a mapping that names the fields is followed"
    ((place, record),) = iter_records(tmp_path / "a.parquet")
    assert (place, record) == (f"{tmp_path / 'a.parquet'}, record 1", row)


@pytest.mark.parametrize("answer", ["E", 4, -1, None, True, "no choice"])
def test_an_answer_that_is_no_choice_is_refused_with_its_place(tmp_path: Path, answer: Any) -> None:
    """A test would be scored against a wrong answer."""
    path = lines(tmp_path / "a.jsonl", {"question": "p", "choices": ["a", "b", "c", "d"], "answer": answer})
    with pytest.raises(DataError, match=r"line 1: the answer .* is not one of the 4 choices"):
        read_examples(path)


def test_hub_out_of_reach(monkeypatch: pytest.MonkeyPatch) -> None:
    """A network error would come as a traceback of the library."""

    def load_dataset(*args: Any, **options: Any) -> Any:
        raise ConnectionError("offline")

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    with pytest.raises(DataError, match=r"hub:a/b: cannot be loaded \(ConnectionError: offline\)"):
        read_examples("hub:a/b")


def test_made_ids_are_stable_and_unique(tmp_path: Path) -> None:
    """A second run would give rows other ids, or two rows one id."""
    one = read_examples(lines(tmp_path / "a.jsonl", {"prompt": "p"}, {"prompt": "q"}, {"prompt": "p"}))
    other = read_examples(lines(tmp_path / "b.jsonl", {"prompt": "q", "lang": "cy"}, {"prompt": "p"}))
    assert [e.id for e in other] == [one[1].id, one[0].id]
    assert one[2].id == f"{one[0].id}-2"
    both = read_examples([str(tmp_path / "a.jsonl"), str(tmp_path / "b.jsonl")])
    assert len({e.id for e in both}) == 5


def test_rows_are_streamed(tmp_path: Path) -> None:
    """A big file would be read whole: the broken last line must not be met before the first rows are used."""
    path = tmp_path / "a.jsonl"
    path.write_text('{"prompt":"p"}\n' * 200 + "broken\n")
    rows = iter_examples(path)
    assert [next(rows).prompt for _ in range(150)] == ["p"] * 150


def test_default_language_and_surrogates(tmp_path: Path) -> None:
    """A given tag would be overruled by the default, or half a surrogate pair would stop an encoder later."""
    path = tmp_path / "a.jsonl"
    path.write_text('{"prompt":"a\\ud83d","lang":null}\n{"prompt":"\\ud83d\\ude00","lang":"en"}\n')
    assert [(e.prompt, e.language) for e in read_examples(path, default_language="cym")] == [
        ("a\ufffd", "cy"),
        ("😀", "en"),
    ]


TEXT = st.text(max_size=30)
EXAMPLES = st.lists(
    st.builds(
        Example,
        id=st.text(min_size=1, max_size=8),
        prompt=TEXT,
        response=TEXT,
        label=TEXT,
        source=TEXT,
        language=st.sampled_from(["cy", "zh-Hans", "und"]),
        context=st.lists(st.builds(Message, st.sampled_from(["user", "system"]), TEXT), max_size=2).map(tuple),
    ),
    max_size=5,
    unique_by=lambda e: e.id,
)


@settings(max_examples=60, deadline=None)
@given(examples=EXAMPLES, packed=st.booleans())
def test_round_trip(examples: list[Example], packed: bool, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Any text (line separators, control characters, NUL, emoji) would come back changed."""
    path = tmp_path_factory.mktemp("rows") / ("a.jsonl.gz" if packed else "a.jsonl")
    assert write_jsonl(path, examples) == len(examples)
    assert read_jsonl(path) == examples
    if examples:
        assert read_examples(path) == [replace(e, source=e.source or path.name) for e in examples]


def test_write_is_all_or_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk would leave half a file behind that the next stage takes for whole, or a bare OSError."""
    path = tmp_path / "a.jsonl"
    write_jsonl(path, [Example(id="1", prompt="lone \ud83d")])
    before = path.read_bytes()

    def full(*args: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match=r"No space left on device: .*a\.jsonl"):
        write_jsonl(path, [Example(id="2", prompt="q")])
    with pytest.raises(DataError, match=r"Cannot write .*: Is a directory after 0 rows"):
        write_jsonl(tmp_path, [])
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_own_format_says_what_is_missing(tmp_path: Path) -> None:
    """A hand-edited run folder would fail with a KeyError."""
    with pytest.raises(DataError, match=r"line 1: no 'id'; found prompt"):
        read_jsonl(lines(tmp_path / "a.jsonl", {"prompt": "p"}))
    with pytest.raises(DataError, match=r"line 1: `context`"):
        read_jsonl(lines(tmp_path / "b.jsonl", {"id": "1", "prompt": "p", "context": ["x"]}))


def test_an_empty_choice_between_others_is_refused(tmp_path: Path) -> None:
    """Letters would move up by one, and the row would teach a wrong answer."""
    row = {"question": "p", "option_a": "x", "option_b": "", "option_c": "y", "option_d": "", "answer": "C"}
    with pytest.raises(DataError, match="choice B is empty"):
        read_examples(lines(tmp_path / "a.jsonl", row))
    (found,) = read_examples(lines(tmp_path / "b.jsonl", {**row, "option_b": "w"}))
    assert found.response == "C. y"


def test_rows_share_their_tags(tmp_path: Path) -> None:
    """A million rows of few languages and sources would each hold strings of their own, 200 MB together."""
    path = tmp_path / "rows.jsonl"
    path.write_text(
        "".join(
            json.dumps({"id": str(i), "prompt": f"p{i}", "response": "r", "language": "cy", "source": "s one"}) + "\n"
            for i in range(2)
        ),
        encoding="utf-8",
    )
    for first, second in (read_examples(path), read_jsonl(path)):
        assert first.language is second.language
        assert first.source is second.source


def test_broken_json_is_told_in_one_sentence() -> None:
    """Python's own words for it may end in "at" already."""
    for text in ('{"prompt": "cut', '{"prompt": "a\nb"}', "{"):
        with pytest.raises(ValueError, match=r"^broken JSON \((?!.* at at).* at (line \d, )?column \d+\)$"):
            parse_json(text)


@pytest.mark.parametrize(
    "content",
    [
        "sep=;\nprompt;response\ndŵr;ie\n",
        "\n\nprompt,response\ndŵr,ie\n",
        "prompt,response,,\ndŵr,ie,,\n",
    ],
    ids=["a line that names the delimiter", "empty lines first", "empty columns at the end"],
)
def test_what_spreadsheets_write_around_a_table(content: str, tmp_path: Path) -> None:
    """A table that was saved once in a spreadsheet would be refused with a riddle."""
    path = tmp_path / "a.csv"
    path.write_text(content, encoding="utf-8")
    (row,) = read_examples(path)
    assert (row.prompt, row.response) == ("dŵr", "ie")


def test_a_mapping_the_other_way_round_is_told(tmp_path: Path) -> None:
    """`theirs=ours` is the order that many tools take."""
    path = tmp_path / "a.csv"
    path.write_text("Cwestiwn,Ateb\na,b\n", encoding="utf-8")
    with pytest.raises(DataError, match="If it is your column, write prompt=Cwestiwn"):
        read_examples(path, columns={"Cwestiwn": "prompt"})
