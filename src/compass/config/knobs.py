"""Declare an option once: its name, type, default, unit and one line of help. Nothing here knows an option.

Options stand in sections, which are frozen dataclasses of knobs; what a command takes is put together of sections, or
of other commands' options. Names are unique, so that files and flags need not know how they are put together.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field, fields
from functools import cache
from typing import Any, TypeVar, get_type_hints

AUTO = -1
"""How an option keeps the word `auto` where it stands for a whole number."""
Options = TypeVar("Options")
"""A dataclass that is put together of sections."""


def knob(default: Any, help: str, **metadata: Any) -> Any:
    """Declare one option: its default, its line of help, and any other attribute of `Option`."""
    meta = {"help": help, **metadata}
    if isinstance(default, dict):
        return field(default_factory=lambda: dict(default), metadata=meta)
    return field(default=default, metadata=meta)


def part(kind: type[Any], *, without: Collection[str] = ()) -> Any:
    """Declare a section, or another command's options, as a part of a command's, without the options named."""
    return field(default_factory=kind, metadata={"without": frozenset(without)})


@dataclass(frozen=True, slots=True)
class Option:
    """One knob as the command line and the reader of files see it."""

    name: str
    section: str
    type: Any
    """`str`, `int`, `float`, `bool`, `tuple[str, ...]`, `tuple[int, ...]`, `dict[str, str]` or `dict[str, float]`."""
    default: Any
    help: str
    choices: tuple[str, ...] = ()
    low: float | None = None
    high: float | None = None
    multiple_of: int = 1
    auto: bool = False
    """Whether it may be `auto`, which is kept as `AUTO`."""
    required: bool = False
    """Whether an empty value is refused."""
    alias: str = ""
    """Another name that files, flags and arguments may use."""
    parse: Callable[[Any], Any] | None = None
    """Turns what a file or a flag may say into a value of the type. Raises ValueError."""
    hint: str = ""
    """What to add to the message where a boolean stands for a string."""
    from_operator: bool = False
    """Whether it trusts, sends or spends, so that a run folder, which may be from somebody else, cannot set it."""
    basic: bool = False
    """Whether a first-time user needs it: `--help` shows it; the others are advanced, and shown by `--help-all`."""

    @property
    def flag(self) -> str:
        """The command-line flag, `--lora-r`."""
        return flag_of(self.name)


def flag_of(name: str) -> str:
    """Return the command-line flag of an option's name."""
    return "--" + name.replace("_", "-")


def fields_of(kind: Any) -> tuple[Option, ...]:
    """Return every option of a section, or of what is put together of sections, in the order of its fields."""
    return _fields_of(kind)


@cache
def _fields_of(kind: Any) -> tuple[Option, ...]:
    options = []
    for section, section_type, without in _sections(kind):
        hints, defaults = get_type_hints(section_type), section_type()
        for own in fields(section_type):
            meta: dict[str, Any] = dict(own.metadata)
            if own.name not in without:
                options.append(Option(own.name, section, hints[own.name], getattr(defaults, own.name), **meta))
    return tuple(options)


def sections_of(config: Any) -> dict[str, Any]:
    """Return the sections that a configuration is put together of, by name, however deep they lie."""
    found: dict[str, Any] = {}
    for part in fields(config):
        value = getattr(config, part.name)
        found |= {part.name: value} if _is_section(value) else sections_of(value)
    return found


def values_of(config: Any) -> Iterator[tuple[Option, Any]]:
    """Yield every option of a configuration with its value."""
    sections = sections_of(config)
    for option in fields_of(type(config)):
        yield option, getattr(sections[option.section], option.name)


def said(option: Option, value: Any) -> Any:
    """Return a value as files and flags say it."""
    return "auto" if option.auto and value == AUTO else value


def put_together(kind: type[Options], values: Mapping[str, Any]) -> Options:
    """Return a configuration of the named options' values, and the defaults of the others."""
    hints = get_type_hints(kind)
    if _is_section(kind):
        return kind(**{name: values[name] for name in hints if name in values})
    return kind(**{name: put_together(part, values) for name, part in hints.items()})


def _sections(kind: Any, without: frozenset[str] = frozenset()) -> Iterator[tuple[str, Any, frozenset[str]]]:
    """Yield name, type and left-out options of each section, however deep it lies."""
    hints = get_type_hints(kind)
    for own in fields(kind):
        less = without | own.metadata.get("without", frozenset())
        if _is_section(hints[own.name]):
            yield own.name, hints[own.name], less
        else:
            yield from _sections(hints[own.name], less)


def _is_section(kind: Any) -> bool:
    return any("help" in part.metadata for part in fields(kind))
