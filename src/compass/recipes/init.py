"""The file of a new project: what its sources hold, and its text. `compass init` asks the questions."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from compass.config import AdaptConfig, DataConfig, load_project
from compass.config.dumping import yaml_value
from compass.data.assist import parse_assist
from compass.data.cleaning.wrong_language import find_wrong_language
from compass.data.example import Example
from compass.data.grammars import assist_languages
from compass.data.languages import UNDETERMINED, language_name, normalize_tag, same_language
from compass.data.readers import SourceAccount
from compass.errors import ConfigError, DataError
from compass.runs import layout
from compass.runs.files import write_text
from compass.steps.language_rows import in_language, spread
from compass.steps.read import FEWEST_USAGE_ROWS, NONE, fill_in, read_pool, read_set

EVERY = ""
"""Key of the source of all languages that have none of their own."""


@dataclass(frozen=True)
class Answers:
    """What a project is made of. Sources are by language; under EVERY is that of all others."""

    languages: tuple[str, ...]
    usage: Mapping[str, str]
    train: Mapping[str, str]
    pool: tuple[str, ...]
    model_name_or_path: str
    output_dir: str = "runs"
    columns: Mapping[str, str] | None = None


def languages_of(said: Sequence[str]) -> tuple[str, ...]:
    """Return tags in their normal form, of `cy, el` or of several words. Raises LanguageError, ConfigError for none."""
    tags = [tag.strip() for text in said for tag in text.replace(",", " ").split()]
    if not tags:
        raise ConfigError("language: name one or more languages by their BCP-47 tags, such as: cy, el")
    return tuple(dict.fromkeys(map(normalize_tag, tags)))


def sources_of(part: str, said: Sequence[str], languages: Sequence[str]) -> dict[str, str]:
    """Return sources by language, of `logs/{language}.jsonl`, or of `cy=welsh.jsonl` and `el=greek.jsonl`.

    part: `usage` or `train`. Raises ConfigError if some language would have none, or two sources are for the same ones.
    """
    found: dict[str, str] = {}
    for one in said:
        tag, sign, source = one.partition("=")
        key, source = (tag.strip(), source.strip()) if sign and tag.strip() in languages else (EVERY, one)
        if key in found:
            whose = key or "all languages"
            raise ConfigError(
                f"{part}: {source}: {whose} has a source already, {found[key]}; write cy=FILE for one language"
            )
        found[key] = source
    if missing := [tag for tag in languages if not found.get(tag, found.get(EVERY))]:
        named = f"{', '.join(missing)} {'has' if len(missing) == 1 else 'have'} no source"
        raise ConfigError(f"{part}: {named}; add {missing[0]}=FILE, or name one source for all languages")
    return found


def look_at_sets(part: str, sources: Mapping[str, str], answers: Answers) -> list[str]:
    """Return a line for each language on what its source holds before cleaning: rows, columns used, languages.

    part: `usage` or `train`. Raises DataError for a source that can't be used, naming it and what is wrong.
    """
    lines = []
    for tag in answers.languages:
        source = fill_in(sources.get(tag) or sources[EVERY], language=tag, seed=0)
        if source == NONE and part == "train":
            lines.append(f"{tag}: no training data")
            continue
        if parse_assist(source):
            if not any(same_language(tag, known) for known in assist_languages()):
                raise DataError(f"The packaged data set {source} has no {tag}. Give a file of yours.")
            lines.append(f"{tag}: of the packaged data set {source}")
            continue
        accounts: list[SourceAccount] = []
        config = DataConfig(language=tag, columns=dict(answers.columns or {}))
        rows = in_language(f"source {source}", read_set(config, part, source, accounts=accounts), tag)
        if part == "usage" and len(rows) < FEWEST_USAGE_ROWS:
            raise DataError(
                f"{source} has {len(rows)} rows in {tag}, and at least {FEWEST_USAGE_ROWS} are needed; 50 to 300 are "
                "better."
            )
        lines.append(f"{tag}: {_found(source, rows, accounts, [tag])}")
    return lines


def look_at_pool(pool: Sequence[str], answers: Answers) -> list[str]:
    """Return a line for each source of the pool on what it holds, as `look_at_sets`. Raises DataError."""
    lines = []
    for source in pool:
        if parse_assist(source):
            lines.append(f"{source}: the packaged data set, drawn for each language")
            continue
        for one in dict.fromkeys(fill_in(source, language=tag, seed=0) for tag in answers.languages):
            accounts: list[SourceAccount] = []
            rows = read_pool(DataConfig(columns=dict(answers.columns or {})), [one], accounts)
            lines.append(_found(one, rows, accounts, answers.languages))
    if not lines:
        raise ConfigError("pool: name one or more sources of examples in many languages")
    return lines


def look_at_model(name: str) -> str:
    """Return a line on a base model. Raises ModelError for a folder that is none; a hub's name is not asked for."""
    from compass.runs.places import local_path, looks_local

    if name.startswith("embedded:") or local_path(name).is_dir() or looks_local(name):
        from compass.steps.resources import cache_folder
        from compass.training import resolve_model

        resolve_model(name, cache_dir=cache_folder(), prepare=False)
        return f"{name}: found"
    return f"{name}: a model of the hub, downloaded when the project first runs"


def _found(source: str, rows: Sequence[Example], accounts: Sequence[SourceAccount], languages: Sequence[str]) -> str:
    used = ", ".join(name if name == use else f"{name} ({use})" for one in accounts for name, use in one.uses.items())
    counts = Counter(row.language for row in rows)
    tags = ", ".join(f"{n} {'untagged' if tag == UNDETERMINED else tag}" for tag, n in counts.most_common(8))
    line = f"{source}: {len(rows)} rows before cleaning ({tags}); columns {used}"
    some = spread(rows)
    if wrong := find_wrong_language(some, languages=languages):
        line += f"; {len(wrong)} of {len(some)} rows read as another language ({next(iter(wrong.values()))[1]})"
    return line


def write_project(path: Path, answers: Answers) -> None:
    """Write the file of a project, once it reads well. Raises ConfigError for values that are none."""
    text = project_text(path, answers)
    with TemporaryDirectory() as folder:
        copy = Path(folder) / layout.CONFIG
        copy.write_text(text, encoding="utf-8")
        try:
            load_project(AdaptConfig, copy, normal=normalize_tag)
        except ConfigError as error:
            problems = [problem.replace(str(copy), str(path)) for problem in error.problems]
            raise ConfigError([*problems, f"{path}: nothing was written; correct the flags"]) from error
    write_text(path, text, private=False)


def project_text(path: Path, answers: Answers) -> str:
    """Return a project's file, with a comment on each option."""
    # In a comment a line break would begin a line of YAML.
    shown = " ".join(shlex.quote(str(path)).splitlines())
    several = "{language} in a source stands for the tag of each language."
    usage, train = answers.usage.get(EVERY), answers.train.get(EVERY)
    common = [
        ("One folder for each language in it, and index.html over all of them.", "output_dir", answers.output_dir),
        (f"What users ask, as prompts. {several}", "usage", usage),
        ("Training data in each language, or none.", "train", train),
        ("Examples in many languages to pick from. The pool is read and embedded once for all languages.", "pool",
         list(answers.pool)),
        ("Column mapping, ours: yours.", "columns", dict(answers.columns) if answers.columns else None),
        ("The base model: a name on the hub, a folder, or embedded:gemma3-270m.", "model_name_or_path",
         answers.model_name_or_path),
        ("Rows to pick for each language.", "budget", AdaptConfig().selection.budget),
    ]  # fmt: skip
    lines = [
        "# A project of COMPASS: an adapter for each language, made by compass init. Edit it as you like.",
        f"# All languages:  compass adapt --config {shown}",
        f"# One of them:    compass adapt --config {shown} --language {answers.languages[0]}",
        "# More options:   compass adapt --help-all",
    ]
    for comment, name, value in common:
        if value is not None:
            lines += ["", f"# {comment}", f"{name}: {yaml_value(value)}"]
    lines += ["", "# Options under a language are for it alone, and come before those above.", "languages:"]
    for tag in answers.languages:
        lines.append(f"  {yaml_value(tag)}:  # {language_name(tag)}")
        own = (("usage", answers.usage.get(tag)), ("train", answers.train.get(tag)))
        lines += [f"    {name}: {yaml_value(source)}" for name, source in own if source]
    return "\n".join(lines) + "\n"
