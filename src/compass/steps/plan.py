"""What a run would do, how much of it, and about how long: `--dry-run`."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compass.config import AUTO, AdaptConfig, SelectionConfig
from compass.encoders import load_encoder
from compass.progress import duration
from compass.runs import layout
from compass.selection import PICKS_FOR_A_NEED
from compass.steps.evaluate import measured_tests
from compass.steps.inspect import Inspected, inspect_sets
from compass.steps.lengths import SETS, measure, without
from compass.steps.preflight import preflight
from compass.steps.read import clean, read
from compass.steps.resources import Resources
from compass.steps.state import RunData
from compass.steps.train import settled

SHAPED_BY = 1_000
"""Rows of the pool whose responses say what those of the picks will be."""
ROWS_PER_SECOND_AND_CORE = 150
"""Short prompts through the embedded encoder; measured, see LOG.md."""
TOKENS_PER_SECOND_AND_CORE = 70
"""Training tokens with Gemma 3 270M in float32; measured, see LOG.md."""
CORES_THAT_HELP = 8
"""Beyond these neither of the two gets much faster on rows this short."""
TOKENS_PER_ROW = 20
"""Of an assistant command with its function call."""


@dataclass(frozen=True)
class Step:
    """One step of a plan."""

    name: str
    what: str
    estimate: str
    sources: tuple[Inspected, ...] = ()
    """Of the first step: how each source of rows is understood."""

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dict."""
        told: dict[str, Any] = {"step": self.name, "what": self.what, "estimate": self.estimate}
        return told | ({"sources": [source.to_dict() for source in self.sources]} if self.sources else {})


def plan(config: AdaptConfig) -> list[Step]:
    """Read and clean the data, then say what each step would do; nothing is written to the run folder.

    Raises the errors that the run would raise for its data, its strategy's files and its model.
    """
    resources = Resources(config)
    config = resources.config
    training, encoder, selection = config.training, config.encoder, config.selection
    # A model of the hub is asked for when the run starts: a plan needs no network.
    name = training.model_name_or_path
    preflight(resources, training=name.startswith("embedded:") or Path(name).is_dir())
    from compass.training.balance import class_repeats

    found = read(config.data, config.run.seed)
    data, cleaned = clean(found, config.data, config.run.seed)
    sources = tuple(inspect_sets(found, cleaned, config.data.language))
    n_dropped = sum(sum(result.counts.values()) for result in cleaned.values())
    dropped = f"dropped {n_dropped}" + (f", each to be named in {layout.DROPPED}" if n_dropped else "")
    if config.data.redact:
        dropped += f", private data replaced in {sum(result.redacted for result in cleaned.values())}"
    data, tokens = _fitting(resources, data)
    cores = min(os.cpu_count() or 1, CORES_THAT_HELP)
    texts = [row.prompt for rows in (data.usage, data.train, data.pool, *data.tests.values()) for row in rows]
    missing, encoding = len(texts), "not estimated for this encoder"
    if encoder.encoder == "embedded":
        missing = len(load_encoder(encoder, resources.cache).missing(texts))
    first_stage = ""
    if 0 < selection.prefilter < len(data.pool):
        missing = min(missing, len(texts) - len(data.pool) + selection.prefilter)
        first_stage = f"; a first stage ranks the pool and lets {selection.prefilter} of {len(data.pool)} rows through"
    if encoder.encoder == "embedded":
        encoding = duration(missing / (ROWS_PER_SECOND_AND_CORE * cores))
    n_rows = _picks(config, len(data.pool), len(data.usage)) + sum(class_repeats(data.train, training.class_balance))
    seen = n_rows * training.epochs
    steps, epochs = training.optimiser_steps(n_rows), f"{training.epochs:g} epochs, "
    if training.max_steps > 0:
        seen, epochs = training.max_steps * training.rows_per_step, ""
    may_go_on = settled(training, [*data.train, *data.pool[:SHAPED_BY]]).may_go_on
    longer = ", or half as many again if they are not learned by then" if may_go_on else ""
    rows = f"about {n_rows} rows, {epochs}{steps} steps{longer}"
    fitting = evaluating = "not estimated for this model"
    if (n := training.averaged_trainings) > 1:
        seen, rows = n * seen, f"{rows}, {n} trainings averaged"
    if training.model_name_or_path.startswith("embedded:"):
        fitting, evaluating = duration(training_seconds(seen)), "two to four minutes"
    tests = ", ".join(f"{name} {len(rows)}" for name, rows in data.tests.items()) or "none"
    sizes = f"usage {len(data.usage)}, training data {len(data.train)}, pool {len(data.pool)}; tests: {tests}"
    removal = resources.strategy.language_removal or config.space.language_removal
    return [
        Step("data", f"{sizes}; {dropped}; {tokens}", "done", sources),
        Step("embedding", _to_embed(missing, len(texts)) + first_stage, encoding),
        Step("space", f"{config.space.clustering}, language removal {removal}", "under a minute"),
        Step("selection", f"{selection.strategy}, {_budget(selection)}", "seconds"),
        Step("training", f"{training.model_name_or_path}, {rows}", fitting),
        Step("evaluation", _to_evaluate(len(measured_tests(config, data))), evaluating),
        Step("report", str(Path(config.run.output_dir) / layout.REPORT), "seconds"),
    ]


def _to_embed(missing: int, texts: int) -> str:
    return f"{texts} texts" if missing == texts else f"{missing} of {texts} texts; the others are in the cache"


def _to_evaluate(tests: int) -> str:
    return f"base and adapter on {tests} test{'s' * (tests != 1)}" if tests else "none: no held-out row has a response"


def _fitting(resources: Resources, data: RunData) -> tuple[RunData, str]:
    """Return the data without rows that are too long for the model, and what to say of them.

    Raises DataError for rows that the model's chat template refuses, if the tokenizer is on this machine.
    """
    longest = resources.config.training.max_length
    if resources.tokenizer_at_hand is None:
        return data, f"rows above {longest} tokens (max_length) are counted once the model is there"
    found = measure(resources.tokenizer_at_hand, data, longest)
    counts = ", ".join(f"{len(of_set.places)} of {SETS[name]}" for name, of_set in found.items())
    return without(data, found), f"left out above {longest} tokens (max_length): {counts}"


def _picks(config: AdaptConfig, pool: int, usage: int) -> int:
    """Return about how many of the pool's rows will be picked; tokens are taken for those of a short row."""
    selection = config.selection
    if selection.strategy in ("target-only", "all"):
        return pool if selection.strategy == "all" else 0
    if selection.budget == AUTO:
        # At most: so many rows count for each usage row.
        return min(pool, PICKS_FOR_A_NEED * usage)
    return min(pool, selection.budget // (TOKENS_PER_ROW if selection.budget_unit == "tokens" else 1))


def training_seconds(rows: float, cores: int = 0) -> float:
    """Estimate the seconds that an embedded model trains on so many rows, epochs counted, on cores (0: all)."""
    cores = min(cores or os.cpu_count() or 1, CORES_THAT_HELP)
    return rows * TOKENS_PER_ROW / (TOKENS_PER_SECOND_AND_CORE * cores)


def _budget(selection: SelectionConfig) -> str:
    if selection.budget == AUTO:
        return f"as many {selection.budget_unit} as help usage"
    return f"{selection.budget} {selection.budget_unit}"
