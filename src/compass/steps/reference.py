"""What a monitor needs of the run folder whose adapter serves: its options, its clusters, and the usage of its time."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from compass.config import AdaptConfig, MonitorConfig, load_stored
from compass.data.example import Example
from compass.data.languages import UNDETERMINED, from_any, same_language
from compass.data.readers import read_examples, read_jsonl
from compass.drift import Reference
from compass.encoders import CachedEncoder
from compass.errors import LanguageError, RunError
from compass.runs import layout
from compass.runs.files import file_hash, fingerprint, read_json
from compass.runs.folder import Run
from compass.semantic.space import SemanticSpace
from compass.steps.read import columns_of
from compass.steps.stored_data import stored_tests

logger = logging.getLogger(__name__)

ENOUGH_HELD_OUT = 100
"""Held-out rows that make a reference by themselves; with fewer, the rows that the space was fitted on join [ours]."""


def config_of(folder: Path, *, allow_endpoint: str = "") -> AdaptConfig:
    """Read a run folder's options, to go on with them: see `load_stored`. Raises RunError if it is none."""
    path = folder / layout.CONFIG
    if not path.is_file():
        raise RunError(f"{folder} is not a run folder: compass.yaml is missing. Make a run with compass adapt.")
    return load_stored(path, allow_endpoint=allow_endpoint)


def clusters_of(folder: Path) -> tuple[list[str], dict[int, list[str]]]:
    """Return the clusters' names and example texts; both are empty where the run has none."""
    path = folder / layout.CLUSTER_NAMES
    if not path.is_file():
        return [], {}
    rows = read_json(path, list)
    try:
        names = [_in_languages(str(row["name"]), row.get("other_languages", {})) for row in rows]
        return names, {int(row["cluster"]): list(row["examples"]) for row in rows}
    except (LookupError, TypeError, ValueError) as error:
        raise RunError(f"{path} is damaged ({error!r}): it doesn't name the clusters. Restore the file.") from error


def _in_languages(name: str, others: Mapping[str, Sequence[str]]) -> str:
    """Return a topic's name with its terms in other languages behind it."""
    said = [f"{tag}: {' · '.join(terms)}" for tag, terms in others.items() if terms and " · ".join(terms) not in name]
    return f"{name} ({'; '.join(said)})" if said else name


def known_text(examples: Mapping[int, Sequence[str]]) -> str:
    """Return an example text of a cluster, which the run's encoder took; empty if there is none."""
    return next((text for texts in examples.values() for text in texts), "")


def reference_of(
    folder: Path,
    run: Run,
    config: AdaptConfig,
    encoder: CachedEncoder,
    source: str = "",
    *,
    window: int = MonitorConfig.window,
) -> Reference:
    """Fit the reference of a run folder, or read it back if that was done with the same prompts, space and encoder.

    run: where it is kept, below `monitor`: the run folder itself, or one beside it where that may not be written to;
    window: of the monitor, for what one session repeats.
    """
    rows = _reference_rows(folder, config, source)
    inputs: dict[str, Any] = {
        "rows": fingerprint({"rows": [[row.prompt, row.language] for row in rows]}),
        "space": file_hash(folder / layout.SPACE_WEIGHTS),
        "encoder": [encoder.name, encoder.revision],
    }
    # Rows without either have the identity that version 0.1 gave them.
    if arrivals := [row.arrival() for row in rows if row.arrival()]:
        inputs["arrival"] = fingerprint({"rows": arrivals})
    if window != MonitorConfig.window and any(row.session for row in rows):
        inputs["window"] = window
    target = run.folder / layout.REFERENCE
    with run.locked():
        if run.finished("reference", inputs):
            run.skip("reference")
            return Reference.load(target)
        with run.stage("reference", inputs, [target]):
            space = SemanticSpace.load(folder / layout.SPACE)
            vectors = encoder.encode([row.prompt for row in rows])
            fitted = Reference.fit(
                space, vectors, [row.language for row in rows], seed=config.run.seed,
                texts=[row.prompt for row in rows], sessions=[row.session for row in rows],
                # Held-out rows were drawn: their order says nothing.
                times=[row.at for row in rows], ordered=bool(source), window=window,
            )  # fmt: skip
            fitted.save(target)
    return fitted


def _reference_rows(folder: Path, config: AdaptConfig, source: str) -> Sequence[Example]:
    if source:
        rows = read_examples([source], columns=columns_of(config.data, "usage"))
        return [row.with_language(prompt_language(row.language, config.data.language)) for row in rows]
    if not (folder / layout.TEST_NAMES).is_file():
        raise RunError(f"{folder} has no held-out usage to compare with. Finish its run, or give reference prompts.")
    # An update whose usage has no responses is tested on earlier usage alone, which is not its own.
    held_out = stored_tests(folder).get(config.data.language, ())
    if len(held_out) >= ENOUGH_HELD_OUT:
        return held_out
    logger.warning(
        "The run has only %d held-out usage rows, so the rows that the space was fitted on join the reference. They "
        "lie closer to the clusters than new prompts will. Give 300 prompts of fresh usage as the reference.",
        len(held_out),
    )
    return [*held_out, *read_jsonl(folder / layout.USAGE)]


@lru_cache(maxsize=4096)
def prompt_language(language: str, default: str) -> str:
    """Return a prompt's tag: the adapter's language where it has none or one of that, else its own, or `und`."""
    if language in ("", UNDETERMINED):
        return default
    try:
        tag = from_any(language)
    except LanguageError:
        return UNDETERMINED
    return default if same_language(tag, default) else tag
