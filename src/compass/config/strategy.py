"""The one text that a strategy and its parameters are written as: `nearest:neighbours=5`.

No strategy is known here: whether there is one of this name, with these parameters, is for the selection to say.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

NEXT_PARAMETER = re.compile(r",(?=\s*\w+\s*=)")
"""A comma before `key=`: a value may hold other commas, as a path does."""


def strategy_text(value: Any) -> Any:
    """Return a strategy that is given as text or as a mapping with a `name` in its one spelling, parameters sorted.

    What is neither is returned as it is, to be refused by its type. Raises ValueError for parameters without a value.
    """
    if isinstance(value, Mapping):
        return _from_mapping(value)
    if not isinstance(value, str):
        return value
    name, colon, rest = value.partition(":")
    parameters = {}
    for part in NEXT_PARAMETER.split(rest) if rest.strip() else ():
        key, equals, text = part.partition("=")
        if not (key.strip() and equals and text.strip()):
            raise ValueError(f"write a strategy's parameters as name:parameter=value,parameter=value; got {value!r}")
        parameters[key.strip()] = text.strip()
    if colon and not parameters:
        raise ValueError(f"no parameter follows the colon in {value!r}; remove it, or write name:parameter=value")
    return written(name.strip(), parameters)


def strategy_texts(values: Any) -> Any:
    """Return several strategies in their one spelling; a lone one is a list of one."""
    if isinstance(values, (list, tuple)):
        return [strategy_text(value) for value in values]
    return [strategy_text(values)]


def written(name: str, parameters: Mapping[str, Any]) -> str:
    """Return a strategy and its parameters as text."""
    pairs = ",".join(f"{key}={_plain(parameters[key])}" for key in sorted(parameters))
    return f"{name}:{pairs}" if pairs else name


def _from_mapping(value: Mapping[Any, Any]) -> str:
    name = value.get("name")
    if not isinstance(name, str) or not name:
        raise ValueError(
            f"a strategy written as a mapping needs a name, as in {{name: nearest, neighbours: 3}}; got {value!r}"
        )
    parameters = {key: item for key, item in value.items() if key != "name"}
    if wrong := [
        key for key, item in parameters.items() if not isinstance(item, (str, bool, int, float)) or item == ""
    ]:
        raise ValueError(
            f"a strategy's parameters are strings, numbers or booleans; got {wrong[0]}: {value[wrong[0]]!r}"
        )
    return written(name, {str(key): item for key, item in parameters.items()})


def _plain(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
