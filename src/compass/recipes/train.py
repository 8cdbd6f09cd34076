"""Training by itself: an adapter on given rows, without selection."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from compass.config import AdaptConfig
from compass.data.cleaning import NO_RESPONSE
from compass.data.example import Dropped
from compass.data.readers import SourceAccount, read_examples
from compass.runs import layout
from compass.runs.files import write_jsonl
from compass.runs.folder import Run
from compass.steps.lengths import check_rows, dropped_as_too_long
from compass.steps.read import columns_of, with_responses
from compass.steps.resources import Resources, start_adapter
from compass.steps.train import trained, training_payload, write_training


def train_on(config: AdaptConfig, sources: Sequence[str]) -> tuple[Path, dict[str, Any]]:
    """Train an adapter on the rows of `sources`; return its folder and what the training cost.

    Raises DataError with file and line for input that can't be used, ModelError for the model's side.
    """
    from compass.training.soup import check_trainable, drop_parts

    resources = Resources(config)
    config = resources.config
    accounts: list[SourceAccount] = []
    columns = columns_of(config.data, "train")
    found = read_examples(list(sources), columns=columns, require_response=True, accounts=accounts)
    rows = with_responses("training data", found)
    run = Run(Path(config.run.output_dir))
    with run.locked():
        base = resources.base
        check_trainable(config.training, base)
        lengths = check_rows(resources.tokenizer, "the training data", rows)
        dropped = [row for account in accounts for row in account.dropped]
        dropped += [Dropped(row.id, NO_RESPONSE, "", row.place) for row in found if not row.response.strip()]
        dropped += dropped_as_too_long(rows, lengths, config.training.max_length)
        write_jsonl(run.path(layout.DROPPED), ({"set": "train", **row.to_dict()} for row in dropped))
        payload = training_payload(config, rows, base) | start_adapter(config)
        result = trained(config, rows, base, run.folder, payload)
        summary = write_training(run, result, len(rows), averaged=config.training.averaged_trainings)
        drop_parts(run.folder)
    return result.adapter, summary
