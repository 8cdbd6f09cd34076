"""Read the options of a command from a file and from flags, and check them.

One file may serve all commands: a command passes over the options of others, and refuses what no command knows.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from compass.config.adapt import AdaptConfig
from compass.config.checking import advice, checked, conflicts
from compass.config.compare import CompareConfig
from compass.config.evaluate import TaskOptions
from compass.config.export import ExportOptions
from compass.config.gone import GONE, Gone, translated
from compass.config.knobs import Option, Options, fields_of, flag_of, put_together, values_of
from compass.config.label import LabelOptions
from compass.config.monitor import MonitorOptions
from compass.config.reading import read_yaml, unknown
from compass.config.registry import RegistryOptions
from compass.config.serve import ServeOptions
from compass.config.update import UpdateOptions
from compass.config.watch import WatchOptions
from compass.errors import ConfigError

logger = logging.getLogger(__name__)

COMMANDS = (
    AdaptConfig, CompareConfig, UpdateOptions, MonitorOptions, RegistryOptions, WatchOptions, TaskOptions, LabelOptions,
    ServeOptions, ExportOptions,
)  # fmt: skip
"""What commands take, together every option that there is."""


def load_config(path: Path | None = None, overrides: Mapping[str, object] | None = None) -> AdaptConfig:
    """Read the options of `compass adapt`: `load_options` for an AdaptConfig."""
    return load_options(AdaptConfig, path, overrides)


def load_options(
    kind: type[Options], path: Path | None = None, overrides: Mapping[str, object] | None = None
) -> Options:
    """Read options from a YAML file and lay `overrides` (flags, arguments) over them; a None there means "not given".

    Unknown names, wrong types, values out of range and options that do not go together are gathered and raised as one
    ConfigError, each with the file and line or the flag it came from. Options of other commands in the file are passed
    over, which is logged; advice (see `advice`) is logged as warnings.
    """
    return _resolved(kind, _given(kind, path, overrides))


def load_stored(path: Path, overrides: Mapping[str, object] | None = None, *, allow_endpoint: str = "") -> AdaptConfig:
    """Read the options that a run folder keeps, `compass.yaml`, and lay `overrides` over them, to go on with them.

    The folder may be from somebody else: what trusts, sends or spends is taken from `overrides` alone, and an encoder
    that is an endpoint is refused unless it is `allow_endpoint`. Raises ConfigError.
    """
    given = overrides or {}
    config = load_stored_options(AdaptConfig, path, given)
    values, refused = {}, []
    for option, value in values_of(config):
        values[option.name] = value
        if option.from_operator and option.name not in given and value != option.default:
            refused.append(f"{option.name}={value}")
            values[option.name] = option.default
    if refused:
        said = ", ".join(refused)
        logger.warning("%s: %s is not taken from a run folder; give it yourself if you want it", path, said)
        config = put_together(AdaptConfig, values)
    address = config.encoder.encoder
    if config.encoder.is_endpoint and "encoder" not in given and address != allow_endpoint:
        raise ConfigError(
            f"{path}: the run's encoder is the endpoint {address}, and prompts would be sent there. If you trust it, "
            f"give --allow-endpoint {address}"
        )
    return config


def read_stored(path: Path) -> AdaptConfig:
    """Read the options that a run folder keeps, as they are written, to compare with; not to go on with them."""
    return load_stored_options(AdaptConfig, path)


def load_stored_options(kind: type[Options], path: Path, overrides: Mapping[str, object] | None = None) -> Options:
    """Read the options that a folder of ours keeps, and lay `overrides` over them.

    As `load_options`, but options of earlier versions that are no more are translated or left out, and never refused.
    """
    stored = _given(kind, path, None, stored=True)
    over = _given(kind, None, overrides)
    given = _Given({**stored.values, **over.values}, [*stored.problems, *over.problems])
    return _resolved(kind, given)


def named_options(
    path: Path | None, overrides: Mapping[str, Any] | None, kind: type[Any], names: Collection[str]
) -> dict[str, Any]:
    """Return the values of those of `names` that a file or a flag names, as `load_options` finds them."""
    given = _given(kind, path, overrides, log=False)
    return {name: value for name, (value, _origin) in given.values.items() if name in names}


@cache
def all_options() -> Mapping[str, Option]:
    """Return every option of every command, by name."""
    return {option.name: option for kind in COMMANDS for option in fields_of(kind)}


def gone_options() -> dict[str, Gone]:
    """Return the options that are no more, by name, with what replaces each."""
    return {name: gone for name, gone in GONE.items() if name not in all_options()}


@dataclass
class _Given:
    """What a file and flags say of a command's options, with where each is said, and what is wrong with it."""

    values: dict[str, tuple[Any, str]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


def _resolved(kind: type[Options], given: _Given) -> Options:
    problems = list(given.problems)
    options = {option.name: option for option in fields_of(kind)}
    values: dict[str, Any] = {}
    wrong: set[str] = set()
    for name, (value, origin) in given.values.items():
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


def _given(
    kind: type[Any],
    path: Path | None,
    overrides: Mapping[str, Any] | None,
    *,
    stored: bool = False,
    log: bool = True,
) -> _Given:
    """Return what file and flags say of a command's options. stored: the file is an earlier run's own."""
    found = _Given()
    options = {option.name: option for option in fields_of(kind)}
    aliases = {option.alias: option.name for option in options.values() if option.alias}
    gone = gone_options()
    said: list[tuple[str, Any, str]] = []
    if path is not None:
        said += read_yaml(path, options, all_options(), found.problems, others=gone)
    for name, value in (overrides or {}).items():
        own = aliases.get(name, name)
        if value is None:
            continue
        if own in options or own in gone:
            said.append((own, value, flag_of(name)))
        elif own in all_options():
            found.problems.append(f"an override: {name} is not an option of this command; leave it out")
        else:
            found.problems.append(unknown(name, "an override", options))
    foreign, past = [], {}
    for name, value, origin in said:
        if name in options:
            found.values[name] = (value, origin)
        elif name not in gone:
            foreign.append(name)
        elif stored or gone[name].is_default(value):
            past[name] = value
        else:
            found.problems.append(f"{origin}: the option {name} {gone[name].what_happened}")
    if stored:
        _translate(found, past, options, str(path))
    if log and foreign:
        logger.info("%s: options of other commands are ignored: %s", path, ", ".join(foreign))
    if log and past and not stored:
        logger.info(
            "Options that were removed are ignored, because they have their former default: %s", ", ".join(past)
        )
    return found


def _translate(found: _Given, past: Mapping[str, Any], options: Mapping[str, Option], origin: str) -> None:
    """Put what an earlier run said of options that are no more into those of today."""
    before = {name: value for name, (value, _origin) in found.values.items()}
    for name, value in translated(before, past).items():
        if name in options and (name not in before or value != before[name]):
            found.values[name] = (value, origin)
