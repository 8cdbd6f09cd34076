"""What some strategies need besides vectors: read here, where texts and models may be seen."""

from __future__ import annotations

import logging
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from compass.config import AdaptConfig
from compass.data.example import Example
from compass.data.json_text import parse_json
from compass.data.stored_rows import column
from compass.data.text_features import ngram_counts, pair_statistics
from compass.data.typology import relatives, uriel_distances
from compass.encoders import CachedEncoder
from compass.errors import DataError, SelectionError
from compass.runs.files import file_hash, write_jsonl
from compass.selection import (
    Features,
    Gradients,
    ModelVectors,
    Ngrams,
    Strategy,
    TransferResult,
    Typology,
)
from compass.selection.strategies.given import Given
from compass.selection.strategies.langrank import LangRank
from compass.selection.strategies.less import Less
from compass.semantic.arrays import IntArray
from compass.steps.read import fill_in
from compass.steps.resources import Resources
from compass.steps.state import RunData

if TYPE_CHECKING:
    from compass.training import BaseModel

logger = logging.getLogger(__name__)

LONGEST_ID = 40
"""Characters up to which a message shows an unknown id."""

FEWEST_ANSWERED = 3
SECONDS_A_GRADIENT = 0.3
GRADIENT_CHUNK = 64
"""Rows of gradients between two writes: what a killed run loses at most."""


def read_features(
    strategy: Strategy,
    data: RunData,
    *,
    target_language: str,
    base: Callable[[], BaseModel],
    cache_dir: Path,
    config: AdaptConfig | None = None,
) -> Features:
    """Read what a strategy needs (its `needs`, fields of `Features`) and nothing else.

    base: finds the base model; called only for `model_vectors` and `gradients`, whose rows are remembered in
    `cache_dir` as those of other encoders are. config: seed and budget in the name of the file for `given`, and how the
    adapter behind `gradients` is trained; None: the defaults.
    Raises DataError for a file that cannot be read or too few usage rows with a response, SelectionError for a pool too
    large for gradients, MissingExtraError, ModelError.
    """
    needs, config = strategy.needs, config or AdaptConfig()
    parts: dict[str, Any] = {}
    if "ngrams" in needs:
        parts["ngrams"] = Ngrams(ngram_counts(prompts(data.usage)), ngram_counts(prompts(data.pool)))
    if "model_vectors" in needs:
        parts["model_vectors"] = _model_vectors(data, base(), cache_dir)
    if "gradients" in needs:
        parts["gradients"] = _gradients(strategy, data, base, cache_dir, config)
    languages = sorted(set(column(data.pool, "language")))
    if "typology" in needs:
        distances = uriel_distances(target_language, languages)
        parts["typology"] = Typology(distances, relatives(target_language, languages))
    if "text_statistics" in needs:
        target = prompts([*data.usage, *data.train])
        by_language = defaultdict(list)
        for row in data.pool:
            by_language[row.language].append(row.prompt)
        parts["text_statistics"] = {language: pair_statistics(target, by_language[language]) for language in languages}
    if "transfer_results" in needs:
        file = transfer_file(strategy)
        parts["transfer_results"] = read_transfer_results(file) if file else ()
    if "given" in needs:
        parts["given"] = _given(strategy, data.pool, config, target_language)
    return Features(**parts)


def transfer_result(
    target: str, source: str, score: float, *, target_texts: Sequence[str], source_texts: Sequence[str]
) -> TransferResult:
    """Describe a measured transfer so that `langrank` can learn from it.

    score: of the target's test after training on the source's rows. target_texts: prompts of usage and training data;
    source_texts: prompts of the pool's rows in the source language. Raises MissingExtraError without urielplus.
    """
    features = {**pair_statistics(target_texts, source_texts), **uriel_distances(target, [source])[source]}
    return TransferResult(target, source, score, features)


def write_transfer_results(path: Path, results: Iterable[TransferResult]) -> None:
    """Write results as JSON lines, whole or not at all; no text is in them."""
    lines = ({"target": r.target, "source": r.source, "score": r.score, "features": dict(r.features)} for r in results)
    write_jsonl(path, lines)


def read_transfer_results(path: Path) -> tuple[TransferResult, ...]:
    """Read what `write_transfer_results` wrote. Raises DataError with the line that is wrong."""
    results = []
    for number, line in _lines(path, "transfer_results", "Give the file that `compass compare` wrote."):
        try:
            row = parse_json(line)
            features = {str(name): float(value) for name, value in row["features"].items()}
            score = float(row["score"])
            if not math.isfinite(score):
                raise ValueError(f"the score {score} is not a measurement")
            results.append(TransferResult(str(row["target"]), str(row["source"]), score, features))
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
            raise DataError(
                f"transfer_results: {path}:{number} is not a result; a line is an object with target, source, score "
                f"and features (a number by name): {error!r}"
            ) from error
    return tuple(results)


def _lines(path: Path, option: str, hint: str) -> list[tuple[int, str]]:
    """Return the lines that are not blank, with their numbers. Raises DataError, which ends in the hint."""
    try:
        # Not `splitlines`, which also cuts at separators that JSON leaves inside of a text, U+2028 for one.
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise DataError(f"{option}: {path} cannot be read: {reason}. {hint}") from error
    return [(number, line.strip()) for number, line in enumerate(lines, start=1) if line.strip()]


def check_files(strategy: Strategy, config: AdaptConfig) -> None:
    """Raise DataError for a file that a strategy is given, or needs, and that can't be read."""
    if file := transfer_file(strategy):
        read_transfer_results(file)
    if "given" in strategy.needs:
        _named_rows(strategy, config, config.data.language)


def strategy_files(resources: Resources) -> dict[str, str]:
    """Return the file that the strategy alone reads, with its hash; nothing for most strategies."""
    config, strategy = resources.config, resources.strategy
    files = (given_file(strategy, config, config.data.language), transfer_file(strategy))
    return {str(file): file_hash(file) for file in files if file and file.is_file()}


def prompts(rows: Iterable[Example]) -> list[str]:
    """Return the prompts of rows: what is compared everywhere, for usage may have no responses."""
    return [row.prompt for row in rows]


def _model_vectors(data: RunData, base: BaseModel, cache_dir: Path) -> ModelVectors:
    from compass.training.hidden_states import HiddenStates

    encoder = CachedEncoder(HiddenStates(base), cache_dir)
    return ModelVectors(usage=encoder.encode(prompts(data.usage)), pool=encoder.encode(prompts(data.pool)))


def transfer_file(strategy: Strategy) -> Path | None:
    """Return the file of transfer results that a strategy learns from, if it names one."""
    return Path(strategy.transfer_results) if isinstance(strategy, LangRank) and strategy.transfer_results else None


def given_file(strategy: Strategy, config: AdaptConfig, target_language: str) -> Path | None:
    """Return the file of rows that a strategy takes, with language, seed and budget filled in, if it names one."""
    if not isinstance(strategy, Given) or not strategy.picks:
        return None
    run, options = config.run, config.selection
    return Path(fill_in(strategy.picks, language=target_language, seed=run.seed, budget=options.budget))


def _given(strategy: Strategy, pool: Sequence[Example], config: AdaptConfig, target_language: str) -> IntArray:
    """Find the rows that a file names. Raises DataError for a file that cannot be read or names no row of the pool."""
    path, names = _named_rows(strategy, config, target_language)
    places = {row.id: place for place, row in reversed(list(enumerate(pool)))}
    found: dict[int, None] = {}
    unknown = []
    for number, name in names:
        if name in places:
            found[places[name]] = None
        else:
            # A file of prompts that is given by mistake is not shown.
            is_id = len(name) <= LONGEST_ID and not any(map(str.isspace, name))
            unknown.append(f"line {number}{f': {name}' if is_id else ''}")
    if not found:
        raise DataError(
            f"given: {path} names {len(unknown)} rows, and none of them is in the pool "
            f"({', '.join(unknown[:1]) or 'the file is empty'}). Give ids of the pool's `id` column."
        )
    if unknown:
        logger.warning(
            "given: %d of %d rows of %s are not in the pool, or were left out of it (%s); the others are taken",
            len(unknown), len(unknown) + len(found), path, unknown[0],
        )  # fmt: skip
    return np.array(list(found), dtype=np.int64)


def _named_rows(strategy: Strategy, config: AdaptConfig, target_language: str) -> tuple[Path, list[tuple[int, str]]]:
    """Return the file that names the rows to take, and the ids with their lines. Raises DataError."""
    path = given_file(strategy, config, target_language)
    if path is None:
        raise DataError("Strategy 'given' takes the rows that a file names. Name it: --strategy given:picks=FILE.")
    lines = _lines(path, "given", "A line is an id, or JSON with `id`.")
    return path, [(number, _id_of(line, path, number)) for number, line in lines]


def _id_of(line: str, path: Path, number: int) -> str:
    if not line.startswith("{"):
        return line
    try:
        return str(parse_json(line)["id"])
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"given: {path}:{number} is not a JSON object with an `id`: {error!r}") from error


def _gradients(
    strategy: Strategy, data: RunData, base: Callable[[], BaseModel], cache_dir: Path, config: AdaptConfig
) -> Gradients:
    from compass.training.gradients import ProjectedGradients, ProjectedUpdates, row_text, warm_up

    answered = [i for i, row in enumerate(data.usage) if row.response]
    if len(answered) < FEWEST_ANSWERED:
        raise DataError(
            f"Strategy 'less' compares gradients, which need answers: {len(answered)} of {len(data.usage)} usage rows "
            f"have a response, and at least {FEWEST_ANSWERED} are needed. Add some, or try --strategy rds."
        )
    options, seed = strategy if isinstance(strategy, Less) else Less(), config.run.seed
    if len(data.pool) > options.max_pool:
        raise SelectionError(
            f"Strategy 'less' takes a backward pass for each of {len(data.pool)} pool rows: on a CPU some "
            f"{len(data.pool) * SECONDS_A_GRADIENT / 60:.0f} minutes with a model of 270 million weights. Give it a "
            f"smaller pool, or allow for more: --strategy less:max_pool=N (now {options.max_pool})."
        )
    share = options.warmup_share
    adapter = warm_up(data.pool, base=base(), config=config.training, share=share, seed=seed, cache_dir=cache_dir)

    def encode(kind: type[ProjectedGradients], rows: Iterable[Example]) -> Any:
        encoder = kind(base(), adapter, config=config.training, seed=seed)
        return CachedEncoder(encoder, cache_dir, chunk_rows=GRADIENT_CHUNK).encode([row_text(row) for row in rows])

    return Gradients(
        usage=encode(ProjectedGradients, (data.usage[i] for i in answered)),
        usage_rows=np.array(answered, dtype=np.int64),
        pool=encode(ProjectedUpdates, data.pool),
    )
