"""Read an options file, and know the line of each option in it. Nothing here knows an option."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compass.config.knobs import Option
from compass.errors import ConfigError

MOST_NODES = 100_000
"""Parts of an option's value, at most."""
TAG = r"[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8})*"
"""A language's tag, as far as its letters say."""
NULL = "tag:yaml.org,2002:null"
LANGUAGES, LANGUAGE = "languages", "language"
"""The list of a project's languages, and what names one of them."""
RUNNING = ContextVar("RUNNING", default="compass adapt")
"""The command that reads, whose help shows its options; the command line sets it."""
Said = tuple[str, Any, str]
"""Name of an option, what is said of it, and where: `file:line`."""


@dataclass(frozen=True)
class Block:
    """What a project's file says of one of its languages."""

    tag: str
    origin: str
    said: tuple[Said, ...]


def read_yaml(
    path: Path,
    options: Mapping[str, Option],
    everywhere: Mapping[str, Option],
    problems: list[str],
    *,
    others: Collection[str] = (),
) -> Iterator[Said]:
    """Yield (name, value, "file:line") of each known option; report what is unknown, misplaced or given twice.

    options: those of the command that reads, the first to be meant by a mistyped name. everywhere: all options. others:
    names of no option that are known all the same. An alias is yielded as the name that it stands for, and `languages`
    with tags alone. Raises ConfigError for a file that can't be read or is no options file.
    """
    with _opened(path) as (loader, root):
        if root is not None:
            yield from _said(loader, root, path, options, everywhere, problems, others)


def read_languages(
    path: Path,
    options: Mapping[str, Option],
    everywhere: Mapping[str, Option],
    problems: list[str],
    *,
    others: Collection[str] = (),
) -> list[Block]:
    """Return what a file says of each of its `languages`, in their order; nothing where it has none. As `read_yaml`."""
    with _opened(path) as (loader, root):
        sections = {option.section for option in everywhere.values()}
        pairs = () if root is None else _pairs(root, sections)
        found = next((value for _, key, value in pairs if getattr(key, "value", "") == LANGUAGES), None)
        if LANGUAGES not in options and found is not None and not found.value:
            # Else it would be a run of one language, in the folder of all.
            problems.append(
                f"{path}:{found.start_mark.line + 1}: languages names none; write one, as in languages: [cy], or "
                "remove the line"
            )
        blocks: dict[str, Block] = {}
        for tag, node, inner in _entries(found, path, problems):
            origin = f"{path}:{node.start_mark.line + 1}"
            if not re.fullmatch(TAG, tag):
                problems.append(f"{origin}: a language is a BCP-47 tag such as cy, zh-Hans or pt-BR; got {tag!r}")
            elif first := blocks.get(tag.casefold()):
                problems.append(f"{origin}: the language {tag} is given twice, first in {first.origin}; remove one")
            else:
                said: list[Said] = []
                if inner is not None:
                    said += _said(loader, inner, path, options, everywhere, problems, others)
                own = tuple(entry for entry in said if entry[0] != LANGUAGE)
                blocks[tag.casefold()] = Block(tag, origin, own)
    return list(blocks.values())


def _entries(found: Any, path: Path, problems: list[str]) -> Iterator[tuple[str, Any, Any]]:
    """Yield (tag, node that names it, node of its own options or None) for each language of a project."""
    import yaml

    named: list[tuple[Any, Any]] = []
    if isinstance(found, yaml.MappingNode):
        named = list(found.value)
    elif isinstance(found, yaml.SequenceNode):
        named = [(_tag_of(entry), entry) for entry in found.value]
    elif found is not None and found.tag != NULL:
        named = [(found, found)]
    for tag, value in named:
        origin = f"{path}:{value.start_mark.line + 1}"
        if not isinstance(tag, yaml.ScalarNode):
            problems.append(f"{origin}: a language has no tag; write `- language: cy`, and its options under it")
        elif value is tag or (isinstance(value, yaml.ScalarNode) and value.tag == NULL):
            yield tag.value.replace("_", "-"), tag, None
        elif isinstance(value, yaml.MappingNode):
            yield tag.value.replace("_", "-"), tag, value
        else:
            problems.append(
                f"{origin}: write the options of {tag.value} as `name: value` lines under it, such as "
                "usage: logs/prompts.jsonl"
            )


def _tag_of(entry: Any) -> Any:
    """Return the node that names the language of a list's entry: the entry, or what it says of `language`."""
    import yaml

    if not isinstance(entry, yaml.MappingNode):
        return entry
    named = (value for key, value in entry.value if getattr(key, "value", "") == LANGUAGE)
    return next(named, None)


@contextmanager
def _opened(path: Path) -> Iterator[tuple[Any, Any]]:
    """Yield the loader of a file and its root, a mapping, or None where the file is empty.

    The node tree is walked instead of `safe_load`'s dict, which has lost the lines and all but the last of two
    equal keys.
    """
    import yaml

    try:
        text = path.read_text("utf-8")
    except OSError as error:
        raise ConfigError(f"the options file {path} cannot be read: {error.strerror}; check the path") from error
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"the options file {path} is not UTF-8 ({error.reason} at byte {error.start}); save it as UTF-8"
        ) from error
    loader = None
    try:
        loader = yaml.SafeLoader(text)
        root = loader.get_single_node()
        if root is not None and not isinstance(root, yaml.MappingNode):
            kind = "a list" if isinstance(root, yaml.SequenceNode) else "a single value"
            raise ConfigError(f"{path}: write options as `name: value` lines; got {kind}")
        yield loader, root
    except (yaml.YAMLError, RecursionError) as error:
        line, what = yaml_problem(error, text)
        raise ConfigError(f"{path}{f':{line}' if line else ''}: not valid YAML: {what}") from error
    finally:
        if loader:
            loader.dispose()


def yaml_problem(error: Exception, text: str) -> tuple[int, str]:
    """Return the line of a text that YAML fails on, 0 where it is not known, and why; that may quote the text."""
    if isinstance(error, RecursionError):
        return 0, "it is nested too deeply"
    place, begun = getattr(error, "problem_mark", None), getattr(error, "context_mark", None)
    otherwise = "a value is no date" if isinstance(error, ValueError) else "a value is not what its tag says"
    what = str(getattr(error, "problem", "") or getattr(error, "reason", "") or otherwise)
    if context := getattr(error, "context", ""):
        what += f" ({context}{f' from line {begun.line + 1} on' if begun else ''})"
    position = getattr(error, "position", None)
    if place or position is None:
        return (place.line + 1 if place else 0), what
    return text.count("\n", 0, position) + 1, what


def _said(
    loader: Any,
    root: Any,
    path: Path,
    options: Mapping[str, Option],
    everywhere: Mapping[str, Option],
    problems: list[str],
    others: Collection[str],
) -> Iterator[Said]:
    import yaml

    sections = {option.section for option in everywhere.values()}
    aliases = {option.alias: option.name for option in everywhere.values() if option.alias}
    seen: dict[str, str] = {}
    for section, key_node, value_node in _pairs(root, sections):
        origin = f"{path}:{key_node.start_mark.line + 1}"
        name = key_node.value if isinstance(key_node, yaml.ScalarNode) else "(a list or mapping)"
        name = aliases.get(name, name)
        if name in everywhere:
            belongs = everywhere[name].section
        elif name in others:
            belongs = section
        else:
            problems.append(unknown(name, origin, options, everywhere))
            continue
        if section and belongs != section:
            problems.append(f"{origin}: {name} belongs to the section {belongs}, not {section}; move it there")
        elif name in seen:
            problems.append(f"{origin}: {name} is given twice, first in {seen[name]}; remove one of them")
        else:
            seen[name] = origin
            told = [tag for tag, *_ in _entries(value_node, path, [])] if name == LANGUAGES else None
            # What else it may hold is for `checked` to refuse.
            yield name, told or _value(loader, value_node, origin), origin


def _value(loader: Any, node: Any, origin: str) -> Any:
    if _is_too_large(node):
        raise ConfigError(f"{origin}: the value has more than {MOST_NODES:,} parts; write it shorter, without aliases")
    try:
        return loader.construct_object(node, deep=True)
    except Exception as error:
        # The loader of PyYAML raises what Python does: `!!timestamp soon` is an AttributeError.
        raise ConfigError(f"{origin}: the value is not valid YAML ({error}); quote it, and write no tag") from error


def _is_too_large(node: Any) -> bool:
    """Say whether a value has too many parts: aliases of aliases take no room until they are shown, then all there is.

    An alias within itself never ends.
    """
    waiting, seen = [node], 0
    while waiting and seen <= MOST_NODES:
        content = waiting.pop().value
        seen += 1
        if isinstance(content, list):
            waiting += [part for entry in content for part in (entry if isinstance(entry, tuple) else (entry,))]
    return seen > MOST_NODES


def _pairs(root: Any, sections: set[str]) -> Iterator[tuple[str, Any, Any]]:
    """Yield (section or "", key node, value node) for flat keys and for those under a section's name."""
    import yaml

    for key_node, value_node in root.value:
        named = isinstance(key_node, yaml.ScalarNode) and key_node.value in sections
        # `encoder` names a section and an option: a mapping makes it the section.
        if named and isinstance(value_node, yaml.MappingNode):
            for inner_key, inner_value in value_node.value:
                yield key_node.value, inner_key, inner_value
        elif named and value_node.tag == NULL:
            continue
        else:
            yield "", key_node, value_node


def unknown(name: str, origin: str, *options: Mapping[str, Option]) -> str:
    """Return what is wrong with a name that no option has, with the nearest of the first options that have one."""
    written = name.lower().lstrip("-").replace("-", "_")
    near = next((found for named in options if (found := difflib.get_close_matches(written, named, n=1))), None)
    hint = f"did you mean {near[0]}?" if near else f"{RUNNING.get()} --help-all shows all options"
    return f"{origin}: there is no option {name!r}; {hint}"
