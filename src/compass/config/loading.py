"""Read the options of a command from a file and from flags, and check them.

One file may serve all commands: a command passes over the options of others, and refuses what no command knows.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Generic

from compass.config.adapt import AdaptConfig
from compass.config.checking import advice, checked, conflicts
from compass.config.compare import CompareConfig
from compass.config.evaluate import TaskOptions
from compass.config.export import ExportOptions
from compass.config.gone import GONE, Gone, translated
from compass.config.knobs import Option, Options, fields_of, flag_of, put_together, values_of
from compass.config.label import LabelOptions
from compass.config.monitor import MonitorOptions
from compass.config.reading import LANGUAGE, LANGUAGES, Block, Said, read_languages, read_yaml, unknown
from compass.config.registry import RegistryOptions
from compass.config.serve import ServeOptions
from compass.config.update import UpdateOptions, with_retention_rows
from compass.config.watch import WatchOptions
from compass.errors import CompassError, ConfigError

logger = logging.getLogger(__name__)

Also = Callable[[Any], Iterable[tuple[tuple[str, ...], object]]]
"""Finds what else is wrong with options, with their names: this room knows no languages, files and strategies."""
COMMANDS = (
    AdaptConfig, CompareConfig, UpdateOptions, MonitorOptions, RegistryOptions, WatchOptions, TaskOptions, LabelOptions,
    ServeOptions, ExportOptions,
)  # fmt: skip
"""What commands take, together every option that there is."""


def load_config(
    path: Path | None = None, overrides: Mapping[str, object] | None = None, *, also: Also | None = None
) -> AdaptConfig:
    """Read the options of `compass adapt`: `load_options` for an AdaptConfig."""
    return load_options(AdaptConfig, path, overrides, also=also)


def load_options(
    kind: type[Options],
    path: Path | None = None,
    overrides: Mapping[str, object] | None = None,
    *,
    language: str = "",
    log: bool = True,
    also: Also | None = None,
) -> Options:
    """Read options from a YAML file and lay `overrides` (flags, arguments) over them; a None there means "not given".

    Unknown names, wrong types, values out of range and options that do not go together are gathered and raised as one
    ConfigError, each with the file and line or the flag it came from. Options of other commands in the file are passed
    over, which is logged; advice (see `advice`) is logged as warnings. Of a project's file, a command for one language
    takes what is said for all and, over it, what is said for that one: `language`, or that of the overrides. log: False
    where the same file is read for other options of the command, too. also: finds problems that are raised with these.
    """
    return _resolved(kind, _given(kind, path, overrides, language=language, log=log), also)


@dataclass(frozen=True)
class Project(Generic[Options]):
    """A file of options for several languages: resolved, those of each language are as its own file would give them."""

    path: Path
    folder: Path
    """The `output_dir` of the file; that of each language lies in it."""
    languages: Mapping[str, Options]
    """By tag, as the file writes it, in the file's order."""
    origins: Mapping[str, str]
    """Where the file names each language: `file:line`."""


def load_project(
    kind: type[Options],
    path: Path | None,
    overrides: Mapping[str, object] | None = None,
    *,
    only: Collection[str] = (),
    normal: Callable[[str], str] = str,
    also_read: type[Any] | None = None,
    log: bool = True,
) -> Project[Options] | None:
    """Read the options of each language of a project, or of those named `only`; None for a file of one language.

    As `load_options`, with the problems of all languages at once. normal: returns the one tag of a language, and raises
    CompassError for what is none (`data.languages.normalize_tag`): this room knows no languages. also_read: further
    options that the command reads from the file; the log does not say that they are ignored. log: as of `load_options`.
    """
    problems: list[str] = []
    over = {name: value for name, value in (overrides or {}).items() if name != LANGUAGE}
    blocks = _blocks(kind, path, problems) if path else []
    if path is None or not (blocks or problems):
        return None
    problems += _wrong_tags(blocks, normal)
    wanted = {_folded(tag): tag for tag in only}
    if unknown_tags := [tag for folded, tag in wanted.items() if folded not in {b.tag.casefold() for b in blocks}]:
        problems.append(_no_such_language(path, blocks, unknown_tags[0]))
    configs: dict[str, Options] = {}
    folder = Path()
    surprises: dict[str, None] = {}
    for block in blocks:
        if wanted and block.tag.casefold() not in wanted:
            continue
        given = _given(kind, path, over, language=block.tag, log=log and not configs, also_read=also_read)
        folder = Path(str(given.values.get("output_dir", ("", ""))[0])).parent
        config, wrong = _checked(kind, given)
        problems += wrong
        configs[block.tag] = config
        surprises |= dict.fromkeys(advice(config))
    if problems:
        raise ConfigError(list(dict.fromkeys(problems)))
    for line in surprises:
        logger.warning("%s", line)
    return Project(path, folder, configs, {block.tag: block.origin for block in blocks})


def _wrong_tags(blocks: Sequence[Block], normal: Callable[[str], str]) -> Iterator[str]:
    """Yield a problem for each tag that is no language, or another name of one that is there already."""
    first: dict[str, Block] = {}
    for block in blocks:
        try:
            before = first.setdefault(normal(block.tag), block)
        except CompassError as error:
            yield f"{block.origin}: {error}"
            continue
        if before is not block:
            yield f"{block.origin}: {block.tag} is the same language as {before.tag} in {before.origin}; remove one"


def load_stored(
    path: Path, overrides: Mapping[str, object] | None = None, *, allow_endpoint: str | None = ""
) -> AdaptConfig:
    """Read the options that a run folder keeps, `compass.yaml`, and lay `overrides` over them, to go on with them.

    The folder may be from somebody else: what trusts, sends or spends is taken from `overrides` alone, and an encoder
    that is an endpoint is refused unless it is `allow_endpoint`, or that is None because nothing will be embedded.
    Raises ConfigError.
    """
    given = overrides or {}
    config, refused = _of_the_operator(load_stored_options(AdaptConfig, path, given), given)
    if refused:
        said = ", ".join(refused)
        logger.warning("%s: %s is not taken from a run folder; give it yourself if you want it", path, said)
    address = config.encoder.encoder
    if config.encoder.is_endpoint and "encoder" not in given and allow_endpoint not in (None, address):
        raise ConfigError(
            f"{path}: the run's encoder is the endpoint {address}, and prompts would be sent there. If you trust it, "
            f"give --allow-endpoint {address}"
        )
    return config


def _of_the_operator(config: AdaptConfig, given: Mapping[str, object]) -> tuple[AdaptConfig, list[str]]:
    """Return the options without what is taken from `given` alone and is not there, and what that was."""
    values, refused = {}, []
    for option, value in values_of(config):
        values[option.name] = value
        if option.from_operator and option.name not in given and value != option.default:
            refused.append(f"{option.name}={value}")
            values[option.name] = option.default
    return put_together(AdaptConfig, values) if refused else config, refused


def load_parent(path: Path) -> AdaptConfig:
    """Return the options of an update that is given none: what `load_stored` takes of its parent's, completed."""
    return with_retention_rows(_of_the_operator(read_stored(path), {})[0])


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
    path: Path | None,
    overrides: Mapping[str, Any] | None,
    kind: type[Any],
    names: Collection[str],
    *,
    language: str = "",
) -> dict[str, Any]:
    """Return the values of those of `names` that a file or a flag names, as `load_options` finds them."""
    given = _given(kind, path, overrides, language=language, log=False)
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


def _resolved(kind: type[Options], given: _Given, also: Also | None = None) -> Options:
    config, problems = _checked(kind, given, also)
    if problems:
        raise ConfigError(problems)
    for line in advice(config):
        logger.warning("%s", line)
    return config


def _checked(kind: type[Options], given: _Given, also: Also | None = None) -> tuple[Options, list[str]]:
    """Return the options, and all that is wrong with them."""
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
    found = [(names, problem) for names, problem in conflicts(config) if not wrong.intersection(names)]
    problems += [problem for _names, problem in found]
    wrong = wrong.union(*(names for names, _problem in found))
    problems += [str(error) for names, error in (also(config) if also else ()) if not wrong.intersection(names)]
    return config, problems


def _given(
    kind: type[Any],
    path: Path | None,
    overrides: Mapping[str, Any] | None,
    *,
    stored: bool = False,
    log: bool = True,
    language: str = "",
    also_read: type[Any] | None = None,
) -> _Given:
    """Return what file and flags say of a command's options.

    stored: the file is an earlier run's own. language: whose options are meant, where the file is a project's.
    also_read: as of `load_project`.
    """
    found = _Given()
    options = {option.name: option for option in fields_of(kind)}
    aliases = {option.alias: option.name for option in options.values() if option.alias}
    gone = gone_options()
    said: list[Said] = []
    tag = ""
    if path is not None:
        said += read_yaml(path, options, all_options(), found.problems, others=gone)
        if not stored and (blocks := _blocks(kind, path, found.problems)):
            tag = language or str((overrides or {}).get(LANGUAGE) or "")
            said, tag = _of_one_language(options, path, said, blocks, tag, found.problems)
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
    known_elsewhere = {option.name for option in fields_of(also_read)} if also_read else set()
    for name, value, origin in said:
        if name in options:
            found.values[name] = (value, origin)
        elif name == LANGUAGES or name in known_elsewhere:
            continue
        elif name not in gone:
            foreign.append(name)
        elif stored or gone[name].is_default(value):
            past[name] = value
        else:
            found.problems.append(f"{origin}: the option {name} {gone[name].what_happened}")
    if tag and "output_dir" in options:
        folder, origin = found.values.get("output_dir", (PROJECT_FOLDER, str(path)))
        found.values["output_dir"] = (str(Path(folder) / tag) if isinstance(folder, str) and folder else folder, origin)
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


OF_ALL = ("output_dir", "cache_dir")
SECTIONS_OF_ALL = ("serve", "registry", "grid")
"""Options, and sections of them, that are the same for all languages of a project."""
PROJECT_FOLDER = "runs"
"""Folder of a project whose file names none."""


def _blocks(kind: type[Any], path: Path, problems: list[str]) -> list[Block]:
    """Return what a project's file says of its languages; nothing where the file is none, or the command wants none.

    `languages` is an option of a command that compares languages, which takes the tags alone.
    """
    options = {option.name: option for option in fields_of(kind)}
    wrong: list[str] = []
    blocks = read_languages(path, options, all_options(), wrong, others=gone_options())
    for block in blocks:
        for name, _value, origin in block.said:
            if LANGUAGES in options:
                wrong.append(
                    f"{origin}: a comparison takes the same options for all languages; write {name} above `languages`, "
                    "with {language} in a source for the tag"
                )
            elif name in OF_ALL or (name in all_options() and all_options()[name].section in SECTIONS_OF_ALL):
                wrong.append(
                    f"{origin}: {name} is the same for all languages of a project; write it above `languages`"
                    + (", and each language gets the folder of its tag in it" if name == "output_dir" else "")
                )
    problems += wrong
    return [] if LANGUAGES in options else blocks


def _of_one_language(
    options: Mapping[str, Option],
    path: Path,
    common: Sequence[Said],
    blocks: Sequence[Block],
    chosen: str,
    problems: list[str],
) -> tuple[list[Said], str]:
    """Return what a project's file says for all languages and, over it, for the chosen one, and that one's tag."""
    problems += [
        f"{origin}: a file has either `language` or `languages`; remove this line, or make it one of `languages`"
        for name, _value, origin in common
        if name == LANGUAGE
    ]
    said = [entry for entry in common if entry[0] != LANGUAGE]
    if not chosen and LANGUAGE in options:
        tags = ", ".join(block.tag for block in blocks)
        problems.append(f"{path} is a project of several languages; say which one with --language ({tags})")
    if not chosen:
        return said, ""
    block = next((block for block in blocks if block.tag.casefold() == _folded(chosen)), None)
    if block is None:
        problems.append(_no_such_language(path, blocks, chosen))
        return said, ""
    if LANGUAGE in options:
        said.append((LANGUAGE, block.tag, block.origin))
    own = {name for name, _value, _origin in block.said}
    return [*(entry for entry in said if entry[0] not in own), *block.said], block.tag


def _folded(tag: str) -> str:
    return tag.replace("_", "-").casefold()


def _no_such_language(path: Path, blocks: Sequence[Block], tag: str) -> str:
    return f"--language: {path} has no language {tag!r}; it has {', '.join(block.tag for block in blocks)}"
