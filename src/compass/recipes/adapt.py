"""START HERE. The method from end to end: read `adapt` top to bottom.

texts -> encoder -> semantic space -> gap -> selection -> training -> evaluation -> report

Selection never sees a model and training never sees a cluster: they meet here, through the chosen examples. Every
step keeps its result in the run folder and is skipped when it was finished with the same inputs, so the same command
goes on where a killed one stopped.
"""

from __future__ import annotations

import dataclasses
import json
import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from compass.config import AdaptConfig, dump_config
from compass.data.example import Example
from compass.data.licences import announce
from compass.encoders import CachedEncoder
from compass.errors import SelectionError
from compass.runs.folder import Run, file_hash, fingerprint, versions, write_json, write_text
from compass.selection import Candidates, Selection, build_candidates, get_strategy, needs_of
from compass.semantic.arrays import FloatArray
from compass.semantic.space import SemanticSpace
from compass.steps.features import check_ahead, gather_extras
from compass.steps.read import Gathered, gather, with_normal_language
from compass.steps.resources import (
    base_model,
    cache_folder,
    licences_of,
    open_encoder,
    write_selection,
    write_space_notes,
    write_training,
)
from compass.training.balance import number_answers, repeats_in_training
from compass.training.soup import drop_parts, train_averaged, training_inputs

logger = logging.getLogger(__name__)

ADAPTER = "adapter/adapter_model.safetensors"
PICKS = "selection/selected.jsonl"


@dataclass(frozen=True)
class Vectors:
    """Encoder vectors of a run's data, (n, d) float32 unit rows in the order of the data."""

    usage: FloatArray
    current: FloatArray
    pool: FloatArray


@dataclass(frozen=True)
class Placed:
    """A run's data in its semantic space: what every strategy starts from."""

    data: Gathered
    encoder: CachedEncoder
    vectors: Vectors
    space: SemanticSpace


@dataclass(frozen=True)
class Selected(Placed):
    """What selection hands to training, and what the audit needs."""

    selection: Selection
    examples: tuple[Example, ...]
    """The picked rows of the pool, best first."""


@dataclass(frozen=True)
class Adapted:
    """Where a finished run keeps its results."""

    run_dir: Path
    adapter: Path
    report: Path
    evaluations: dict[str, dict[str, Any]]
    """Test name -> {"base": metrics, "adapter": metrics}."""
    differences: tuple[dict[str, Any], ...]
    """adapter − base for each test and metric, with paired intervals."""


def adapt(config: AdaptConfig) -> Adapted:
    """Find what usage needs and the data at hand lacks, fill it from the pool, train an adapter, show what it brought.

    Everything is written to `config.run.output_dir`. Raises CompassError with a message for people; nothing that was
    already computed is lost.
    """
    from compass.report import build_report
    from compass.steps.evaluate import measure

    config = with_normal_language(config)
    check_ahead(config)
    run = Run(Path(config.run.output_dir))
    with run.locked():
        write_text(run.path("compass.yaml"), dump_config(config))
        selected = _select(run, config)

        base = base_model(config)
        adapter = _train(run, config, base, selected)
        evaluations, differences = measure(run, config, base, adapter, selected)
        write_lock(run, config, selected, base)
        write_card(run, config, base, selected, differences)
        report = build_report(run.folder)
    return Adapted(run.folder, adapter, report, evaluations, differences)


def select(config: AdaptConfig) -> Selected:
    """Do the first half alone: pick the rows and write the audit, without a model and without training.

    In a finished run's folder other picks take its adapter out of the lock and its results out of the report; the same
    picks change nothing.
    """
    from compass.report import build_report

    config = with_normal_language(config)
    check_ahead(config, training=False)
    run = Run(Path(config.run.output_dir))
    with run.locked():
        if not (run.folder / ADAPTER).is_file():
            write_text(run.path("compass.yaml"), dump_config(config))
        selected = _select(run, config)
        if not _is_trained_on(run.folder):
            write_text(run.path("compass.yaml"), dump_config(config))
            write_lock(run, config, selected, None)
        build_report(run.folder)
    return selected


def prepare(config: AdaptConfig) -> Placed:
    """Do what all strategies share: read, embed, place, and measure the base model; `compare` starts here."""
    from compass.steps.evaluate import measure_model

    config = with_normal_language(config)
    run = Run(Path(config.run.output_dir))
    with run.locked():
        write_text(run.path("compass.yaml"), dump_config(config))
        placed = _place(run, config)
        measure_model(run, config, base_model(config), "base", None, placed)
    return placed


def _select(run: Run, config: AdaptConfig) -> Selected:
    placed = _place(run, config)

    # 4. What usage needs against what the data has, and the pool's rows that fill the gap.
    return choose(run, config, placed, place_candidates(config, placed))


def _place(run: Run, config: AdaptConfig) -> Placed:
    # 1. Three sets in one schema: usage E, data at hand D, pool A.
    data = gather(run, config.data, seed=config.run.seed)

    # 2. One vector for each text. The cache remembers every text, so a second run embeds nothing.
    encoder = open_encoder(config)
    vectors = embed(encoder, data)

    # 3. One partition of meaning, with language taken out, fitted on E, D and a sample of A.
    strategy = get_strategy(config.selection.strategy)
    space = _fit_space(run, config, data, vectors, encoder, strategy.language_removal)
    return Placed(data, encoder, vectors, space)


def embed(encoder: CachedEncoder, data: Gathered) -> Vectors:
    """Turn the prompts of a run's data into vectors."""
    return Vectors(*(encoder.encode([row.prompt for row in rows]) for rows in (data.usage, data.current, data.pool)))


def _fit_space(
    run: Run,
    config: AdaptConfig,
    data: Gathered,
    vectors: Vectors,
    encoder: CachedEncoder,
    language_removal: str | None,
) -> SemanticSpace:
    options = dataclasses.replace(config.space, language_removal=language_removal or config.space.language_removal)
    inputs = {
        "space": asdict(options),
        "seed": config.run.seed,
        "encoder": [encoder.name, encoder.revision],
        "data": _data_hashes(run),
    }
    if run.finished("space", inputs):
        run.skip("space")
        return SemanticSpace.load(run.folder / "space")
    with run.stage("space", inputs, [run.folder / "space"]):
        sample = np.random.default_rng(config.run.seed).permutation(len(data.pool))[: options.fit_sample]
        rows = [*data.usage, *data.current, *(data.pool[i] for i in np.sort(sample))]
        stacked = np.concatenate([vectors.usage, vectors.current, vectors.pool[np.sort(sample)]])
        languages = [row.language for row in rows]
        space = SemanticSpace.fit(
            stacked,
            languages,
            language_removal=options.language_removal,
            clustering=options.clustering,
            n_clusters=options.n_clusters,
            seed=config.run.seed,
        )
        space.save(run.path("space", "space.json").parent)
        write_space_notes(run, space, rows, stacked, seed=config.run.seed)
    return space


def place_candidates(config: AdaptConfig, placed: Placed) -> Candidates:
    """Gather what the configured strategy may see of a run's data."""
    data, vectors = placed.data, placed.vectors
    current_answers, pool_answers = number_answers(data.current, data.pool)
    candidates = build_candidates(
        placed.space,
        usage=vectors.usage,
        current=vectors.current,
        pool=vectors.pool,
        usage_languages=[row.language for row in data.usage],
        current_languages=[row.language for row in data.current],
        pool_languages=[row.language for row in data.pool],
        pool_costs=_costs(config, data.pool),
        target_language=config.data.language,
        current_answers=current_answers,
        pool_answers=pool_answers,
    )
    extras = gather_extras(
        needs_of(get_strategy(config.selection.strategy)),
        data,
        target_language=config.data.language,
        base=lambda: base_model(config),
        cache_dir=cache_folder(config),
        transfer_results=config.selection.transfer_results,
        config=config,
    )
    return dataclasses.replace(candidates, extras=extras)


def choose(run: Run, config: AdaptConfig, placed: Placed, candidates: Candidates) -> Selected:
    """Let the configured strategy pick, and write the picks and their audit. Raises SelectionError for no pick."""
    selection = get_strategy(config.selection.strategy).select(
        candidates, config.selection.budget, seed=config.run.seed, options=config.selection
    )
    inputs = {
        "selection": asdict(config.selection),
        "space": file_hash(run.folder / "space" / "space.safetensors"),
        "data": _data_hashes(run),
        "picked": fingerprint({"rows": [int(i) for i in selection.indices]}),
    }
    if not len(selection.indices) and config.selection.strategy not in ("target-only",):
        raise SelectionError(
            f"Strategy {selection.strategy!r} found no row in the pool that fills a gap: usage needs "
            f"{int((selection.demand > 0).sum())} clusters, and the pool has no row in any of them. "
            "Add sources to --pool that cover what usage asks for, or try --strategy nearest."
        )
    if run.finished("selection", inputs):
        run.skip("selection")
    else:
        with run.stage("selection", inputs, [run.folder / "selection"]):
            write_selection(run, selection, candidates, placed.data, seed=config.run.seed)
    examples = tuple(placed.data.pool[i] for i in selection.indices)
    return Selected(placed.data, placed.encoder, placed.vectors, placed.space, selection, examples)


def _data_hashes(run: Run) -> dict[str, str]:
    return {name: file_hash(run.path("data", f"{name}.jsonl")) for name in ("usage", "current", "pool")}


def _costs(config: AdaptConfig, pool: Sequence[Example]) -> Any:
    if config.selection.budget_unit == "examples":
        return None
    from compass.training import load_tokenizer, token_counts

    return np.array(token_counts(load_tokenizer(base_model(config)), pool), dtype=np.int64)


def _train(run: Run, config: AdaptConfig, base: Any, selected: Selected) -> Path:
    # The picked rows teach the task in other languages, the rows at hand tie it to the target language: each kind of
    # answer that they have is seen equally often.
    repeats = repeats_in_training(selected.data.current, config.training)
    at_hand = zip(selected.data.current, repeats, strict=True)
    rows = [*selected.examples, *(row for row, times in at_hand for _ in range(times))]
    inputs = training_inputs(config, rows, base)
    adapter = run.folder / "adapter"
    if run.finished("training", inputs):
        run.skip("training")
    else:
        if base.name.startswith("embedded:"):
            announce(base.name.removeprefix("embedded:"))
        with run.stage("training", inputs, [adapter, run.folder / "training"]):
            result = train_averaged(run, config, rows, base)
            write_training(run, result, len(rows), averaged=config.training.averaged_trainings)
    drop_parts(run)
    return adapter


def write_lock(run: Run, config: AdaptConfig, selected: Selected, base: Any) -> None:
    """Write what makes the run repeatable: versions, revisions, hashes, seeds."""
    files = sorted(path for path in (run.folder / "data").rglob("*.jsonl"))
    files += [run.folder / "space" / "space.safetensors", run.folder / PICKS]
    weights = run.folder / ADAPTER
    content: dict[str, Any] = {
        "versions": versions(),
        "seed": config.run.seed,
        "config": fingerprint(asdict(config)),
        "encoder": {"name": selected.encoder.name, "revision": selected.encoder.revision},
        "hashes": {
            str(path.relative_to(run.folder)): file_hash(path)
            for path in [*files, *([weights] if base and weights.is_file() else [])]
        },
        "command": f"compass {'adapt' if base else 'select'} --config compass.yaml",
    }
    content["licences"] = licences_of(config)
    if base:
        content["model"] = {"name": base.name, "revision": base.revision, "licence": base.licence}
    write_json(run.path("lock.json"), content)


def _is_trained_on(folder: Path) -> bool:
    """Say whether the folder's adapter is of the folder's picks, by its lock."""
    lock = folder / "lock.json"
    hashes = json.loads(lock.read_text(encoding="utf-8"))["hashes"] if lock.is_file() else {}
    return ADAPTER in hashes and hashes.get(PICKS) == file_hash(folder / PICKS)


def write_card(
    run: Run, config: AdaptConfig, base: Any, selected: Selected, differences: Sequence[dict[str, Any]]
) -> None:
    """Write the model card beside the adapter."""
    from compass.steps.card import model_card

    text = model_card(config, base, selected.data, selected.selection, differences, run.folder)
    write_text(run.folder / "adapter" / "README.md", text)
