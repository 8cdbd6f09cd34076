"""One call for every way to update an adapter; what each is made of stands in UPDATE_METHODS."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Sequence
from pathlib import Path

from compass.config import UPDATE_METHODS, TrainingConfig, UpdateConfig
from compass.data.example import Example
from compass.errors import ConfigError, ModelError
from compass.runs import layout
from compass.training.adapters import adapter_rank
from compass.training.merging import check_mergeable, merge_adapters
from compass.training.models import BaseModel
from compass.training.retention.fisher import Fisher
from compass.training.trainer import Retention, TrainingResult, train


def update_adapter(
    new_rows: Sequence[Example],
    *,
    adapter: Path,
    base: BaseModel,
    config: TrainingConfig,
    options: UpdateConfig,
    output_dir: Path,
    seed: int,
    history: Sequence[Example] = (),
    anchors: Sequence[Example] = (),
    fisher: Fisher | None = None,
) -> TrainingResult:
    """Update an adapter by `options.method` and save the result in `output_dir/adapter`.

    adapter: the serving adapter, which is left as it is. history: rows that earlier versions were trained on, for
    `retrain`. anchors: rows of the history, for the methods with replay (drawn as the method's `replay` says). fisher:
    of the serving adapter, for the methods with a penalty. What a method does not use is ignored, so that the same call
    serves every method. Resumes as `train` does. Raises ConfigError if a method's ingredient is missing, and what
    `train` and `merge_adapters` raise.
    """
    method = UPDATE_METHODS[options.method]
    missing = [
        name
        for name, needed, given in (
            ("history", method.all_history, history),
            ("anchors", method.replay, anchors),
            ("fisher", method.penalty, fisher),
        )
        if needed and not given
    ]
    if missing:
        raise ConfigError(f"method {options.method!r} needs {' and '.join(missing)}, and none was given")
    if method.merge:
        check_mergeable(adapter, base)
        _check_rank(adapter, config)
        # Another folder than the result's: what is trained is one of two parts.
        work = output_dir / "before-merge"
    else:
        work = output_dir
    retention = Retention(
        fisher=fisher if method.penalty else None,
        ewc_lambda=options.ewc_lambda,
        anchors=anchors if method.replay else (),
        replay_weight=options.replay_weight,
        replay_batch_size=options.replay_batch_size,
    )
    result = train(
        [*history, *new_rows] if method.all_history else new_rows,
        base=base,
        # What an update costs was measured at a fixed length, a fresh adapter's too.
        config=dataclasses.replace(
            config, adapter="" if method.fresh else str(adapter), num_train_epochs=config.epochs
        ),
        output_dir=work,
        seed=seed,
        retention=retention,
    )
    if not method.merge:
        return result
    merged = merge_adapters(
        [adapter, result.adapter],
        base=base,
        folder=output_dir / layout.ADAPTER,
        load_in_4bit=config.load_in_4bit,
    )
    shutil.rmtree(work)
    return dataclasses.replace(result, adapter=merged)


def _check_rank(adapter: Path, config: TrainingConfig) -> None:
    """Raise ModelError if the merge would have a rank that the server refuses: TIES keeps the adapter's."""
    rank = adapter_rank(adapter)
    if rank > config.max_serving_rank:
        raise ModelError(
            f"The merged adapter would have rank {rank}, and max_serving_rank is {config.max_serving_rank}. "
            "Raise max_serving_rank if your server takes more."
        )
