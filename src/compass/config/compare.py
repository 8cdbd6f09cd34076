"""The options of `compass compare`: those of `compass adapt` for each cell, and the grid."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from compass.config.adapt import LARGEST_SEED, AdaptConfig, SelectionConfig
from compass.config.checking import Conflict
from compass.config.knobs import AUTO, knob
from compass.config.strategy import strategy_texts


def _numbers(budgets: Any) -> Any:
    if "auto" in (budgets if isinstance(budgets, (list, tuple)) else [budgets]):
        raise ValueError(
            "a comparison gives all cells of a budget the same amount, and auto would find another number for each "
            "draw; use the one that compass select --budget auto finds"
        )
    return budgets


@dataclass(frozen=True)
class GridConfig:
    """The cells of a comparison: every strategy with every budget, language and seed."""

    strategies: tuple[str, ...] = knob(
        ("compass", "random", "nearest", "target-only"),
        "Strategies to compare; the first is tested against each of the others.",
        basic=True,
        required=True,
        parse=strategy_texts,
    )
    budgets: tuple[int, ...] = knob(
        (240,), "Budgets, in the unit of budget_unit.", basic=True, low=1, required=True, parse=_numbers
    )
    languages: tuple[str, ...] = knob((), "Target languages; empty: the one of `language`.", basic=True)
    seeds: tuple[int, ...] = knob(
        (0, 1, 2),
        "Seeds; each one draws the data, selects and trains again.",
        basic=True,
        low=0,
        high=LARGEST_SEED,
        required=True,
    )
    equal_steps: bool = knob(
        True, "Use the same number of optimiser steps for all cells of a language, seed and budget."
    )
    workers: int = knob(0, "Cells to run in parallel; 0 = one per GPU, or one per four cores.", basic=True, low=0)

    def conflicts(self) -> Iterator[Conflict]:
        """Yield what is wrong together."""
        for name in ("strategies", "budgets", "seeds"):
            values = getattr(self, name)
            if len(set(values)) < len(values):
                yield (name,), f"{name} must not repeat a value; got {', '.join(map(str, values))}"


@dataclass(frozen=True)
class CompareConfig:
    """All options of `compass compare`."""

    adapt: AdaptConfig = field(default_factory=AdaptConfig)
    grid: GridConfig = field(default_factory=GridConfig)

    def advice(self) -> Iterator[str]:
        """Yield what may surprise: a comparison has budgets of its own."""
        selection = self.adapt.selection
        yield from replace(self.adapt, selection=replace(selection, budget=min(self.grid.budgets))).advice()
        plain = SelectionConfig()
        for name, names in (("strategy", "strategies"), ("budget", "budgets")):
            value, used = getattr(selection, name), getattr(self.grid, names)
            # One file may serve `compass adapt` too, with one of the grid's.
            if value not in (getattr(plain, name), *used):
                value = "auto" if value == AUTO else value
                yield f"{name}: {value} is ignored; the comparison uses {names}: {', '.join(map(str, used))}"
