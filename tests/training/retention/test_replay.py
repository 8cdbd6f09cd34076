"""Tests of anchored replay: which anchors a step sees, and what they add to the loss."""

from __future__ import annotations

import dataclasses
from collections import Counter
from pathlib import Path

import pytest

from compass.config import TrainingConfig
from compass.data.example import Example
from compass.errors import DataError
from compass.training.formatting import Encoded
from compass.training.generation import LanguageModel
from compass.training.models import BaseModel
from compass.training.retention.replay import Replay
from compass.training.trainer import Retention, train

CONFIG = TrainingConfig(
    max_steps=1, per_device_train_batch_size=24, learning_rate=5e-3, lora_r=4, save_steps=50, logging_steps=1
)
OLD = [Example(id=f"o{i}", prompt=f"alt {i}", response=f"antwort {i}" * (1 + i % 3)) for i in range(10)]


def replay(n: int, size: int, seed: int = 0) -> Replay:
    return Replay([Encoded((1,), (i, 2)) for i in range(n)], batch_size=size, pad_id=0, seed=seed)


@pytest.mark.parametrize(("n", "size"), [(10, 4), (3, 4), (7, 7), (1, 1)])
def test_every_anchor_is_seen_once_before_any_returns(n: int, size: int) -> None:
    """A batch that is drawn from its number alone is drawn again after a resume."""
    term = replay(n, size)
    seen = [i for batch in range(n * 2) for i in term.rows(batch)]
    for start in range(0, len(seen) - n + 1, n):
        assert Counter(seen[start : start + n]) == Counter(range(n))
    assert replay(n, size).rows(5) == term.rows(5)


def test_another_seed_gives_another_order() -> None:
    assert [replay(50, 5, 0).rows(i) for i in range(10)] != [replay(50, 5, 1).rows(i) for i in range(10)]
    with pytest.raises(DataError, match="Replay needs anchors"):
        replay(0, 1)


@pytest.mark.parametrize("steps", [1, 2])
def test_it_is_the_mean_loss_of_the_anchors_response_tokens(
    tiny: BaseModel, examples: list[Example], tmp_path: Path, steps: int
) -> None:
    """The first step's log must hold the base model's own losses: on new rows, on the anchors, and their weighted sum.

    With one micro-batch of all anchors the mean is over all their tokens; two micro-batches of five average two means.
    """
    config = dataclasses.replace(CONFIG, per_device_train_batch_size=24 // steps, gradient_accumulation_steps=steps)
    retention = Retention(anchors=OLD, replay_weight=0.25, replay_batch_size=10 // steps)
    entry = train(examples, base=tiny, config=config, output_dir=tmp_path, seed=3, retention=retention).log[0]
    model = LanguageModel(tiny)
    nats, n_bytes = model.loss(examples)
    task = nats.sum() / (n_bytes.sum() + len(examples))
    old_nats, old_bytes = model.loss(OLD)
    term = Replay([Encoded((1,), (1,))] * 10, batch_size=10 // steps, pad_id=0, seed=3)
    batches = [term.rows(i) for i in range(steps)]
    assert sorted(i for batch in batches for i in batch) == list(range(10))
    replayed = sum(old_nats[b].sum() / (old_bytes[b].sum() + len(b)) for b in batches) / steps
    assert entry["replay_loss"] == pytest.approx(replayed, rel=1e-4)
    assert entry["task_loss"] == pytest.approx(task, rel=1e-4)
    assert entry["loss"] == pytest.approx(task + 0.25 * replayed, rel=1e-4)


def test_replay_keeps_what_naive_training_forgets(tiny: BaseModel, examples: list[Example], tmp_path: Path) -> None:
    """After an update on other rows, the loss on the anchors must be lower with replay, at nearly the same new loss."""
    config = dataclasses.replace(CONFIG, max_steps=60, per_device_train_batch_size=8, learning_rate=1e-2, lora_alpha=16)
    first = train(OLD, base=tiny, config=config, output_dir=tmp_path / "first", seed=0).adapter
    config = dataclasses.replace(config, adapter=str(first))
    old, new = {}, {}
    for name, retention in {"naive": None, "replay": Retention(anchors=OLD, replay_weight=0.3)}.items():
        adapter = train(
            examples, base=tiny, config=config, output_dir=tmp_path / name, seed=0, retention=retention
        ).adapter
        model = LanguageModel(tiny, adapter)
        old[name], new[name] = model.loss(OLD)[0].mean(), model.loss(examples)[0].mean()
    before = LanguageModel(tiny, first).loss(OLD)[0].mean()
    assert old["naive"] - before > 2 * max(old["replay"] - before, 0), (before, old, new)
    assert new["replay"] < new["naive"] * 1.1
