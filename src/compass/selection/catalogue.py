"""Strategies by name, with their parameters: `nearest:neighbours=5`."""

from __future__ import annotations

import dataclasses
import difflib
import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from functools import partial
from typing import Any, get_type_hints

from compass.errors import ConfigError
from compass.selection.caps import DEFAULT_CAPS, Caps
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

STRATEGIES: Mapping[str, Callable[..., Strategy]] = {
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
    "transfer_results": "a file of transfer results",
    "given": "a file of rows",
}
"""Fields of `Features` that cost something or have to be given, in words for people."""

KINDS = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}


@dataclass(frozen=True)
class Parameter:
    """One parameter of a strategy, for people."""

    name: str
    default: Any
    help: str

    def __str__(self) -> str:
        """Return `name=default: help`; a default that is empty is left out."""
        default = str(self.default).lower() if isinstance(self.default, bool) else self.default
        return f"{self.name}{'' if default == '' else f'={default}'}: {self.help}"


@dataclass(frozen=True)
class Description:
    """One strategy, for people."""

    name: str
    picks: str
    """What it picks, in a sentence or two."""
    needs: tuple[str, ...]
    """What it needs besides the data."""
    parameters: tuple[Parameter, ...]


def strategy_names() -> tuple[str, ...]:
    """Return the names that `get_strategy` knows, the default first."""
    return tuple(STRATEGIES)


def describe_strategies() -> tuple[Description, ...]:
    """Return what each strategy picks and needs, and its parameters."""
    found = []
    for name, make in STRATEGIES.items():
        strategy = make()
        picks = (inspect.getdoc(strategy) or "").split("\n\n")[0].replace("\n", " ")
        if name == "english":
            picks = f"As `{PREFIX}en`: {picks}"
        needs = tuple(NEEDS[need] for need in sorted(strategy.needs) if need in NEEDS)
        own = tuple(Parameter(f.name, f.default, f.metadata["help"]) for f in _parameters(strategy).values())
        found.append(Description(name, picks, needs, own))
    return tuple(found)


def get_strategy(text: str, caps: Caps = DEFAULT_CAPS) -> Strategy:
    """Return a strategy by name and parameters, `name` or `name:key=value,key=value`.

    `only-XX` draws from the language XX alone. caps: for the strategies that pick under caps. Raises ConfigError for an
    unknown name, an unknown parameter, or a value of the wrong type or outside its bounds.
    """
    name, _, rest = text.partition(":")
    if name.startswith(PREFIX) and name != PREFIX:
        strategy: Strategy = OneLanguage(name.removeprefix(PREFIX))
    elif name in STRATEGIES:
        strategy = STRATEGIES[name]()
    else:
        raise ConfigError(
            f"strategy: {name!r} is unknown.{_hint(name, STRATEGIES)} Strategies: {', '.join(STRATEGIES)}."
        )
    values: dict[str, Any] = {"caps": caps} if any(f.name == "caps" for f in fields(strategy)) else {}
    # A path may hold commas: a parameter begins at a comma before `key=`.
    for part in re.split(r",(?=\w+=)", rest) if rest else ():
        key, _, value = part.partition("=")
        values[key] = _value(strategy, key, value)
    return dataclasses.replace(strategy, **values)


def _value(strategy: Strategy, key: str, text: str) -> bool | int | float | str:
    """Read a parameter's value. Raises ConfigError."""
    known = _parameters(strategy)
    where = f"strategy: {strategy.name!r}"
    if key not in known:
        has = f"It has {', '.join(known)}" if known else "It has none"
        raise ConfigError(f"{where} has no parameter {key!r}.{_hint(key, known)} {has}.")
    kind, bounds = get_type_hints(type(strategy))[key], known[key].metadata
    try:
        value = {"true": True, "false": False}[text.lower()] if kind is bool else kind(text)
    except (ValueError, KeyError):
        raise ConfigError(f"{where} takes {KINDS[kind]} for {key}; got {text!r}.") from None
    low, high = bounds["low"], bounds["high"]
    if (low is not None and not value >= low) or (high is not None and not value <= high):
        limits = f"at least {low}" if high is None else f"at most {high}" if low is None else f"{low} to {high}"
        raise ConfigError(f"{where} takes {limits} for {key}; got {text!r}.")
    return value


def _parameters(strategy: Strategy) -> dict[str, dataclasses.Field[Any]]:
    return {f.name: f for f in fields(strategy) if "help" in f.metadata}


def _hint(name: str, known: Mapping[str, object]) -> str:
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
    return f" Did you mean {near[0]!r}?" if near else ""
