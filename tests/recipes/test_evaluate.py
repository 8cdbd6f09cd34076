"""Evaluation of given files."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from compass import training
from compass.config import AdaptConfig, RunConfig, TrainingConfig
from compass.data.example import Example
from compass.errors import DataError, ModelError
from compass.evaluation.metrics import FloatArray64
from compass.recipes.evaluate import evaluate_on
from tiny_model import make_tiny_model


def test_two_files_of_one_name_are_refused(tmp_path: Path) -> None:
    """The first one's results would be lost under the second's name; nothing is loaded before."""
    sources = []
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        path = tmp_path / folder / "test.jsonl"
        path.write_text(json.dumps({"prompt": "helo", "response": "x", "language": "cy"}) + "\n")
        sources.append(str(path))
    with pytest.raises(DataError, match=r"Two test sets are named 'test'. Rename the file .*b/test.jsonl"):
        evaluate_on(AdaptConfig(), sources)


def test_evaluations_do_not_touch_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Report, gate and registry read a run's own `eval`: ten other rows would stand there as its test."""

    class Model:
        def __init__(self, *_: object, **__: object) -> None: ...

        def generate(self, examples: Sequence[Example], **_: object) -> list[str]:
            return ["x"] * len(examples)

        def loss(self, examples: Sequence[Example]) -> tuple[FloatArray64, FloatArray64]:
            return np.ones(len(examples)), np.ones(len(examples))

    monkeypatch.setattr(training, "LanguageModel", Model)
    model = make_tiny_model(tmp_path / "model")
    (tmp_path / "eval").mkdir()
    source = tmp_path / "cy.jsonl"
    source.write_text("".join(json.dumps({"prompt": f"helo {i}", "response": "x"}) + "\n" for i in range(3)))
    config = AdaptConfig(
        run=RunConfig(output_dir=str(tmp_path)), training=TrainingConfig(model_name_or_path=str(model))
    )
    folder, metrics, differences = evaluate_on(config, [str(source)])
    assert folder == tmp_path / "evaluations"
    assert metrics["cy"]["base"].metrics["exact_match"].value == 1.0
    assert differences == []
    assert [path.name for path in (folder / "base").glob("*.json")] == ["cy.json"]
    assert not list((tmp_path / "eval").iterdir())

    # Another evaluation in this folder, of one language of a file and of no adapter.
    (folder / "adapter").mkdir()
    (folder / "adapter" / "cy.json").write_text("{}")
    (folder / "differences.json").write_text("[]")
    mixed = tmp_path / "exams-sw.jsonl"
    rows = [{"prompt": f"p{i}", "response": "x", "language": tag} for i, tag in enumerate(["de", "swa", "", "sw-KE"])]
    mixed.write_text("".join(json.dumps(row) + "\n" for row in rows))
    _, metrics, _ = evaluate_on(config, [str(tmp_path / "exams-{language}.jsonl")], language="SW")
    assert {path.name for path in folder.rglob("*.json")} == {"exams-sw.json"}
    stored = json.loads((folder / "base" / "exams-sw.json").read_text("utf-8"))
    assert (stored["language"], stored["rows"]) == ("sw", 3)
    german = tmp_path / "german.jsonl"
    german.write_text(json.dumps(rows[0]) + "\n")
    with pytest.raises(DataError, match="has no row in el"):
        evaluate_on(config, [str(german)], language="el")


def test_an_adapter_that_does_not_fit_is_told_before_the_base_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hours with a large model, and then no result."""
    monkeypatch.setattr(training, "LanguageModel", lambda *_, **__: pytest.fail("the base model was loaded"))
    source = tmp_path / "cy.jsonl"
    source.write_text(json.dumps({"prompt": "helo", "response": "x"}) + "\n")
    config = AdaptConfig(
        run=RunConfig(output_dir=str(tmp_path)),
        training=TrainingConfig(model_name_or_path=str(make_tiny_model(tmp_path / "m")), adapter=str(tmp_path / "no")),
    )
    with pytest.raises(ModelError, match="no is not an adapter folder"):
        evaluate_on(config, [str(source)])
