"""Read an options file, and know the line of each option in it. Nothing here knows an option."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from compass.config.knobs import Option
from compass.errors import ConfigError

MOST_NODES = 100_000
"""Parts of an option's value, at most."""


def read_yaml(
    path: Path,
    options: Mapping[str, Option],
    everywhere: Mapping[str, Option],
    problems: list[str],
    *,
    others: Collection[str] = (),
) -> Iterator[tuple[str, Any, str]]:
    """Yield (name, value, "file:line") of each known option; report what is unknown, misplaced or given twice.

    options: those of the command that reads, the first to be meant by a mistyped name. everywhere: all options. others:
    names of no option that are known all the same. An alias is yielded as the name that it stands for. Raises
    ConfigError for a file that can't be read or is no options file.

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
        if root is None:
            return
        if not isinstance(root, yaml.MappingNode):
            kind = "a list" if isinstance(root, yaml.SequenceNode) else "a single value"
            raise ConfigError(f"{path}: write options as `name: value` lines; got {kind}")
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
                yield name, _value(loader, value_node, origin), origin
    except (yaml.YAMLError, RecursionError) as error:
        raise ConfigError(f"{path} is not valid YAML: {error}") from error
    finally:
        if loader:
            loader.dispose()


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
        elif named and value_node.tag == "tag:yaml.org,2002:null":
            continue
        else:
            yield "", key_node, value_node


def unknown(name: str, origin: str, *options: Mapping[str, Option]) -> str:
    """Return what is wrong with a name that no option has, with the nearest of the first options that have one."""
    written = name.lower().lstrip("-").replace("-", "_")
    near = next((found for named in options if (found := difflib.get_close_matches(written, named, n=1))), None)
    hint = f"did you mean {near[0]}?" if near else "compass adapt --help-all shows all options"
    return f"{origin}: there is no option {name!r}; {hint}"
