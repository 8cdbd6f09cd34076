"""Give commands their flags. Those of options are made from `compass.config`, where each option is documented once."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.models import ArgumentInfo

from compass.config import AdaptConfig, Option, fields_of
from compass.config.knobs import flag_of, said
from compass.errors import ConfigError

TITLES = {
    "run": "Run", "data": "Data", "encoder": "Encoder", "space": "Semantic space", "selection": "Selection",
    "training": "Training", "evaluation": "Evaluation", "grid": "Comparison", "tasks": "lm-eval tasks",
    "judging": "Judge",
    "monitor": "Drift monitor", "update": "Update", "registry": "Registry", "gate": "Gate", "hooks": "Hooks",
    "watch": "Watch", "folder": "Run folder", "export": "Export", "label": "Label", "serve": "Serve",
}  # fmt: skip
"""Section -> title of its options in the help."""
MODEL = ("model_name_or_path", "model_revision", "trust_remote_code", "adapter", "load_in_4bit", "dtype")
"""Training options that say which model it is and how it is loaded; they have a group of their own."""
METAVARS = {int: "N", float: "X", dict[str, str]: "NAME=VALUE", dict[str, float]: "[NAME=]X"}
"""Type of an option -> what the help shows for its value."""
SEVERAL = (tuple[str, ...], tuple[int, ...], dict[str, str], dict[str, float])
"""Types of options whose flag may be given several times."""

Config = Annotated[
    Path | None, typer.Option("-c", "--config", metavar="FILE", help="YAML file of options; flags override it.")
]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
JsonLines = Annotated[bool, typer.Option("--json", help="Print each event as one line of JSON.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print the plan with row counts and an estimate of time.")]
Verbose = Annotated[bool, typer.Option("-v", "--verbose", help="Log more, and show the libraries' warnings.")]


def with_options(
    *sections: str,
    also: Collection[str] = (),
    of: type[Any] = AdaptConfig,
    refused: Mapping[str, str] | None = None,
    basic: Collection[str] = (),
    advanced: Collection[str] = (),
    defaults: Mapping[str, str] | None = None,
    explained: Mapping[str, Mapping[str, str]] | None = None,
    repeatable: Collection[str] = (),
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command one flag for each option of the named sections and for those in `also`; it gets them as a dict.

    of: the command's configuration. refused: option that the command does not take -> what to say instead. basic,
    advanced: options, or sections, that are so for this command, whatever they are elsewhere. defaults: option -> what
    the help says of its default, where that of the configuration is not used. explained: title -> values and what each
    means, for the help. repeatable: options of one value whose flag may be given several times; the command gets a
    list where it is.
    """
    not_taken = refused or {}
    options = [o for o in fields_of(of) if (o.section in sections or o.name in also) and o.name not in not_taken]

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        own = list(inspect.signature(command, eval_str=True).parameters.values())
        own = [parameter for parameter in own if parameter.name != "options"]
        # With arguments of its own, a command can't tell a further value from an argument (cli/help.py).
        several_values = "Repeatable" if any(map(_is_argument, own)) else "One or more"

        def wrapper(**given: Any) -> None:
            values = {option.name: _value(option, given.pop(option.name)) for option in options}
            for name in repeatable:
                if isinstance(values[name], list) and len(values[name]) == 1:
                    values[name] = values[name][0]
            command(**given, options={name: value for name, value in values.items() if value is not None})

        flags = []
        for option in options:
            shown = (option.basic and not {option.section, option.name} & set(advanced)) or option.name in basic
            text = option_help(option, (defaults or {}).get(option.name), several_values)
            several = option.name in repeatable
            text += f" {several_values} with the file of a project." if several else ""
            annotation = _annotation(option, text, hidden=not shown, repeatable=several)
            flags.append(
                inspect.Parameter(option.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)
            )
        wrapper.__signature__ = inspect.Signature(own + flags)  # type: ignore[attr-defined]
        wrapper.__name__, wrapper.__doc__ = command.__name__, command.__doc__
        wrapper.refused, wrapper.explained = not_taken, explained or {}  # type: ignore[attr-defined]
        return wrapper

    return decorate


def _is_argument(parameter: inspect.Parameter) -> bool:
    return any(isinstance(info, ArgumentInfo) for info in getattr(parameter.annotation, "__metadata__", ()))


def _annotation(option: Option, text: str, *, hidden: bool, repeatable: bool = False) -> Any:
    names = [f"{option.flag}/--no-{option.name.replace('_', '-')}" if option.type is bool else option.flag]
    names += [flag_of(option.alias)] if option.alias else []
    several = option.type in SEVERAL or repeatable
    kind: Any = list[str] if several else option.type
    # Numbers come as text, so that a wrong one is reported together with all the other problems.
    if kind in (int, float):
        kind = str
    info = typer.Option(
        *names,
        help=text,
        rich_help_panel="Model" if option.name in MODEL else TITLES[option.section],
        show_default=False,
        hidden=hidden,
        metavar=METAVARS.get(option.type, "N" if option.type == tuple[int, ...] else "TEXT"),
    )
    return Annotated[kind | None, info]


def option_help(option: Option, shown_default: str | None = None, several_values: str = "One or more") -> str:
    """Return an option's line of help with its choices and its default, or what is to be shown in its place.

    several_values: what is said of an option of several.
    """
    parts = [option.help]
    everyone = tuple(option.default) if option.type == dict[str, float] else ()
    if choices := [choice for choice in option.choices if choice not in everyone]:
        parts.append(f"{'NAME is one' if everyone else 'One'} of: {', '.join(choices)}.")
    if option.type in (tuple[str, ...], tuple[int, ...], dict[str, str]):
        parts.append(f"{several_values}.")
    default = said(option, option.default)
    if everyone:
        (default,) = default.values()
    elif isinstance(default, dict):
        default = ", ".join(f"{name}={value}" for name, value in default.items())
    elif isinstance(default, tuple):
        default = ", ".join(map(str, default))
    elif isinstance(default, bool):
        default = "on" if default else "off"
    if shown_default:
        parts.append(f"[{shown_default}]")
    elif default != "":
        parts.append(f"[default: {default}]")
    return " ".join(parts)


def _value(option: Option, value: Any) -> Any:
    if value is None or value == []:
        return None
    if option.type == dict[str, str]:
        pairs = [item.partition("=") for item in value]
        broken = ["".join(pair) for pair in pairs if not pair[1]]
        if broken:
            raise ConfigError(f"{option.flag}: write ours=theirs, as in prompt=question; got {', '.join(broken)}")
        return {ours.strip(): theirs.strip() for ours, _, theirs in pairs}
    if option.type is int or option.type is float:
        try:
            return option.type(value)
        except ValueError:
            return value
    return value
