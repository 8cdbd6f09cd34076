"""What makes an evaluation another one, and what a finished one still lacks."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from compass.config import AdaptConfig, DataConfig, EvaluationConfig, TrainingConfig, recorded
from compass.data.example import Example
from compass.evaluation.evaluate import assemble
from compass.evaluation.files import draws_behind, write_evaluation
from compass.runs import layout
from compass.runs.files import file_hash, fingerprint
from compass.runs.folder import Run
from compass.steps import evaluate as step
from compass.steps.evaluate import evaluate_one, measure_fertility, precision
from compass.steps.state import RunData


def test_another_arithmetic_is_another_evaluation() -> None:
    """The base model's answers in one precision would be compared with the adapter's in another."""
    plain = AdaptConfig()
    changed = [TrainingConfig(dtype="bfloat16"), TrainingConfig(dtype="float32"), TrainingConfig(load_in_4bit=True)]
    found = [precision(replace(plain, training=training)) for training in changed]
    assert found == [{"dtype": "bfloat16"}, {"dtype": "float32"}, {"load_in_4bit": True}]
    assert precision(plain) == {}, "finished runs of before stay finished"


def test_a_finished_evaluation_gets_new_metrics_without_its_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder of before would be measured again, or its report would lack what its differences have."""
    config = AdaptConfig(data=DataConfig(language="de"), evaluation=EvaluationConfig())
    rows = tuple(Example(f"r{i}", f"p{i}", f"tar xf path/to/file_{i}.tar", "de") for i in range(3))
    resources: Any = SimpleNamespace(config=config, base=SimpleNamespace(name="m", revision="1"))
    placed: Any = SimpleNamespace(data=RunData(usage=(), train=(), pool=(), tests={"de": rows}))
    run = Run(tmp_path)
    run.path(layout.SPACE_WEIGHTS).write_bytes(b"space")
    asked = []

    def measure(resources: Any, adapter: Any, placed: Any, output: Path, answers: Any) -> Any:
        asked.append(output)
        done = assemble(rows, ["tar xf"] * 3, np.ones(3), np.ones(3), name="de", language="de",
                        config=config.evaluation, seed=0)  # fmt: skip
        path = write_evaluation(done, output)
        summary = done.to_dict()
        summary["metrics"] = {name: summary["metrics"][name] for name in ("exact_match", "loss_per_byte")}
        path.write_text(json.dumps(summary), "utf-8")
        return {"de": done}

    monkeypatch.setattr(step, "_evaluate_all", measure)
    for _ in range(3):
        found = evaluate_one(run, resources, "base", None, placed)
        assert "chrf" in found["de"].metrics
    summary = json.loads((tmp_path / layout.BASE_EVALUATION / "de.json").read_text("utf-8"))
    assert list(summary["metrics"]) == list(found["de"].metrics)
    assert len(asked) == 1


def test_intervals_of_other_draws_stay(tmp_path: Path) -> None:
    """The draws were an option once: what a run measured with others would be measured again, or lose its intervals."""
    config = AdaptConfig(data=DataConfig(language="de"), evaluation=EvaluationConfig())
    rows = (Example("r", "p", "yes", "de"),)
    resources: Any = SimpleNamespace(config=config, base=SimpleNamespace(name="m", revision="1"))
    placed: Any = SimpleNamespace(data=RunData(usage=(), train=(), pool=(), tests={"de": rows}))
    run = Run(tmp_path)
    run.path(layout.SPACE_WEIGHTS).write_bytes(b"space")
    output = tmp_path / layout.BASE_EVALUATION
    done = assemble(rows, ["yes"], np.ones(1), np.ones(1), name="de", language="de", config=config.evaluation, seed=0,
                    draws=100)  # fmt: skip
    inputs = {
        "evaluation": recorded(config.evaluation) | {"bootstrap_draws": 100}, "seed": 0, "model": ["m", "1"],
        "adapter": "", "space": file_hash(run.path(layout.SPACE_WEIGHTS)),
        "tests": fingerprint({"de": [row.to_dict() for row in rows]}),
    }  # fmt: skip
    with run.stage("evaluation-base", inputs, [output]):
        write_evaluation(done, output)
    for _ in range(2):
        assert evaluate_one(run, resources, "base", None, placed)["de"].bootstrap_draws == 100
    assert draws_behind(output) == 100
    assert draws_behind(tmp_path / "none") == 2000


def test_fertility_is_measured_once_for_each_model_and_data(tmp_path: Path) -> None:
    """The same command again would load a vocabulary of 262,144, or go on with the figures of another model."""
    asked = []

    class Opened(SimpleNamespace):
        config = AdaptConfig()

        @property
        def tokenizer(self) -> Any:
            asked.append(self.base.name)
            return lambda text, add_special_tokens: {"input_ids": text.split("a")}

    run = Run(tmp_path)
    for name in (layout.USAGE, layout.TRAIN, layout.POOL):
        run.path(name).write_text(name, "utf-8")
    data = RunData(usage=(Example("1", "banana split", "", "en"),), train=(), pool=(), tests={})
    for model in ("first", "first", "second"):
        measure_fertility(run, cast(Any, Opened(base=SimpleNamespace(name=model, revision="1"))), data)
    assert asked == ["first", "second"]
    (row,) = json.loads((tmp_path / layout.FERTILITY).read_text("utf-8"))
    assert (row["language"], row["tokens_per_word"]) == ("en", 2.0)
    run.path(layout.POOL).write_text("more", "utf-8")
    measure_fertility(run, cast(Any, Opened(base=SimpleNamespace(name="second", revision="1"))), data)
    assert asked == ["first", "second", "second"]
