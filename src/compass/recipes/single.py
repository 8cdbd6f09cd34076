"""The two halves of the model side alone: train on given rows, evaluate on given rows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from compass.config import AdaptConfig
from compass.data.readers import read_examples
from compass.evaluation import compare, evaluate, write_differences, write_evaluation
from compass.recipes.stages import Run
from compass.recipes.storage import base_model, write_training


def train_on(config: AdaptConfig, sources: Sequence[str]) -> tuple[Path, dict[str, Any]]:
    """Train an adapter on the rows of `sources`; return its folder and what the training cost.

    Raises DataError with file and line for input that can't be used, ModelError for the model's side.
    """
    from compass.training import train

    rows = read_examples(list(sources), columns=config.data.columns or None, require_response=True)
    run = Run(Path(config.run.output_dir))
    with run.locked():
        result = train(
            rows, base=base_model(config), config=config.training, output_dir=run.folder, seed=config.run.seed
        )
        summary = write_training(run, result, len(rows))
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
    base = base_model(config)
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
