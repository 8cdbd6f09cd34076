"""Training, updates and evaluation give what they gave in version 0.1: a change here changes users' adapters."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from frozen.near import differ
from frozen.training_cases import VALUES, metrics_of, scored, trainings

NAMES = ("plain", "averaged", "tail", "replay", "ewc", "merge", "fisher")
OF_AN_INTERVAL = re.compile(r"/(before|after)/metrics/\w+/[12]: ")
GONE = {"ecda-slow"}
"""Stored values of an option that is no more, ema_decay."""


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], dict[str, Any]]:
    return trainings(tmp_path_factory.mktemp("trained"))


@pytest.fixture(scope="module")
def stored() -> dict[str, Any]:
    return json.loads((VALUES / "training.json").read_text("utf-8"))


@pytest.mark.parametrize("name", NAMES)
def test_the_weights_are_those_of_version_0_1(found: tuple[dict[str, Any], dict[str, Any]], name: str) -> None:
    """Breaks if the same rows, options and seed train another adapter: a run repeated from its lock would differ."""
    import torch
    from safetensors.torch import load_file

    def own(tensors: dict[str, Any]) -> dict[str, Any]:
        return {weight: value for weight, value in tensors.items() if weight.startswith(f"{name}/")}

    now, then = own(found[0]), own(load_file(VALUES / "training.safetensors"))
    assert then
    assert now.keys() == then.keys()
    for weight, value in then.items():
        torch.testing.assert_close(now[weight], value, atol=1e-5, rtol=0, msg=lambda text, weight=weight: weight + text)


def test_the_stored_weights_tell_the_ways_to_train_apart() -> None:
    """Were two of them equal, an option that no longer reaches the trainer would pass."""
    from safetensors.torch import load_file

    then = load_file(VALUES / "training.safetensors")
    assert {name.partition("/")[0] for name in then} == {*NAMES, *GONE}
    weight = next(name for name in then if name.startswith("plain/") and "lora_B" in name).partition("/")[2]
    # The average of two trainings has another rank, so it differs from the others as it is.
    alike = [name for name in NAMES if name not in ("averaged", "fisher")]
    for i, one in enumerate(alike):
        for two in alike[i + 1 :]:
            assert (then[f"{one}/{weight}"] - then[f"{two}/{weight}"]).abs().max() > 1e-4, (one, two)


def test_the_answers_and_metrics_of_an_adapter_are_those_of_version_0_1(
    found: tuple[dict[str, Any], dict[str, Any]], stored: dict[str, Any]
) -> None:
    """Breaks if decoding, the loss of a row, or a metric's value or interval changes. Near, as weights are."""
    assert differ(found[1], stored["trained"], relative=1e-4, absolute=1e-4) == []


def test_scores_of_given_answers_are_those_of_version_0_1(stored: dict[str, Any]) -> None:
    """Breaks if a right or wrong answer, a function call among them, is scored otherwise."""
    assert [found for found in differ(scored(), stored["scored"]) if not OF_AN_INTERVAL.match(found)] == []


def test_intervals_of_scores_are_kept(stored: dict[str, Any]) -> None:
    """Five of the prompts come twice. Since 0.2 such rows are resampled together, as they were for differences."""
    assert differ(metrics_of(scored()), stored["intervals"]) == []
