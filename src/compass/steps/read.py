"""The first step: read the usage sample, the training data, the pool and the tests; clean them; write them down."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from compass.config import AdaptConfig, DataConfig, recorded
from compass.data.assist import ASSIST, common_setting, load_assist, parse_assist
from compass.data.cleaning import NGRAM, TRANSLATION, Cleaned, with_left_out
from compass.data.cleaning import clean as clean_rows
from compass.data.example import Dropped, Example
from compass.data.languages import normalize_tag
from compass.data.licences import announce
from compass.data.readers import SourceAccount, iter_sources, read_examples, source_path
from compass.data.readers.hub import HUB
from compass.data.readers.remote import RemoteFile, expanded, is_url
from compass.data.readers.sources import existing_path, open_source
from compass.data.redaction import check_installed
from compass.data.stored_rows import column, kept_groups
from compass.data.untagged import with_identified_languages
from compass.errors import DataError, check_all
from compass.reuse import reused
from compass.runs import layout
from compass.runs.files import file_hash, files_at, fingerprint
from compass.runs.folder import Run
from compass.runs.machine import versions
from compass.steps.kept_blocks import working_through
from compass.steps.language_rows import in_language, in_others, warn_of_other_languages
from compass.steps.state import RunData
from compass.steps.stored_data import stored_data, write_data

logger = logging.getLogger(__name__)

NONE = "none"
FEWEST_USAGE_ROWS = 10
"""Below this a usage sample says too little of what usage needs to select by [ours]."""


@dataclass(frozen=True)
class Sources:
    """The rows of a run as they were read: in one schema, and not yet cleaned."""

    usage: Sequence[Example]
    train: Sequence[Example]
    pool: Sequence[Example]
    tests: Mapping[str, Sequence[Example]]
    """Held-out rows by test name; those of the target's usage go by its tag."""
    accounts: Mapping[str, Sequence[SourceAccount]] = field(default_factory=dict)
    """How each source was read, by set: usage, current, pool, `test NAME`. Rows that were handed in have none."""
    left_out: Mapping[str, Sequence[Dropped]] = field(default_factory=dict)
    """Rows that whoever handed in the others has left out, by set."""


def read_data(run: Run, config: DataConfig, *, seed: int) -> RunData:
    """Read and clean everything, or take it from the run folder if that was done with the same inputs.

    Raises DataError or LanguageError, with file and line, for input that can't be used.
    """
    config = filled_in(config, seed)
    inputs = {"data": _recorded(config), "seed": seed, "sources": source_identities(config)}
    key = fingerprint({**inputs, "versions": versions()})
    with working_through(run.folder / layout.DATA_BLOCKS, key, _bytes_on_disk(config.pool)):
        return _stage(run, config, seed, inputs, lambda: read(config, seed))


def clean_data(run: Run, sources: Sources, config: DataConfig, *, seed: int) -> RunData:
    """Clean rows that are read already, or take them from the run folder if that was done with the same rows."""
    config = filled_in(config, seed)
    if config.redact:
        check_installed()
    sets = {"usage": sources.usage, "train": sources.train, "pool": sources.pool, **sources.tests}
    rows = {name: fingerprint({"rows": [row.to_dict() for row in rows]}) for name, rows in sets.items()}
    inputs = {"data": _recorded(config), "seed": seed, "rows": rows}
    return _stage(run, config, seed, inputs, lambda: sources)


def _recorded(config: DataConfig) -> dict[str, Any]:
    """Return the options in the form in which version 0.1 recorded them, so that what it finished stays finished."""

    def plain(source: str) -> str:
        return ASSIST if parse_assist(source) else source

    return recorded(config) | {
        "usage": plain(config.usage),
        # One source is recorded as version 0.1 did it, which knew no more.
        "current": plain(config.train[0]) if len(config.train) == 1 else tuple(map(plain, config.train)),
        "test": plain(config.test),
        "pool": tuple(map(plain, config.pool)),
        "assist_setting": _assist_setting(config) or "skewed",
        "decontamination_ngram": NGRAM,
    }


def _bytes_on_disk(sources: Sequence[str]) -> int:
    """Return the bytes of those sources that are on this machine."""
    paths = [source_path(source) for source in sources if not parse_assist(source)]
    return sum(file.stat().st_size for path in paths for file in files_at(path))


def _assist_setting(config: DataConfig) -> str | None:
    """Return the setting of the embedded data that the sources name, None if they do not name it."""
    return common_setting((config.usage, *config.train, config.test, *config.pool))


def _stage(
    run: Run, config: DataConfig, seed: int, inputs: Mapping[str, Any], sources: Callable[[], Sources]
) -> RunData:
    if run.finished("data", inputs):
        run.skip("data")
        return stored_data(run.folder)
    with run.stage("data", inputs, [run.folder / layout.DATA]):
        data, cleaned = clean(sources(), config, seed)
        write_data(run, data, cleaned)
    return data


def read(config: DataConfig, seed: int) -> Sources:
    """Read every source of the options, each row in one schema; what is in other languages than asked is left out."""
    config = filled_in(config, seed)
    check_sources(config.usage, *config.train, *expanded(list(config.pool)), config.test, *config.retention_tests)
    if config.redact:
        check_installed()
    assist = None
    if setting := _assist_setting(config):
        announce("home-assistant-intents")
        assist = load_assist(config.language, setting=setting, seed=seed)
    accounts: dict[str, list[SourceAccount]] = {"usage": [], "current": [], "pool": []}
    if assist and parse_assist(config.usage):
        usage = list(assist.usage)
    else:
        usage = read_set(config, "usage", config.usage, accounts=accounts["usage"])
    own = [source for source in config.train if source != NONE and not parse_assist(source)]
    train = list(assist.train) if assist and any(map(parse_assist, config.train)) else []
    train += read_set(config, "train", *own, accounts=accounts["current"]) if own else []
    files = expanded([source for source in config.pool if not parse_assist(source)])
    pool: Sequence[Example] = list(assist.pool) if assist and len(files) < len(config.pool) else []
    if files:
        read_rows = read_pool(config, files, accounts["pool"])
        pool = [*pool, *read_rows] if pool else read_rows
    tests: dict[str, Sequence[Example]] = {}
    if assist and parse_assist(config.test or config.usage):
        tests.update(assist.tests)
    elif config.test:
        of_test = accounts.setdefault(f"test {config.language}", [])
        tests[config.language] = read_set(config, "test", config.test, accounts=of_test)
    for source in config.retention_tests:
        name = Path(source).name.split(".")[0]
        if name in tests:
            raise DataError(f"Two test sets are named {name!r}. Rename the file {source}.")
        of_test = accounts.setdefault(f"test {name}", [])
        columns = columns_of(config, "test")
        tests[name] = read_examples(source, columns=columns, require_response=True, accounts=of_test)
    return Sources(usage, train, pool, tests, accounts)


def read_set(
    config: DataConfig, part: str, *sources: str, accounts: list[SourceAccount] | None = None
) -> list[Example]:
    """Read the rows of sources in the target language, with the columns that the options map for this set.

    part: one of COLUMN_SETS; all but usage need responses. accounts: see `read_examples`.
    """
    return read_examples(
        sources,
        columns=columns_of(config, part),
        default_language=config.language,
        require_response=part != "usage",
        accounts=accounts,
    )


def with_responses(name: str, rows: list[Example]) -> list[Example]:
    """Return the rows that have a response; how many have none is logged. Raises DataError if no row has one."""
    found = [row for row in rows if row.response.strip()]
    if not found:
        raise DataError(f"{name}: none of its {len(rows)} rows has a response. Add responses, or name another file.")
    if len(found) < len(rows):
        first = next(row.id for row in rows if not row.response.strip())
        logger.warning(
            "%s: %d rows without a response are left out, the first is %s", name, len(rows) - len(found), first
        )
    return found


def read_pool(
    config: DataConfig, sources: Sequence[str], accounts: list[SourceAccount] | None = None
) -> Sequence[Example]:
    """Read the rows of the pool's sources, with the columns that the options map for it; they need responses."""
    rows, read = _read_pool(tuple(sources), columns_of(config, "pool"), streaming=config.streaming)
    if accounts is not None:
        accounts += read
    return rows


@reused
def _read_pool(
    sources: tuple[str, ...], columns: Mapping[str, str] | None, *, streaming: bool
) -> tuple[Sequence[Example], Sequence[SourceAccount]]:
    accounts: list[SourceAccount] = []
    rows = iter_sources(sources, columns=columns, streaming=streaming, require_response=True, accounts=accounts)
    return kept_groups(rows), accounts


def clean(sources: Sources, config: DataConfig, seed: int) -> tuple[RunData, dict[str, Cleaned]]:
    """Clean every set; return the data, and what was dropped of each set and why.

    Half of the usage rows with a response are held out where the target language has no test.
    """
    usage, tests = in_language("usage sample", sources.usage, config.language), dict(sources.tests)
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
    pool = sources.pool
    if not pool:
        raise DataError("The pool is empty. Give one or more sources with --pool.")
    if config.identify_languages:
        announce("py3langid")
        pool = with_identified_languages(pool, [*usage, *sources.train], config.language)
        named = {"usage sample": usage, "training data": sources.train, "test": tests.get(config.language, ())}
        warn_of_other_languages(named, set(column(pool, "language")))
    cleaned = _cleaned(config, usage, sources.train, pool, tests)
    for name, left_out in _left_out(sources, config.language).items():
        cleaned[name] = with_left_out(cleaned.get(name, Cleaned(())), left_out)
    for name, part in (("current", "the training data"), ("pool", "the pool")):
        if translations := cleaned[name].counts.get(TRANSLATION, 0):
            logger.warning(
                "%d rows of %s are left out that translate a held-out row: they have its parallel_id. If the two are "
                "numbered apart, give --columns %s.parallel_id= to leave the numbers aside", translations, part, name
            )  # fmt: skip
    if not cleaned["pool"].examples:
        raise DataError(
            f"Cleaning left nothing of the pool's {len(pool)} rows: {dict(cleaned['pool'].counts)}. "
            "Look at the reasons; --near-duplicates 1 and --no-decontaminate switch two of them off."
        )
    if sources.train and not cleaned["current"].examples:
        raise DataError(
            f"Cleaning left nothing of the training data's {len(sources.train)} rows: "
            f"{dict(cleaned['current'].counts)}. Check --train and --test; --train none goes without training data."
        )
    if not cleaned["usage"].examples:
        raise DataError(
            f"Cleaning left nothing of the usage sample's {len(usage)} rows: {dict(cleaned['usage'].counts)}. Give "
            "more prompts with --usage."
        )
    data = RunData(
        usage=tuple(cleaned["usage"].examples),
        train=tuple(cleaned["current"].examples),
        pool=cleaned["pool"].examples,
        tests={name: tuple(cleaned[f"test {name}"].examples) for name in tests if cleaned[f"test {name}"].examples},
    )
    return data, cleaned


def _left_out(sources: Sources, language: str) -> dict[str, list[Dropped]]:
    """Return the rows that reading left out, and those of usage and the target's test in other languages, by set."""
    found = {name: [row for of_source in read for row in of_source.dropped] for name, read in sources.accounts.items()}
    for name, dropped_before in sources.left_out.items():
        found[name] = [*found.get(name, ()), *dropped_before]
    for name, rows in (("usage", sources.usage), (f"test {language}", sources.tests.get(language, ()))):
        found[name] = [*found.get(name, ()), *in_others(rows, language)]
    return {name: rows for name, rows in found.items() if rows}


def _cleaned(
    config: DataConfig,
    usage: Sequence[Example],
    train: Sequence[Example],
    pool: Sequence[Example],
    tests: Mapping[str, Sequence[Example]],
) -> dict[str, Cleaned]:
    """Clean each set by its own rules. Training data and pool lose what overlaps with held-out rows."""
    options: dict[str, Any] = {"max_chars": config.max_chars, "redact": config.redact}
    unfiltered: dict[str, Any] = {"near_duplicates": 1.0, "check_language": False, **options}
    held_out = [row for rows in tests.values() for row in rows]
    overlap: dict[str, Any] = {"against": held_out if config.decontaminate else ()}
    cleaned = {
        # Repeats in usage are frequencies, which is what selection and the monitor are after; only unusable rows go.
        "usage": clean_rows(usage, name="usage", duplicates=False, **unfiltered),
        "current": clean_rows(train, name="the training data", require_response=True, **overlap, **unfiltered),
        "pool": clean_rows(
            pool,
            name="the pool",
            near_duplicates=config.near_duplicates,
            check_language=config.identify_languages,
            languages=[config.language],
            require_response=True,
            **overlap,
            **options,
        ),
    }
    for name, rows in tests.items():
        # So they are in held-out usage, which the monitor takes for its reference.
        repeats = name == config.language
        cleaned[f"test {name}"] = clean_rows(
            rows, name=f"test {name}", duplicates=not repeats, require_response=True, **unfiltered
        )
    return cleaned


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


def resolve(config: AdaptConfig) -> AdaptConfig:
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
        train=tuple(map(named, config.train)),
        test=named(config.test),
        pool=tuple(map(named, config.pool)),
        retention_tests=tuple(map(named, config.retention_tests)),
    )


def check_sources(*sources: str) -> None:
    """Raise DataError for a named source that is not there, ConfigError for several; the hub's are asked for later."""
    check_all(partial(_check_source, source) for source in sources)


def _check_source(source: str) -> None:
    if source and source != NONE and not source.startswith(HUB) and not parse_assist(source):
        if is_url(source):
            open_source(source)
        elif not source_path(source).exists():
            existing_path(source)


def source_identities(config: DataConfig) -> dict[str, str]:
    """Return what tells each source from another one of the same name: its files' hash, `assist`'s packages."""
    found = {}
    for source in (config.usage, *config.train, config.test, *config.pool, *config.retention_tests):
        if is_url(source):
            files = expanded([source])
            found[source] = fingerprint({file: RemoteFile(file).identity() for file in files})
            continue
        path = source_path(source)
        if parse_assist(source):
            stamped = versions()
            found[ASSIST] = f"{stamped.get('home-assistant-intents')} {stamped.get('hassil')}"
        elif source and path.is_file():
            found[source] = reused(file_hash)(path)
        elif source and path.is_dir():
            found[source] = fingerprint({file.relative_to(path).as_posix(): file_hash(file) for file in files_at(path)})
    return found
