"""The first stage: read the usage sample, the data at hand, the pool and the tests; clean them; write them down."""

from __future__ import annotations

import json
import logging
import random
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from compass.config import AdaptConfig, DataConfig
from compass.data.cleaning import TRANSLATION, Cleaned, clean
from compass.data.example import Example
from compass.data.identify import identify_languages
from compass.data.languages import UNDETERMINED, normalize_tag, same_language
from compass.data.licences import announce
from compass.data.readers import read_examples, read_jsonl, source_path, write_jsonl
from compass.data.redaction import check_installed
from compass.errors import DataError
from compass.runs.folder import Run, file_hash, fingerprint, versions, write_json

logger = logging.getLogger(__name__)

ASSIST = "assist"
NONE = "none"
FEWEST_USAGE_ROWS = 10
"""Below this a usage sample says too little of what usage needs to select by [ours]."""


@dataclass(frozen=True)
class Gathered:
    """The cleaned data of a run."""

    usage: tuple[Example, ...]
    current: tuple[Example, ...]
    pool: tuple[Example, ...]
    tests: Mapping[str, tuple[Example, ...]]
    """Held-out rows by test name; usage's goes by the target language's tag, where it has responses to test on."""


def gather(run: Run, config: DataConfig, *, seed: int) -> Gathered:
    """Read and clean everything, or take it from the run folder if that was done with the same inputs.

    Raises DataError or LanguageError, with file and line, for input that can't be used.
    """
    config = filled_in(config, seed)
    inputs = {"data": asdict(config), "seed": seed, "sources": source_identities(config)}
    if run.finished("data", inputs):
        run.skip("data")
        return _read_back(run.folder / "data")
    with run.stage("data", inputs, [run.folder / "data"]):
        data, cleaned = read_and_clean(config, seed)
        _write(run, data, cleaned)
    return data


def read_and_clean(config: DataConfig, seed: int) -> tuple[Gathered, dict[str, Cleaned]]:
    """Read every source and clean it; return the data and what was dropped of each part and why."""
    config = filled_in(config, seed)
    if config.redact:
        check_installed()
    usage, current, pool, tests = _sources(config, seed)
    usage = in_language("usage sample", usage, config.language)
    if config.language in tests:
        tests[config.language] = in_language("test", tests[config.language], config.language)
    if len(usage) < FEWEST_USAGE_ROWS:
        raise DataError(
            f"The usage sample has {len(usage)} rows in {config.language}, and at least {FEWEST_USAGE_ROWS} are needed "
            "to tell what usage needs; 50 to 300 are better. Give more prompts with --usage."
        )
    if config.language not in tests:
        usage, held_out = hold_out_half(usage, seed)
        tests = {**({config.language: held_out} if held_out else {}), **tests}
    if not pool:
        raise DataError("The pool is empty. Give one or more sources with --pool.")
    if config.identify_languages:
        announce("lingua")
        pool = _identified(pool)

    cleaned: dict[str, Cleaned] = {}
    options: dict[str, Any] = {"max_chars": config.max_chars, "redact": config.redact}
    # Repeats in usage are frequencies, which is what selection and the monitor are after; only unusable rows go.
    cleaned["usage"] = clean(
        usage, name="usage", duplicates=False, near_duplicates=1.0, check_language=False, **options
    )
    held_out_rows = [row for rows in tests.values() for row in rows]
    overlap: dict[str, Any] = {
        "against": held_out_rows if config.decontaminate else (), "ngram": config.decontamination_ngram
    }  # fmt: skip
    cleaned["current"] = clean(
        current, name="the data at hand", near_duplicates=1.0, check_language=False, require_response=True, **overlap,
        **options,
    )  # fmt: skip

    cleaned["pool"] = clean(
        pool,
        name="the pool",
        near_duplicates=config.near_duplicates,
        check_language=config.identify_languages,
        require_response=True,
        **overlap,
        **options,
    )
    for name, rows in tests.items():
        # So they are in held-out usage, which the monitor takes for its reference.
        cleaned[f"test {name}"] = clean(
            rows, name=f"test {name}", duplicates=name != config.language, near_duplicates=1.0, check_language=False,
            require_response=True, **options,
        )  # fmt: skip
    for name, part in (("current", "the data at hand"), ("pool", "the pool")):
        if translations := cleaned[name].counts.get(TRANSLATION, 0):
            logger.warning(
                "%d rows of %s are left out that translate a held-out row: they have its parallel_id. If the two are "
                "numbered apart, give --columns %s.parallel_id= to leave the numbers aside", translations, part, name
            )  # fmt: skip
    if not cleaned["pool"].examples:
        raise DataError(
            f"Cleaning left nothing of the pool's {len(pool)} rows: {dict(cleaned['pool'].counts)}. "
            "Look at the reasons; --near_duplicates 1 and --no-decontaminate switch two of them off."
        )
    if not cleaned["usage"].examples:
        raise DataError(
            f"Cleaning left nothing of the usage sample's {len(usage)} rows: {dict(cleaned['usage'].counts)}. Give "
            "more prompts with --usage."
        )
    data = Gathered(
        usage=cleaned["usage"].examples,
        current=cleaned["current"].examples,
        pool=cleaned["pool"].examples,
        tests={name: cleaned[f"test {name}"].examples for name in tests if cleaned[f"test {name}"].examples},
    )
    return data, cleaned


def _sources(
    config: DataConfig, seed: int
) -> tuple[list[Example], list[Example], list[Example], dict[str, Sequence[Example]]]:
    assist = None
    if ASSIST in (config.usage, config.current, config.test, *config.pool):
        from compass.data.assist import load_assist

        announce("home-assistant-intents")
        assist = load_assist(config.language, setting=config.assist_setting, seed=seed)
    usage = (
        list(assist.usage)
        if assist and config.usage == ASSIST
        else read_examples(config.usage, columns=columns_of(config, "usage"), default_language=config.language)
    )
    if assist and config.current == ASSIST:
        current = list(assist.current)
    elif config.current in (NONE, ""):
        current = []
    else:
        current = read_examples(
            config.current,
            columns=columns_of(config, "current"),
            default_language=config.language,
            require_response=True,
        )
    pool: list[Example] = []
    files = [source for source in config.pool if source != ASSIST]
    if assist and ASSIST in config.pool:
        pool += assist.pool
    if files:
        columns = columns_of(config, "pool")
        pool += read_examples(files, columns=columns, streaming=config.streaming, require_response=True)
    tests: dict[str, Sequence[Example]] = {}
    columns = columns_of(config, "test")
    if assist and (config.test == ASSIST or (config.usage == ASSIST and not config.test)):
        tests.update(assist.tests)
    elif config.test:
        tests[config.language] = read_examples(
            config.test, columns=columns, default_language=config.language, require_response=True
        )
    for source in config.retention_tests:
        name = Path(source).name.split(".")[0]
        if name in tests:
            raise DataError(f"Two test sets are named {name!r}. Rename the file {source}.")
        tests[name] = read_examples(source, columns=columns, require_response=True)
    return usage, current, pool, tests


def in_language(what: str, rows: Sequence[Example], language: str) -> list[Example]:
    """Return the rows of a language, and those without a tag as such. Raises DataError if there are none."""
    kept = [row for row in rows if row.language == UNDETERMINED or same_language(row.language, language)]
    if rows and not kept:
        found = ", ".join(sorted({row.language for row in rows})[:8])
        raise DataError(f"The {what} has no row in {language}: its rows are tagged {found}. Check --language.")
    if len(kept) < len(rows):
        logger.warning("The %s: %d rows in other languages than %s are left out", what, len(rows) - len(kept), language)
    return [row.with_language(language) for row in kept]


def hold_out_half(usage: Sequence[Example], seed: int) -> tuple[list[Example], list[Example]]:
    """Split the usage prompts that have a response; those without one can only show what usage needs.

    A prompt goes to one side with all of its repeats.
    """
    answered: dict[str, list[Example]] = {}
    for row in usage:
        if row.response:
            answered.setdefault(row.prompt, []).append(row)
    chosen = random.Random(f"held-out/{seed}").sample(list(answered), len(answered) // 2)
    held_out = set(chosen)
    return [row for row in usage if row.prompt not in held_out], [row for p in chosen for row in answered[p]]


def _identified(rows: Sequence[Example]) -> list[Example]:
    unknown = [i for i, row in enumerate(rows) if row.language == UNDETERMINED]
    found = dict(zip(unknown, identify_languages([rows[i].prompt for i in unknown]), strict=True)) if unknown else {}
    return [row.with_language(found[i]) if i in found else row for i, row in enumerate(rows)]


def fill_in(name: str, **values: object) -> str:
    """Put values in place of `{their name}`, and leave other braces alone."""
    for key, value in values.items():
        name = name.replace(f"{{{key}}}", str(value))
    return name


def columns_of(config: DataConfig, part: str) -> dict[str, str] | None:
    """Return the column mapping of one of COLUMN_SETS: what is said for all, and over it what is said for it alone."""
    everywhere = {ours: theirs for ours, theirs in config.columns.items() if "." not in ours}
    alone = {ours.partition(".")[2]: theirs for ours, theirs in config.columns.items() if ours.startswith(f"{part}.")}
    return everywhere | alone or None


def with_normal_language(config: AdaptConfig) -> AdaptConfig:
    """Return the options with the target's tag as data and results write it. Raises LanguageError for no language."""
    return replace(config, data=replace(config.data, language=normalize_tag(config.data.language)))


def filled_in(config: DataConfig, seed: int) -> DataConfig:
    """Return the options with a normal language tag, and with it and the seed filled in in every source."""
    tag = normalize_tag(config.language)

    def named(source: str) -> str:
        return fill_in(source, language=tag, seed=seed)

    return replace(
        config,
        language=tag,
        usage=named(config.usage),
        current=named(config.current),
        test=named(config.test),
        pool=tuple(map(named, config.pool)),
        retention_tests=tuple(map(named, config.retention_tests)),
    )


def source_identities(config: DataConfig) -> dict[str, str]:
    """Return what tells each source from another one of the same name: its files' hash, `assist`'s packages."""
    found = {}
    for source in (config.usage, config.current, config.test, *config.pool, *config.retention_tests):
        path = source_path(source)
        if source == ASSIST:
            stamped = versions()
            found[source] = f"{stamped.get('home-assistant-intents')} {stamped.get('hassil')}"
        elif source and path.is_file():
            found[source] = file_hash(path)
        elif source and path.is_dir():
            found[source] = fingerprint(
                {p.relative_to(path).as_posix(): file_hash(p) for p in path.rglob("*") if p.is_file()}
            )
    return found


def _write(run: Run, data: Gathered, cleaned: Mapping[str, Cleaned]) -> None:
    write_jsonl(run.path("data", "usage.jsonl"), data.usage)
    write_jsonl(run.path("data", "current.jsonl"), data.current)
    write_jsonl(run.path("data", "pool.jsonl"), data.pool)
    # Those of an earlier run in this folder would be hashed as this one's.
    shutil.rmtree(run.folder / "data" / "tests", ignore_errors=True)
    for name, rows in data.tests.items():
        write_jsonl(run.path("data", "tests", f"{name}.jsonl"), rows)
    write_json(run.path("data", "tests.json"), list(data.tests))
    summary = {name: result.to_dict() for name, result in cleaned.items()}
    write_json(run.path("data", "cleaning.json"), summary)


def _read_back(folder: Path) -> Gathered:
    names = json.loads((folder / "tests.json").read_text(encoding="utf-8"))
    return Gathered(
        usage=tuple(read_jsonl(folder / "usage.jsonl")),
        current=tuple(read_jsonl(folder / "current.jsonl")),
        pool=tuple(read_jsonl(folder / "pool.jsonl")),
        tests={name: tuple(read_jsonl(folder / "tests" / f"{name}.jsonl")) for name in names},
    )
