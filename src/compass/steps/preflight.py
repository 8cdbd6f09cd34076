"""What can be known before anything is read or computed: wrong options, and files and models that are not there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from compass.config import AdaptConfig
from compass.data.languages import normalize_tag
from compass.data.readers.remote import expanded
from compass.errors import CompassError, raise_together
from compass.runs.places import local_path
from compass.steps.features import check_files
from compass.steps.read import check_sources, fill_in
from compass.steps.resources import Resources, strategy_of

LANGUAGE, SEED = "language", "seed"


def preflight(resources: Resources, *, training: bool = True) -> None:
    """Raise now what would otherwise be raised after the data is read, embedded and placed.

    That is what `option_faults` finds, all of it at once, EncoderError for an encoder's folder that can't be loaded,
    and, with `training`, ModelError for a base model that can't be had, layers that it lacks, or an adapter that does
    not fit it.
    """
    config = resources.config
    raise_together([error for _names, error in option_faults(config)])
    if local_path(config.encoder.encoder).is_dir():
        _ = resources.encoder
    if training:
        from compass.training.soup import check_trainable

        check_trainable(config.training, resources.find_base(prepare=False))


def option_faults(config: AdaptConfig) -> Iterator[tuple[tuple[str, ...], CompassError]]:
    """Yield what is wrong with options in the eyes of data and selection, with the options that it follows from.

    That is LanguageError for a language that is none, DataError for a source that is not there or a file of the
    strategy that can't be read, and ConfigError for an unknown strategy or parameter.
    """
    known = True
    for names, check in _checks(config):
        if LANGUAGE in names[1:] and not known:
            continue
        try:
            check()
        except CompassError as error:
            known = known and names != (LANGUAGE,)
            yield names, error


def _checks(config: AdaptConfig) -> Iterator[tuple[tuple[str, ...], Callable[[], object]]]:
    """Yield each check, with the option it is of and those whose values are filled in; the language's comes first."""
    data = config.data
    yield (LANGUAGE,), partial(normalize_tag, data.language)
    sources = [("usage", data.usage), *(("train", source) for source in data.train)]
    sources += [*(("pool", source) for source in data.pool), ("test", data.test)]
    sources += [("retention_tests", source) for source in data.retention_tests]
    for name, source in sources:
        yield (name, *_filled_in(source)), partial(_check_source, config, source, several=name == "pool")
    strategy = config.selection.strategy
    yield ("strategy", *_filled_in(strategy)), lambda: check_files(strategy_of(config.selection), config)


def _filled_in(text: str) -> tuple[str, ...]:
    return tuple(name for name in (LANGUAGE, SEED, "budget") if f"{{{name}}}" in text)


def _check_source(config: AdaptConfig, source: str, *, several: bool) -> None:
    """Raise DataError for a source that is not there; of several, a URL may be a pattern."""
    if f"{{{LANGUAGE}}}" in source:
        source = fill_in(source, language=normalize_tag(config.data.language))
    source = fill_in(source, seed=config.run.seed)
    check_sources(*(expanded([source]) if several else [source]))
