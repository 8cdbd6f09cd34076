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
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from compass.config import AdaptConfig, MonitorConfig, load_config
from compass.data.example import Example
from compass.data.languages import UNDETERMINED, from_any, same_language
from compass.data.readers import read_examples, read_jsonl
from compass.drift import (
    InputBatch,
    Monitor,
    Observed,
    Reference,
    check_config,
    check_path,
    describe,
    read_files,
    read_stream,
)
from compass.encoders import CachedEncoder
from compass.errors import LanguageError, RunError
from compass.runs.folder import Run, file_hash, fingerprint
from compass.semantic import SemanticSpace
from compass.steps.read import columns_of, with_normal_language
from compass.steps.resources import open_encoder

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
    check_source(source)
    run = Run(Path(run_dir))
    config = config_of(run.folder)
    encoder = open_encoder(config)
    names, examples = clusters_of(run.folder)

    # 2. What usage looked like then.
    fitted = reference_of(run.folder, run, config, encoder, reference)

    # 3. The state goes on where it ended; what was counted is not counted again.
    database = options.database or f"sqlite:///{run.path('monitor', 'state.db').resolve()}"
    with Monitor(
        fitted, options, database=database, name=name, cluster_names=names, reference_examples=examples,
        restart=restart, seed=config.run.seed,
    ) as watching:  # fmt: skip
        # 4. Batch by batch: encode, count, look, tell.
        skipped, before = 0, watching.status()["prompts"]
        for batch in batches_of(source, watching, options, follow=follow, stop=stop):
            if batch is None:
                watching.purge()
                continue
            skipped += batch.skipped
            for event in count(watching, encoder, batch, config.data.language).events:
                told = event.to_dict()
                yield {"event": told.pop("kind"), "summary": describe(event), **told}
        status = watching.status()
        yield {"event": "status", **status, "new_prompts": status["prompts"] - before, "skipped_lines": skipped}


def count(watching: Monitor, encoder: CachedEncoder, batch: InputBatch, language: str) -> Observed:
    """Encode a batch, with no trace in the cache on disk, and let the monitor count it. language: of untagged rows."""
    texts = [record.prompt for record in batch.records]
    dimensions = watching.reference.space.dimensions
    return watching.observe(
        encoder.encoder.encode(texts) if texts else np.empty((0, dimensions), dtype=np.float32),
        [_tag(record.language, language) for record in batch.records],
        texts=texts,
        losses=[record.loss for record in batch.records],
        position=batch.position,
    )


def config_of(folder: Path) -> AdaptConfig:
    """Read a run folder's options. Raises RunError if it is none."""
    path = folder / "compass.yaml"
    if not path.is_file():
        raise RunError(f"{folder} is no run folder: it has no compass.yaml. Make one with compass adapt.")
    return with_normal_language(load_config(path))


def clusters_of(folder: Path) -> tuple[list[str], dict[int, list[str]]]:
    """Return the clusters' names and example texts; both are empty where the run has none."""
    path = folder / "space" / "clusters.json"
    if not path.is_file():
        return [], {}
    rows = json.loads(path.read_text(encoding="utf-8"))
    return [row["name"] for row in rows], {row["cluster"]: row["examples"] for row in rows}


def reference_of(folder: Path, run: Run, config: AdaptConfig, encoder: CachedEncoder, source: str = "") -> Reference:
    """Fit the reference of a run folder, or read it back if that was done with the same prompts, space and encoder.

    run: where it is kept, below `monitor`: the run folder itself, or one beside it where that may not be written to.
    """
    rows = _reference_rows(folder, config, source)
    inputs = {
        "rows": fingerprint({"rows": [[row.prompt, row.language] for row in rows]}),
        "space": file_hash(folder / "space" / "space.safetensors"),
        "encoder": [encoder.name, encoder.revision],
    }
    target = run.folder / "monitor" / "reference"
    with run.locked():
        if run.finished("reference", inputs):
            run.skip("reference")
            return Reference.load(target)
        with run.stage("reference", inputs, [target]):
            space = SemanticSpace.load(folder / "space")
            vectors = encoder.encode([row.prompt for row in rows])
            fitted = Reference.fit(space, vectors, [row.language for row in rows], seed=config.run.seed)
            fitted.save(target)
    return fitted


def _reference_rows(folder: Path, config: AdaptConfig, source: str) -> Sequence[Example]:
    if source:
        rows = read_examples([source], columns=columns_of(config.data, "usage"))
        return [row.with_language(_tag(row.language, config.data.language)) for row in rows]
    data = folder / "data"
    if not (data / "tests.json").is_file():
        raise RunError(f"{folder} holds no usage to compare with. Finish its run, or give reference prompts.")
    names = json.loads((data / "tests.json").read_text(encoding="utf-8"))
    # An update whose usage has no responses is tested on earlier usage alone, which is not its own.
    own = config.data.language
    held_out = read_jsonl(data / "tests" / f"{own}.jsonl") if own in names else []
    if len(held_out) >= ENOUGH_HELD_OUT:
        return held_out
    logger.warning(
        "The run has %d held-out usage rows, so the reference takes those that the space was fitted on too. "
        "These lie closer to the clusters than later prompts will. Give 300 prompts of fresh usage as the reference.",
        len(held_out),
    )
    return [*held_out, *read_jsonl(data / "usage.jsonl")]


def batches_of(
    source: str, watching: Monitor, options: MonitorConfig, *, follow: bool, stop: Callable[[], bool]
) -> Iterator[InputBatch | None]:
    """Yield what a source holds beyond what was counted; None where a followed source holds nothing new."""
    size = options.monitor_batch_size
    if source == STDIN:
        return read_stream(sys.stdin.buffer, batch_size=size)
    return read_files(source, watching.offsets(), batch_size=size, follow=follow, stop=stop)


def check_source(source: str) -> None:
    """Raise DataError if a source is neither standard input nor a file or folder that is there."""
    if source != STDIN:
        check_path(source)


@lru_cache(maxsize=4096)
def _tag(language: str, default: str) -> str:
    """Return a prompt's tag: the adapter's language where it has none or one of that, else its own, or `und`."""
    if language in ("", UNDETERMINED):
        return default
    try:
        tag = from_any(language)
    except LanguageError:
        return UNDETERMINED
    return default if same_language(tag, default) else tag
