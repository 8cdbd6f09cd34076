"""A model is asked only for what an earlier evaluation does not hold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from compass.config import EvaluationConfig
from compass.data.example import Example, Message
from compass.evaluation import CachedAnswers, Evaluation, evaluate, write_evaluation


class Parrot:
    """Answers with the prompt, up to a line break where no reference has one, and counts what it is asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def generate(self, examples: Sequence[Example], *, max_new_tokens: int, batch_size: int) -> list[str]:
        self.asked += [row.id for row in examples]
        one_line = not any("\n" in row.response for row in examples)
        return [f"{row.prompt}\nmore".split("\n")[0] if one_line else f"{row.prompt}\nmore" for row in examples]

    def loss(self, examples: Sequence[Example]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        n_bytes = np.array([float(len(row.response)) for row in examples])
        return n_bytes / 2, n_bytes


ROWS = [Example(id=f"r{i}", prompt=f"p{i}", response=f"p{i}" * (i + 1), language="cy") for i in range(6)]


def measured(model: Parrot | CachedAnswers, rows: Sequence[Example]) -> Evaluation:
    config = EvaluationConfig(max_test_rows=100)
    return evaluate(model, rows, name="cy", language="cy", config=config, seed=0)


def never() -> Parrot:
    raise AssertionError("the model was loaded")


def test_a_model_is_not_loaded_for_what_is_known(tmp_path: Path) -> None:
    """An update would spend most of its time on answers that its parent's run holds."""
    whole = measured(Parrot(), ROWS)
    write_evaluation(whole, tmp_path)
    again = measured(CachedAnswers(tmp_path, never), ROWS[1:4])
    assert again.to_dict() == measured(Parrot(), ROWS[1:4]).to_dict()
    assert again.predictions == whole.predictions[1:4]
    assert again.nats.tolist() == whole.nats[1:4].tolist()


def test_only_unknown_rows_are_asked(tmp_path: Path) -> None:
    """New rows among old ones must get the model's own answers, each in its place."""
    write_evaluation(measured(Parrot(), ROWS[::2]), tmp_path)
    model = Parrot()
    found = measured(CachedAnswers(tmp_path, lambda: model), ROWS)
    assert model.asked == ["r1", "r3", "r5"]
    assert found.to_dict() == measured(Parrot(), ROWS).to_dict()


@pytest.mark.parametrize(
    "changed",
    [
        replace(ROWS[0], prompt="other"),
        replace(ROWS[0], response="other"),
        replace(ROWS[0], context=(Message("system", "be brief"),)),
    ],
)
def test_another_prompt_reference_or_context_is_another_row(tmp_path: Path, changed: Example) -> None:
    """A corrected test row would keep the score of the wrong one."""
    write_evaluation(measured(Parrot(), ROWS), tmp_path)
    model = Parrot()
    measured(CachedAnswers(tmp_path, lambda: model), [changed, ROWS[1]])
    assert model.asked == ["r0"]


def test_answers_of_another_decoding_are_not_taken(tmp_path: Path) -> None:
    """Decoding ends at a line break where no reference has one: the two kinds of answers are not comparable."""
    long = replace(ROWS[5], response="two\nlines")
    write_evaluation(measured(Parrot(), [*ROWS[:5], long]), tmp_path)
    model = Parrot()
    assert measured(CachedAnswers(tmp_path, lambda: model), ROWS[:3]).predictions == ("p0", "p1", "p2")
    assert model.asked == ["r0", "r1", "r2"]
    model.asked.clear()
    found = measured(CachedAnswers(tmp_path, lambda: model), [ROWS[0], long, ROWS[5]])
    assert model.asked == ["r0", "r5", "r5"], "a test with line breaks is asked as a whole"
    assert found.predictions == ("p0\nmore", "p5\nmore", "p5\nmore")


def test_a_folder_without_answers_asks_for_all(tmp_path: Path) -> None:
    """A parent without tests must not stop its update."""
    model = Parrot()
    measured(CachedAnswers(tmp_path / "none", lambda: model), ROWS)
    assert len(model.asked) == len(ROWS)
