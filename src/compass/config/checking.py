"""Check values: each against its option's type and range, and then options that conflict.

A section or a command yields its conflicts in a method `conflicts`, and what is allowed but may surprise in a method
`advice`. One that has such a method yields for its parts too.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping
from typing import Any

from compass.config.knobs import AUTO, Option, said, values_of
from compass.errors import ConfigError

Conflict = tuple[tuple[str, ...], str]
"""The names of options that are wrong together, and what is wrong."""


def validate(config: Any) -> None:
    """Check a configuration that was built in Python. Raises ConfigError with every problem at once."""
    problems = []
    for option, value in values_of(config):
        try:
            checked(option, said(option, value))
        except ValueError as error:
            problems.append(str(error))
    if not problems:
        problems += [problem for _names, problem in conflicts(config)]
    if problems:
        raise ConfigError(problems)


def conflicts(config: Any) -> Iterator[Conflict]:
    """Yield what is wrong together in a configuration."""
    yield from _found(config, "conflicts")


def advice(config: Any) -> tuple[str, ...]:
    """Return a line for each choice that is allowed but may surprise."""
    return tuple(_found(config, "advice"))


def advice_of_parts(config: Any) -> Iterator[str]:
    """Yield the advice of a configuration's parts, for one that has advice of its own."""
    yield from _found_in_parts(config, "advice")


def _found(config: Any, method: str) -> Iterator[Any]:
    own = getattr(config, method, None)
    yield from own() if own else _found_in_parts(config, method)


def _found_in_parts(config: Any, method: str) -> Iterator[Any]:
    for part in dataclasses.fields(config):
        value = getattr(config, part.name)
        if dataclasses.is_dataclass(value):
            yield from _found(value, method)


def checked(option: Option, value: Any) -> Any:
    """Return `value` in the option's type. Raises ValueError with the rule it breaks."""
    if value is None:
        raise ValueError(
            f"{option.name} has no value; write one, or remove the line to use the default, {option.default!r}"
        )
    if option.parse:
        try:
            value = option.parse(value)
        except ValueError as error:
            raise ValueError(f"{option.name}: {error}") from None
    typed = _typed(option, value)
    if option.required and not typed:
        raise ValueError(f"{option.name} must not be empty; its default is {option.default!r}")
    return typed


def _typed(option: Option, value: Any) -> Any:
    if option.type is bool:
        return _bool(option.name, value)
    if option.type is int or option.type is float:
        return _number(option, value)
    if option.type == tuple[str, ...]:
        items = [value] if isinstance(value, (str, bool, int, float)) else value
        if not isinstance(items, (list, tuple)):
            raise ValueError(f"{option.name} must be a list of strings; got {value!r}")
        return tuple(_choice(option, item) for item in items)
    if option.type == tuple[int, ...]:
        items = value.split(",") if isinstance(value, str) else [value] if isinstance(value, (int, float)) else value
        if not isinstance(items, (list, tuple)):
            raise ValueError(f"{option.name} must be a list of whole numbers; got {value!r}")
        return tuple(int(_number(dataclasses.replace(option, type=int), item)) for item in items)
    if option.type == dict[str, str]:
        return _mapping(option.name, value)
    if option.type == dict[str, float]:
        return _numbers(option, value)
    if isinstance(value, bool) and {"on", "off"} <= set(option.choices):
        # YAML 1.1 reads an unquoted on and off as truth values.
        value = "on" if value else "off"
    return _choice(option, value)


def _choice(option: Option, value: Any) -> str:
    text = _text(option.name, value, option.hint)
    if option.choices and text not in option.choices:
        raise ValueError(f"{option.name} must be one of {', '.join(option.choices)}; got {text!r}")
    return text


def _bool(name: str, value: Any) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in ("true", "false"):
        return value.lower() == "true"
    raise ValueError(f"{name} must be true or false; got {value!r}")


def _number(option: Option, value: Any) -> int | float:
    if option.auto and value == "auto":
        return AUTO
    kind = ("a whole number" if option.type is int else "a number") + (" or auto" if option.auto else "")
    number: Any = value
    if isinstance(value, str):
        # PyYAML reads 5e-4 as text: YAML 1.1 wants 5.0e-4.
        try:
            number = int(value) if option.type is int else float(value)
        except ValueError:
            raise ValueError(f"{option.name} must be {kind}; got {value!r}") from None
    if isinstance(number, bool) or not isinstance(number, (int, float)):
        raise ValueError(f"{option.name} must be {kind}; got {value!r}")
    if not math.isfinite(number) or (option.type is int and number != int(number)):
        raise ValueError(f"{option.name} must be {kind}; got {value!r}")
    if option.low is not None and number < option.low:
        raise ValueError(f"{option.name} must be at least {option.low:g}; got {value!r}")
    if option.high is not None and number > option.high:
        raise ValueError(f"{option.name} must be at most {option.high:g}; got {value!r}")
    if number % option.multiple_of and option.type is int:
        raise ValueError(f"{option.name} must be a multiple of {option.multiple_of}; got {value!r}")
    return int(number) if option.type is int else float(number)


def _text(name: str, value: Any, hint: str = "") -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        raise ValueError(
            f"{name} must be a string; got the boolean {str(value).lower()}. YAML reads an unquoted no, off, yes or "
            f"on as a boolean; put the value in quotes.{f' {hint}' if hint else ''}"
        )
    raise ValueError(f"{name} must be a string; got {value!r}. Put it in quotes")


def _mapping(name: str, value: Any) -> dict[str, str]:
    if isinstance(value, str):
        value = [part for part in value.split(",") if part.strip()]
    if isinstance(value, (list, tuple)):
        pairs = [str(item).partition("=") for item in value]
        if not all(key.strip() and equals for key, equals, theirs in pairs):
            raise ValueError(f"{name} must be written as ours=theirs, as in prompt=question; got {value!r}")
        return {key.strip(): theirs.strip() for key, _equals, theirs in pairs}
    if not isinstance(value, Mapping):
        raise ValueError(f"{name} must map names to names, as in prompt: question; got {value!r}")
    return {_text(name, key): _text(name, theirs) for key, theirs in value.items()}


def _numbers(option: Option, value: Any) -> dict[str, float]:
    """Return numbers by name. A number without a name is for every name, and stands under the default's one."""
    (everyone,) = option.default
    items: Any = value.split(",") if isinstance(value, str) else value
    if isinstance(items, (bool, int, float)):
        items = [items]
    if isinstance(items, (list, tuple)):
        parts = [str(item).rpartition("=") for item in items]
        items = {name.strip() if equals else everyone: number.strip() for name, equals, number in parts}
    if not isinstance(items, Mapping):
        raise ValueError(f"{option.name} must be a number, or a number per name, as in name=0.05; got {value!r}")
    plain = dataclasses.replace(option, type=float)
    numbers = {_choice(option, name): float(_number(plain, number)) for name, number in items.items()}
    return {**option.default, **numbers}
