"""Paired comparisons of strategies that lack some trainings."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from compass.config import CompareConfig
from compass.steps.comparison import paired_comparisons, partial_comparisons


def test_comparisons_with_two_references_are_told_apart_in_holms_correction() -> None:
    """Where the first strategy lacks a language, p-values of the next one would be lost, and the others too small."""
    rng = np.random.default_rng(0)
    right = {"A": ("cy de", 0.5), "B": ("cy de fr", 0.35), "C": ("cy de fr", 0.38)}
    rows: list[dict[str, Any]] = [
        {"language": language, "seed": seed, "budget": 100, "strategy": strategy, "id": f"{i}",
         "item": f"{language}{seed}{i}", "exact": float(exact), "intent": float(exact), "loss": 1.0 - 0.2 * exact}
        for strategy, (languages, p) in right.items()
        for language in languages.split()
        for seed in (0, 1)
        for i, exact in enumerate(rng.random(40) < p)
    ]  # fmt: skip
    config = CompareConfig()
    grid = dataclasses.replace(config.grid, strategies=("A", "B", "C"), budgets=(100,))
    config = dataclasses.replace(config, grid=grid)
    whole = paired_comparisons(config, rows, draws=200)
    found = partial_comparisons(config, rows, whole, draws=200)
    every = [c for c in (*whole, *found) if (c.language, c.metric) == ("", "exact")]
    assert {(c.strategy, c.against) for c in every} == {("B", "C"), ("A", "B"), ("A", "C")}
    least = min(every, key=lambda c: c.p_value)
    assert least in found
    assert least.p_holm == pytest.approx(3 * least.p_value)
