"""Strategies by name."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Mapping
from functools import partial

from compass.errors import ConfigError
from compass.selection.protocol import Strategy
from compass.selection.strategies.compass import Compass
from compass.selection.strategies.compass_paper import CompassPaper
from compass.selection.strategies.crisp import Crisp
from compass.selection.strategies.dsir import Dsir
from compass.selection.strategies.family import Family
from compass.selection.strategies.fixed import AllRows, TargetOnly
from compass.selection.strategies.given import Given
from compass.selection.strategies.langrank import LangRank
from compass.selection.strategies.langsim import LangSim
from compass.selection.strategies.less import Less
from compass.selection.strategies.nearest import Nearest
from compass.selection.strategies.one_language import PREFIX, OneLanguage
from compass.selection.strategies.random_draw import RandomDraw
from compass.selection.strategies.rds import Rds
from compass.selection.strategies.topic_random import TopicRandom
from compass.selection.strategies.tsds import Tsds

STRATEGIES: Mapping[str, Callable[[], Strategy]] = {
    "compass": Compass,
    "compass-paper": CompassPaper,
    "nearest": Nearest,
    "crisp": Crisp,
    "tsds": Tsds,
    "rds": Rds,
    "less": Less,
    "dsir": Dsir,
    "langsim": LangSim,
    "langrank": LangRank,
    "family": Family,
    "english": partial(OneLanguage, "en", "english"),
    "random": RandomDraw,
    "topic-random": TopicRandom,
    "all": AllRows,
    "target-only": TargetOnly,
    "given": Given,
}


NEEDS = {
    "model_vectors": "the base model's hidden states",
    "gradients": "the base model's gradients",
    "typology": "urielplus",
    "transfer_results": "--transfer-results",
    "given": "--given-picks",
}
"""Fields of `Extras` that cost something or have to be given, in words for people."""


def strategy_names() -> tuple[str, ...]:
    """Return the names that `get_strategy` knows, the default first."""
    return tuple(STRATEGIES)


def describe_strategies() -> tuple[tuple[str, str, tuple[str, ...]], ...]:
    """Return name, what it picks in one sentence or two, and what it needs besides the data, for each strategy."""
    rows = []
    for name, make in STRATEGIES.items():
        strategy = make()
        picks = (inspect.getdoc(strategy) or "").split("\n\n")[0].replace("\n", " ")
        if name == "english":
            picks = f"As `{PREFIX}en`: {picks}"
        rows.append((name, picks, tuple(NEEDS[need] for need in sorted(needs_of(strategy)) if need in NEEDS)))
    return tuple(rows)


def get_strategy(name: str) -> Strategy:
    """Return a strategy by name; `only-XX` draws from the language XX alone.

    Raises ConfigError for an unknown name, with the nearest one that there is.
    """
    if name.startswith(PREFIX) and name != PREFIX:
        return OneLanguage(name.removeprefix(PREFIX))
    if name not in STRATEGIES:
        near = difflib.get_close_matches(name, STRATEGIES, n=1, cutoff=0.4)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise ConfigError(f"strategy: {name!r} is unknown.{hint} Strategies: {', '.join(STRATEGIES)}.")
    return STRATEGIES[name]()


def needs_of(strategy: Strategy) -> frozenset[str]:
    """Return the fields of `Extras` that a strategy needs; none for one that does not say."""
    needs: frozenset[str] = getattr(strategy, "needs", frozenset())
    return needs
