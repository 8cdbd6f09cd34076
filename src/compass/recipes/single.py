"""The two halves of the model side alone: train on given rows, evaluate on given rows."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from compass.config import AdaptConfig
from compass.data.readers import read_examples
from compass.evaluation import compare, evaluate, write_differences, write_evaluation
from compass.recipes.stages import Run, write_json, write_text
from compass.recipes.storage import cache_folder


def train_on(config: AdaptConfig, sources: Sequence[str]) -> tuple[Path, dict[str, Any]]:
    """Train an adapter on the rows of `sources`; return its folder and what the training cost.

    Raises DataError with file and line for input that can't be used, ModelError for the model's side.
    """
    from compass.training import train

    rows = read_examples(list(sources), columns=config.data.columns or None, require_response=True)
    run = Run(Path(config.run.output_dir))
    with run.locked():
        result = train(rows, base=_base(config), config=config.training, output_dir=run.folder, seed=config.run.seed)
        write_text(run.path("training", "log.jsonl"), "".join(json.dumps(entry) + "\n" for entry in result.log))
        summary = {
            "train_seconds": round(result.train_seconds, 2),
            "rows": len(rows),
            "tokens": result.tokens,
            "steps": result.steps,
            "trainable_parameters": result.trainable_parameters,
        }
        write_json(run.path("training", "result.json"), summary)
    return result.adapter, summary


def evaluate_on(config: AdaptConfig, sources: Sequence[str]) -> tuple[dict[str, dict[str, Any]], list[dict[str, Any]]]:
    """Evaluate the base model, and with `adapter` the adapter against it, on the rows of each source.

    Returns metrics by test and model, and paired differences (empty without an adapter). Also written to
    `output_dir/eval`. Raises DataError for a file without responses, ModelError if adapter and model do not fit.
    """
    from compass.training import LanguageModel

    tests = {
        Path(source).name.split(".")[0]: read_examples(
            source, columns=config.data.columns or None, require_response=True
        )
        for source in sources
    }
    base = _base(config)
    folders: dict[str, Path | None] = {"base": None}
    if config.training.adapter:
        folders["adapter"] = Path(config.training.adapter)
    output = Path(config.run.output_dir) / "eval"
    done: dict[str, dict[str, Any]] = {}
    for model_name, folder in folders.items():
        model = LanguageModel(base, folder, dtype=config.training.dtype)
        done[model_name] = {}
        for name, rows in tests.items():
            result = evaluate(
                model, rows, name=name, language=rows[0].language, config=config.evaluation, seed=config.run.seed
            )
            write_evaluation(result, output / model_name)
            done[model_name][name] = result
    metrics = {name: {model: done[model][name].to_dict()["metrics"] for model in done} for name in tests}
    differences = []
    if "adapter" in done:
        differences = [d for name in tests for d in compare(done["base"][name], done["adapter"][name])]
        write_differences(differences, output / "differences.json")
    return metrics, [difference.to_dict() for difference in differences]


def _base(config: AdaptConfig) -> Any:
    from compass.training import resolve_model

    return resolve_model(
        config.training.model_name_or_path,
        revision=config.training.model_revision,
        cache_dir=cache_folder(config),
        trust_remote_code=config.training.trust_remote_code,
    )
