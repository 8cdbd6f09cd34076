"""Strategies by name."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping

from compass.errors import ConfigError
from compass.selection.compass import Compass
from compass.selection.compass_paper import CompassPaper
from compass.selection.fixed import AllRows, TargetOnly
from compass.selection.nearest import Nearest
from compass.selection.protocol import Strategy
from compass.selection.random_draw import RandomDraw

STRATEGIES: Mapping[str, Callable[[], Strategy]] = {
    "compass": Compass,
    "compass-paper": CompassPaper,
    "nearest": Nearest,
    "random": RandomDraw,
    "all": AllRows,
    "target-only": TargetOnly,
}


def strategy_names() -> tuple[str, ...]:
    """Return the names that `get_strategy` knows, the default first."""
    return tuple(STRATEGIES)


def get_strategy(name: str) -> Strategy:
    """Return a strategy by name. Raises ConfigError for an unknown name, with the nearest one that there is."""
    if name not in STRATEGIES:
        near = difflib.get_close_matches(name, STRATEGIES, n=1, cutoff=0.4)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise ConfigError(f"strategy: {name!r} is unknown.{hint} Strategies: {', '.join(STRATEGIES)}.")
    return STRATEGIES[name]()
