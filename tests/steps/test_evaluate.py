"""What makes an evaluation another one."""

from __future__ import annotations

from dataclasses import replace

from compass.config import AdaptConfig, TrainingConfig
from compass.steps.evaluate import precision


def test_another_arithmetic_is_another_evaluation() -> None:
    """The base model's answers in one precision would be compared with the adapter's in another."""
    plain = AdaptConfig()
    changed = [TrainingConfig(dtype="bfloat16"), TrainingConfig(dtype="float32"), TrainingConfig(load_in_4bit=True)]
    found = [precision(replace(plain, training=training)) for training in changed]
    assert found == [{"dtype": "bfloat16"}, {"dtype": "float32"}, {"load_in_4bit": True}]
    assert precision(plain) == {}, "finished runs of before stay finished"
