"""Tests of what the tokenizer makes of the rows, before anything is embedded."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from compass.config import AdaptConfig, load_options
from compass.data.example import Example, Message
from compass.errors import DataError
from compass.recipes.train import train_on
from compass.runs import layout
from compass.runs.files import write_json
from compass.runs.folder import Run
from compass.steps.lengths import check_rows, keep_fitting, keep_measured
from compass.steps.plan import plan
from compass.steps.read import read_data
from compass.steps.resources import Resources
from tiny_model import make_tiny_model

REFUSES = (
    "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no system turns here') }}{% endif %}"
    "{{ m.role }}: {{ m.content }}</s>{% endfor %}{% if add_generation_prompt %}assistant: {% endif %}"
)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("model"))


def _options(folder: Path, model: Path, *, system: bool = False) -> AdaptConfig:
    """Write a small source of each kind, two rows of the pool and one of the training data too long for 64 bytes."""

    def write(name: str, rows: list[dict[str, Any]]) -> str:
        path = folder / f"{name}.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        return str(path)

    def rows(kind: str, n: int, long: int) -> list[dict[str, Any]]:
        texts = [f"{kind} {i} " * (12 if i < long else 1) for i in range(n)]
        return [{"prompt": text, "response": f"ateb {i}", "language": "cy"} for i, text in enumerate(texts)]

    pool = rows("pwll", 12, 2)
    if system:
        pool.append({"system": "be brief", "prompt": "beth yw hwn", "response": "dim", "language": "cy"})
    overrides = {
        "language": "cy", "usage": write("usage", rows("cwestiwn", 24, 0)),
        "current": write("current", rows("hen", 4, 1)), "pool": [write("pool", pool)], "max_length": 64,
        "identify_languages": False, "near_duplicates": 1.0,
        "model_name_or_path": str(model), "output_dir": str(folder / "run"), "budget": 4,
        "cache_dir": str(folder / "cache"),
    }  # fmt: skip
    return load_options(AdaptConfig, None, overrides)


def test_rows_that_are_too_long_are_left_out_counted_and_kept_in_a_file(
    tmp_path: Path, model: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Cut, they would teach an answer to another question, and never to stop."""
    config = _options(tmp_path, model)
    run, resources = Run(tmp_path / "run"), Resources(config)
    data = read_data(run, resources.config.data, seed=0)
    kept = keep_fitting(run, resources, data)
    assert kept.pool == data.pool[2:]
    assert kept.train == data.train[1:]
    assert (kept.usage, kept.tests) == (data.usage, data.tests)
    assert "2 of 12 rows of the pool are longer than max_length, 64 tokens, and are left out" in caplog.text
    stored = json.loads((run.folder / layout.LENGTHS).read_text("utf-8"))
    assert stored["sets"]["pool"] == {"rows": 12, "places": [0, 1], "ids": [row.id for row in data.pool[:2]]}
    caplog.clear()
    assert keep_fitting(run, Resources(config), data) == kept
    assert keep_measured(run, data) == kept, "compass select, which asks no model, sees the same rows"
    assert not caplog.text, "measured once"
    write_json(run.folder / layout.LENGTHS, {"sets": {"pool": 3}})
    assert keep_fitting(run, Resources(config), data) == kept


def test_rows_that_are_too_long_are_in_the_list_of_all_that_are_left_out(tmp_path: Path, model: Path) -> None:
    """Who looks there for a row that is missing would not find it, and each command would read the data again."""
    config = _options(tmp_path, model)
    run = Run(tmp_path / "run")
    file = run.folder / layout.DROPPED

    def listed() -> list[tuple[str, str, str]]:
        found = [json.loads(line) for line in file.read_text("utf-8").splitlines()]
        assert not any(text in json.dumps(found) for text in ("pwll", "hen 0", "ateb")), "no texts"
        return [(row["set"], row["reason"], row["place"].rpartition("/")[2]) for row in found]

    data = read_data(run, Resources(config).config.data, seed=0)
    before = listed()
    keep_fitting(run, Resources(config), data)
    why = "longer than max_length"
    long = [("train", why, "current.jsonl, line 1"), *(("pool", why, f"pool.jsonl, line {i}") for i in (1, 2))]
    assert listed() == [*before, *long]
    record = (run.folder / layout.stage_record("data")).read_bytes()
    again = read_data(run, Resources(config).config.data, seed=0)
    assert (run.folder / layout.stage_record("data")).read_bytes() == record, "the data was read again"
    keep_fitting(run, Resources(config), again)
    assert listed() == [*before, *long], "the places in the sources, though the rows come from the folder now"
    file.write_text(earlier := file.read_text("utf-8").replace('"train"', '"current"'), "utf-8")
    keep_fitting(run, Resources(config), again)
    assert file.read_text("utf-8") == earlier, "the list of an earlier version says the same"
    run.forget("data")
    keep_fitting(run, Resources(config), read_data(run, Resources(config).config.data, seed=0))
    assert listed() == [*before, *long], "what reading again has written anew"
    longer = Resources(replace(config, training=replace(config.training, max_length=4096)))
    keep_fitting(run, longer, read_data(run, longer.config.data, seed=0))
    assert listed() == before, "rows that fit now"


def test_training_by_itself_names_the_rows_that_it_leaves_out(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`compass train` would leave counts in the log alone."""

    def stop(*arguments: Any, **options: Any) -> Any:
        raise InterruptedError

    monkeypatch.setattr("compass.training.soup.train_averaged", stop)
    config = _options(tmp_path, model)
    rows = [{"prompt": "a", "response": "b"}, {"prompt": "a " * 60, "response": "b"}, {"prompt": 5, "response": "b"}]
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in [*rows, {"prompt": "c", "response": ""}]), "utf-8")
    with pytest.raises(InterruptedError):
        train_on(config, [str(file)])
    found = [json.loads(line) for line in (tmp_path / "run" / layout.DROPPED).read_text("utf-8").splitlines()]
    assert [(row["reason"], row["place"].rpartition(", ")[2]) for row in found] == [
        ("a field of another type", "line 3"), ("no response", "line 4"), ("longer than max_length", "line 2"),
    ]  # fmt: skip


def test_a_plan_counts_rows_that_are_too_long(tmp_path: Path, model: Path) -> None:
    assert "64 tokens (max_length): 1 of the training data, 2 of the pool" in plan(_options(tmp_path, model))[0].what


def test_turns_that_the_template_refuses_are_counted_in_the_plan_and_before_anything_is_embedded(
    tmp_path: Path,
) -> None:
    model = make_tiny_model(tmp_path / "model", chat_template=REFUSES)
    config = _options(tmp_path, model, system=True)
    told = r"1 of 13 rows of the pool can't be put to the model\. .*\(system, user\): no system turns here.*pool\.jsonl"
    with pytest.raises(DataError, match=told):
        plan(config)
    run, resources = Run(tmp_path / "run"), Resources(config)
    data = read_data(run, resources.config.data, seed=0)
    with pytest.raises(DataError, match=told):
        keep_fitting(run, resources, data)
    assert not (tmp_path / "cache").exists()


def test_all_rows_are_counted_not_the_first_alone(model: Path, tmp_path: Path) -> None:
    from compass.training import load_tokenizer, resolve_model

    folder = make_tiny_model(tmp_path / "model", chat_template=REFUSES)
    tokenizer = load_tokenizer(resolve_model(str(folder), cache_dir=tmp_path))
    rows = [Example(str(i), "a", "b", context=(Message("system", "c"),) * (i % 2)) for i in range(7)]
    with pytest.raises(DataError, match="3 of 7 rows of test cy"):
        check_rows(tokenizer, "test cy", rows)
