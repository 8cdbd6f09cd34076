"""Read the options of a command from a file and from flags, and check them.

One file may serve all commands: a command passes over the options of others, and refuses what no command knows.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from compass.config.adapt import AdaptConfig
from compass.config.checking import advice, checked, conflicts
from compass.config.compare import CompareConfig
from compass.config.evaluate import TaskOptions
from compass.config.knobs import Option, Options, fields_of, put_together
from compass.config.monitor import MonitorOptions
from compass.config.reading import read_yaml, unknown
from compass.config.registry import RegistryOptions
from compass.config.update import UpdateOptions
from compass.config.watch import WatchOptions
from compass.errors import ConfigError

logger = logging.getLogger(__name__)

COMMANDS = (AdaptConfig, CompareConfig, UpdateOptions, MonitorOptions, RegistryOptions, WatchOptions, TaskOptions)
"""What commands take, together every option that there is."""


def load_config(path: Path | None = None, overrides: Mapping[str, object] | None = None) -> AdaptConfig:
    """Read the options of `compass adapt`: `load_options` for an AdaptConfig."""
    return load_options(AdaptConfig, path, overrides)


def load_stored(path: Path, overrides: Mapping[str, object] | None = None) -> AdaptConfig:
    """Read the options that a run folder keeps, also one of an older version; `overrides` as in `load_options`."""
    return load_config(path, overrides)


def load_options(
    kind: type[Options], path: Path | None = None, overrides: Mapping[str, object] | None = None
) -> Options:
    """Read options from a YAML file and lay `overrides` (flags, arguments) over them; a None there means "not given".

    Unknown names, wrong types, values out of range and options that do not go together are gathered and raised as one
    ConfigError, each with the file and line or the flag it came from. Options of other commands in the file are passed
    over, which is logged; advice (see `advice`) is logged as warnings.
    """
    problems: list[str] = []
    options = {option.name: option for option in fields_of(kind)}
    values: dict[str, Any] = {}
    wrong: set[str] = set()
    for name, (value, origin) in _given(kind, path, overrides, problems).items():
        try:
            values[name] = checked(options[name], value)
        except ValueError as error:
            problems.append(f"{origin}: {error}")
            wrong.add(name)
    config = put_together(kind, values)
    problems += [problem for names, problem in conflicts(config) if not wrong.intersection(names)]
    if problems:
        raise ConfigError(problems)
    for line in advice(config):
        logger.warning("%s", line)
    return config


def named_options(
    path: Path | None, overrides: Mapping[str, Any] | None, kind: type[Any], names: Collection[str]
) -> dict[str, Any]:
    """Return the values of those of `names` that a file or a flag names, as `load_options` finds them."""
    given = _given(kind, path, overrides, [], log=False)
    return {name: value for name, (value, _origin) in given.items() if name in names}


@cache
def all_options() -> Mapping[str, Option]:
    """Return every option of every command, by name."""
    return {option.name: option for kind in COMMANDS for option in fields_of(kind)}


def _given(
    kind: type[Any],
    path: Path | None,
    overrides: Mapping[str, Any] | None,
    problems: list[str],
    *,
    log: bool = True,
) -> dict[str, tuple[Any, str]]:
    """Return what file and flags say of a command's options, with where they say it."""
    options = {option.name: option for option in fields_of(kind)}
    given: dict[str, tuple[Any, str]] = {}
    passed_over = []
    for name, value, origin in read_yaml(path, options, all_options(), problems) if path else ():
        if name in options:
            given[name] = (value, origin)
        else:
            passed_over.append(name)
    for name, value in (overrides or {}).items():
        if value is None:
            continue
        if name in options:
            given[name] = (value, options[name].flag)
        else:
            problems.append(unknown(name, "an override", options))
    if passed_over and log:
        logger.info("%s: options of other commands are passed over: %s", path, ", ".join(passed_over))
    return given
