"""Texts to vectors, and the semantic space that they lie in."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import cast

import numpy as np

from compass.data.example import Example
from compass.data.stored_rows import column
from compass.encoders import CachedEncoder
from compass.engines import is_elsewhere
from compass.errors import EncoderError, RunError
from compass.runs import layout
from compass.runs.files import file_hash, write_json
from compass.runs.folder import Run
from compass.runs.places import same_place
from compass.selection import LARGE_POOL
from compass.semantic.arrays import FloatArray, row_chunks
from compass.semantic.diagnostics import diagnose, name_clusters
from compass.semantic.space import SemanticSpace
from compass.steps.prefilter import keep_nearest
from compass.steps.resources import Resources
from compass.steps.state import Placed, RunData, Vectors
from compass.steps.stored_data import data_hashes

ALIKE = 1e-5
"""Largest difference in any dimension between vectors that are the same but for rounding."""


def place(run: Run, resources: Resources, data: RunData) -> Placed:
    """Embed a run's data and fit its semantic space."""
    # Of a large pool the encoder sees what a first, fast stage lets through, where the options ask for one.
    data = keep_nearest(run, resources, data)
    # One vector for each text. The cache remembers every text, so a second run embeds nothing.
    vectors = embed(resources.encoder, data)
    # One partition of meaning, with language taken out, fitted on E, D and a sample of A.
    return Placed(data, vectors, _fit(run, resources, data, vectors))


def place_in(run: Run, resources: Resources, data: RunData, parent: Path, fitted_with: Sequence[str]) -> Placed:
    """Embed a run's data and place it in the frozen space of another run folder, which is copied.

    fitted_with: name and revision of the encoder that the space was fitted with. Raises RunError for another one.
    """
    encoder = resources.encoder
    name, revision = fitted_with
    if not same_place((encoder.name, encoder.revision), (name, revision)):
        raise RunError(
            f"The space of {parent} was fitted with the encoder {name} ({revision}), and {encoder.name} "
            f"({encoder.revision}) was loaded. Use the same encoder, or make a new run with compass adapt."
        )
    data = keep_nearest(run, resources, data)
    vectors = embed(encoder, data)
    inputs = {"space": file_hash(parent / layout.SPACE_WEIGHTS)}
    target = run.folder / layout.SPACE
    if run.finished("space", inputs):
        run.skip("space")
    else:
        with run.stage("space", inputs, [target]):
            shutil.rmtree(target, ignore_errors=True)
            shutil.copytree(parent / layout.SPACE, target)
    return Placed(data, vectors, SemanticSpace.load(target))


def embed(encoder: CachedEncoder, data: RunData) -> Vectors:
    """Turn the prompts of a run's data into vectors; those of a large pool stay in the cache's file.

    Raises EncoderError if they are all the same.
    """
    sets = (data.usage, data.train, data.pool)
    if is_elsewhere():
        # All at once: workers load the encoder once.
        encoder.stored([prompt for rows in sets for prompt in column(rows, "prompt")])
    usage, train = (encoder.encode([row.prompt for row in rows]) for rows in sets[:2])
    prompts = column(data.pool, "prompt")
    large = len(prompts) >= LARGE_POOL
    vectors = Vectors(usage, train, cast(FloatArray, encoder.stored(prompts)) if large else encoder.encode(prompts))
    if _alike(vectors) and (texts := len({prompt for rows in sets for prompt in column(rows, "prompt")})) > 1:
        raise EncoderError(
            f"The encoder {encoder.name} gives the same vector for all of {texts} different texts, so nothing can be "
            "told apart. Check the encoder's model and address, or choose another --encoder."
        )
    return vectors


def _alike(vectors: Vectors) -> bool:
    """Say whether all vectors are the same; in chunks, for almost always the first one says that they aren't."""
    sets = (vectors.usage, vectors.train, vectors.pool)
    first = next((part[0] for part in sets if len(part)), np.empty(0, dtype=np.float32))
    return all(bool((np.abs(part[rows] - first) < ALIKE).all()) for part in sets for rows in row_chunks(len(part)))


def _fit(run: Run, resources: Resources, data: RunData, vectors: Vectors) -> SemanticSpace:
    config, encoder = resources.config, resources.encoder
    removal = resources.strategy.language_removal or config.space.language_removal
    options = dataclasses.replace(config.space, language_removal=removal)
    inputs = {
        "space": asdict(options),
        "seed": config.run.seed,
        "encoder": [encoder.name, encoder.revision],
        "data": data_hashes(run),
    }
    if data.passed_over:
        inputs["prefilter"] = len(data.pool)
    if run.finished("space", inputs):
        run.skip("space")
        return SemanticSpace.load(run.folder / layout.SPACE)
    with run.stage("space", inputs, [run.folder / layout.SPACE]):
        sample = np.sort(np.random.default_rng(config.run.seed).permutation(len(data.pool))[: options.fit_sample])
        rows = [*data.usage, *data.train, *(data.pool[i] for i in sample)]
        stacked = np.concatenate([vectors.usage, vectors.train, vectors.pool[sample]])
        space = SemanticSpace.fit(
            stacked,
            [row.language for row in rows],
            language_removal=options.language_removal,
            clustering=options.clustering,
            n_clusters=options.n_clusters,
            seed=config.run.seed,
        )
        space.save(run.path(layout.SPACE_SETTINGS).parent)
        _write_notes(run, space, rows, stacked, seed=config.run.seed)
    return space


def _write_notes(run: Run, space: SemanticSpace, rows: Sequence[Example], vectors: FloatArray, *, seed: int) -> None:
    """Write the diagnostics of a fitted space and the names of its clusters."""
    languages = [row.language for row in rows]
    labels = [row.label for row in rows]
    diagnostics = diagnose(space, vectors, languages, labels=labels if any(labels) else None, seed=seed)
    write_json(run.path(layout.DIAGNOSTICS), diagnostics.to_dict())
    names = name_clusters(space, vectors, languages, [row.prompt for row in rows])
    write_json(run.path(layout.CLUSTER_NAMES), [name.to_dict() for name in names])
