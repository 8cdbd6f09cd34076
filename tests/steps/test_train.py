"""What is told of a training: whether its rows were learned."""

from __future__ import annotations

import json
import logging
import math
from pathlib import Path
from typing import Any

import pytest

from compass.config import AUTO, TrainingConfig
from compass.data.example import Example
from compass.runs import layout
from compass.runs.folder import Run
from compass.steps.train import response_loss, settled, training_identity, write_training
from compass.training.trainer import TrainingResult


def result(*log: dict[str, Any], response_tokens: float = 10.0) -> TrainingResult:
    """A training with this log."""
    return TrainingResult(Path("adapter"), 4, 100, 1.0, 7, 0, log, response_tokens=response_tokens)


def entry(epoch: float, loss: float, **more: float) -> dict[str, Any]:
    """A line of the trainer's log."""
    return {"step": int(8 * epoch), "epoch": epoch, "loss": loss, **more}


def test_the_loss_of_a_response_is_that_of_its_tokens_in_the_last_epoch() -> None:
    """The first epoch sees rows that are new: its loss says nothing of what was learned."""
    last = [entry(1.5, 0.3), entry(2.0, 0.1), {"step": 16, "epoch": 2.0, "train_loss": 4.0}]
    assert response_loss(result(entry(0.5, 9.0), entry(1.0, 7.0), *last)) == pytest.approx(10 * 0.2)
    # A training that ends within an epoch: all steps of the last 1.0 epochs count.
    assert response_loss(result(entry(0.25, 9.0), entry(0.5, 7.0), entry(1.4, 0.4))) == pytest.approx(
        10 * (7 + 0.4) / 2
    )


def test_the_terms_of_an_update_are_not_the_loss_of_its_rows() -> None:
    assert response_loss(result(entry(1.0, 5.0, task_loss=0.05, replay=4.95))) == pytest.approx(0.5)


@pytest.mark.parametrize("log", [(), ({"step": 3, "epoch": 1.0, "train_loss": 2.0},), (entry(1.0, math.nan),)])
def test_a_training_that_logged_nothing_says_nothing(tmp_path: Path, log: tuple[dict[str, Any], ...]) -> None:
    """A number that nobody measured would be taken for one."""
    assert math.isnan(response_loss(result(*log)))
    assert "response_loss" not in write_training(Run(tmp_path), result(*log), 5)


@pytest.mark.parametrize(("loss", "learned"), [(0.348, False), (0.035, True)])
def test_rows_that_are_not_learned_are_told_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, loss: float, learned: bool
) -> None:
    caplog.set_level(logging.INFO)
    write_training(Run(tmp_path), result(entry(2.0, loss)), 5)
    stored = json.loads((tmp_path / layout.TRAINING_RESULT).read_text("utf-8"))
    assert stored["response_loss"] == round(10 * loss, 3)
    told = "in the last epoch the loss of a response was 3.5 nats (learned: below 1)" in caplog.text
    assert told is not learned


@pytest.mark.parametrize(
    ("response", "epochs"),
    [
        ('{"intent":"TurnOn","slots":{"name":"%d"}}', AUTO),
        ("yes %d", AUTO),
        ("a long answer in words, number %d of many that do not recur", 2.0),
    ],
)
def test_free_text_takes_no_third_epoch(response: str, epochs: float) -> None:
    """A whole response of free text always costs many nats, and more epochs raise its held-out loss."""
    rows = [Example(id=str(i), prompt="p", response=response % i) for i in range(30)]
    assert settled(TrainingConfig(), rows).num_train_epochs == epochs
    assert settled(TrainingConfig(num_train_epochs=5.0), rows).num_train_epochs == 5.0


def test_a_number_of_steps_is_the_same_training_as_when_two_epochs_were_the_default() -> None:
    """All finished cells of a comparison would train again."""
    steps = {"max_steps": 54}
    assert training_identity(TrainingConfig(**steps)) == training_identity(
        TrainingConfig(num_train_epochs=2.0, **steps)
    )
    assert training_identity(TrainingConfig()) != training_identity(TrainingConfig(num_train_epochs=2.0))
