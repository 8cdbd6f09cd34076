"""What usage needs against what the training data has, and the pool's rows that fill the gap."""

from __future__ import annotations

import dataclasses
import logging
from sys import intern
from typing import Any

import numpy as np

from compass.config import AUTO, AdaptConfig, recorded
from compass.data.classes import number_classes
from compass.data.stored_rows import column
from compass.errors import SelectionError
from compass.found_budget import FoundBudget
from compass.runs import layout
from compass.runs.files import file_hash, fingerprint, read_json
from compass.runs.folder import Run
from compass.runs.places import canonical
from compass.selection import Candidates, Caps, Selection, build_candidates, get_strategy, how_many
from compass.steps.audit import read_picks, write_selection
from compass.steps.features import read_features, strategy_files
from compass.steps.lock import is_trained_on_its_picks
from compass.steps.resources import Resources
from compass.steps.state import Placed, RunData, Selected
from compass.steps.stored_data import data_hashes

logger = logging.getLogger(__name__)

PASSED_OVER = "passed over by the first stage (prefilter)"
"""What the audit says of pool rows that the encoder never saw."""
MAY_PICK_NOTHING = ("target-only",)
DEFAULT = AdaptConfig().selection.strategy


def select(run: Run, resources: Resources, placed: Placed) -> Selected:
    """Let the strategy pick, and write the picks and their audit. Raises SelectionError if it picks nothing."""
    return choose(run, resources, placed, place_candidates(resources, placed))


def place_candidates(resources: Resources, placed: Placed) -> Candidates:
    """Return what the strategy may see of a run's data."""
    data, vectors, language = placed.data, placed.vectors, resources.config.data.language
    train_classes, pool_classes = number_classes(data.train, data.pool)
    candidates = build_candidates(
        placed.space,
        usage=vectors.usage,
        train=vectors.train,
        pool=vectors.pool,
        usage_languages=[row.language for row in data.usage],
        train_languages=[row.language for row in data.train],
        pool_languages=[intern(tag) for tag in column(data.pool, "language")],
        pool_costs=_costs(resources, data),
        target_language=language,
        unit=resources.config.selection.budget_unit,
        train_classes=train_classes,
        pool_classes=pool_classes,
        seed=resources.config.run.seed,
    )
    features = read_features(
        resources.strategy,
        data,
        target_language=language,
        base=lambda: resources.base,
        cache_dir=resources.cache,
        config=resources.config,
    )
    return dataclasses.replace(candidates, features=features)


def choose(run: Run, resources: Resources, placed: Placed, candidates: Candidates) -> Selected:
    """Pick from candidates that are placed already; as `select`."""
    config = resources.config
    found = find_budget(resources, candidates) if config.selection.budget == AUTO else None
    budget = found.budget if found else config.selection.budget
    selection = resources.strategy.select(candidates, budget, config.run.seed)
    if placed.data.passed_over:
        selection = dataclasses.replace(selection, notes={**selection.notes, PASSED_OVER: placed.data.passed_over})
    if not len(selection.indices) and selection.strategy not in MAY_PICK_NOTHING:
        raise _nothing_picked(selection)
    inputs = {
        "selection": recorded(config.selection),
        "space": file_hash(run.folder / layout.SPACE_WEIGHTS),
        "data": data_hashes(run),
        "picked": fingerprint({"rows": [int(i) for i in selection.indices]}),
    }
    if files := strategy_files(resources):
        inputs["files"] = fingerprint(files)
    changed = run.changed("selection", inputs)
    stays = changed == {"picked"} and _is_trained_for(run, config)
    if stays:
        logger.info("selection: the same inputs, picked by an earlier version of the strategy; its picks stay")
        selection = read_picks(run, selection, candidates, placed.data)
    if stays or changed == set():
        run.skip("selection")
    else:
        with run.stage("selection", inputs, [run.folder / layout.SELECTION]):
            write_selection(run, selection, candidates, placed.data, seed=config.run.seed, found=found)
    examples = tuple(placed.data.pool[i] for i in selection.indices)
    return Selected(placed.data, placed.vectors, placed.space, selection, examples)


def find_budget(resources: Resources, candidates: Candidates) -> FoundBudget:
    """Find how much to pick. Raises SelectionError where no pick covers more of usage than a random row would.

    It is read from the picks of the default strategy, so that every strategy gets the same budget.
    """
    options, by = resources.config.selection, resources.strategy
    if by.name != DEFAULT:
        by = get_strategy(DEFAULT, Caps(options.language_cap, options.duplicate_similarity))
    found = how_many(candidates, by, resources.config.run.seed)
    if not found.budget:
        raise SelectionError(
            f"--budget auto finds nothing to pick: training data alone serves {100 * found.covered[0]:.0f} % of usage, "
            "and no row of the pool adds more to it than a random one. Give a number to pick anyway, or train on "
            "the training data alone with --strategy target-only and a number."
        )
    logger.info("budget auto: %s", found.summary())
    return found


def _is_trained_for(run: Run, config: AdaptConfig) -> bool:
    """Say whether the run's adapter was trained with this seed and model: then the inputs of its picks are the same."""
    if not is_trained_on_its_picks(run.folder):
        return False
    lock = read_json(run.folder / layout.LOCK, dict)
    name = str(lock.get("model", {}).get("name"))
    return lock.get("seed") == config.run.seed and canonical(name) == canonical(config.training.model_name_or_path)


def _costs(resources: Resources, data: RunData) -> Any:
    """Return what each pool row takes of the budget, (n_A,) tokens; None where the budget is in examples."""
    if resources.config.selection.budget_unit == "examples":
        return None
    from compass.training import token_counts

    return np.array(token_counts(resources.tokenizer, data.pool), dtype=np.int64)


def _nothing_picked(selection: Selection) -> SelectionError:
    return SelectionError(
        f"Strategy {selection.strategy!r} found no row in the pool that fills a gap: usage needs "
        f"{int((selection.demand > 0).sum())} clusters, and the pool has no row in any of them. "
        "Add sources to --pool that cover what usage asks for, or try --strategy nearest."
    )
