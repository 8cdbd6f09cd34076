"""How far trainings on the very same rows lie apart, and what brings them closer together.

    compass select --language cy --seed 3 --output-dir runs/noise/cy-3
    python experiments/training_noise.py runs/noise/cy-3 --recipes default low-rate --repeats 4
    python experiments/training_noise.py runs/noise/cy-3 --summary

Each training has its own seed, which orders the rows and starts the adapter; rows, model and test stay. The first one
has the run's: where the run has an adapter, that is the default's first training. Scored besides:
the mean of a training's weights over its last steps (`tail-…`), and the mean of several trainings of a recipe
(`mean-of-…`, an exact average of what the adapters add to the base weights; no adapter is in two). One JSON line each;
what is there is not done again.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import shutil
from collections import defaultdict
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.torch import save_file
from transformers import TrainerCallback

from compass.config import load_stored
from compass.data.classes import class_of
from compass.data.readers import read_jsonl
from compass.evaluation import evaluate
from compass.steps.resources import Resources
from compass.training import LanguageModel, merge_adapters, train
from compass.training.balance import class_repeats, repeated
from compass.training.weight_average import AveragedWeights, tail

RECIPES: dict[str, dict[str, Any]] = {
    "default": {},
    "two-epochs": {"num_train_epochs": 2.0},
    "low-rate": {"learning_rate": 2e-4},
    "high-rate": {"learning_rate": 1e-3},
    "constant": {"lr_scheduler_type": "constant_with_warmup"},
    "three-epochs": {"num_train_epochs": 3.0},
    "four-epochs": {"num_train_epochs": 4.0},
    "four-epochs-low-rate": {"num_train_epochs": 4.0, "learning_rate": 2e-4},
    "three-epochs-constant": {"num_train_epochs": 3.0, "lr_scheduler_type": "constant_with_warmup"},
    "stretched-to-three": {"num_train_epochs": 3.0},
    "stretched-to-four": {"num_train_epochs": 4.0},
    "four-epochs-batch-16": {"num_train_epochs": 4.0, "per_device_train_batch_size": 16},
    "batch-4": {"per_device_train_batch_size": 4},
    "batch-16": {"per_device_train_batch_size": 16},
    "dropout": {"lora_dropout": 0.1},
    "rank-64": {"lora_r": 64, "lora_alpha": 128},
    "alpha-16": {"lora_alpha": 16},
    "decay": {"weight_decay": 0.1},
    "cosine": {"lr_scheduler_type": "cosine"},
    "no-balance": {"class_balance": 1},
    "dora": {"use_dora": True},
    "qlora": {"load_in_4bit": True},
    "again": {},
    "picks-then-own": {},
    "own-only": {},
    "own-thrice": {},
    "asked-thrice": {},
}
"""Recipe -> options. `stretched-to-…` begins as if it were to end after two; after the first, what is left of the
rate falls to zero over all epochs that are left. `again` goes on from the adapter of a finished run, for as long as
that was trained, with a rate that begins and falls anew. The last four take as many steps as the default.
`picks-then-own` trains on the picks first, then on the training rows; `own-only` on no picks; `own-thrice` sees each
training row three times as often as a pick, and `asked-thrice` those of a class of the test."""
TAILS = (0.5, 0.25)
"""Shares of the steps whose weights are averaged."""
VARIANTS = ("last", *(f"tail-{share}" for share in TAILS))
"""What of one training is scored."""


class Stretched(TrainerCallback):  # type: ignore[misc]
    """Has the rate of a training of two epochs in the first one, and lets it fall to zero over all the others."""

    def on_train_begin(self, args: Any, state: Any, control: Any, lr_scheduler: Any = None, **kwargs: Any) -> None:
        """Plan anew."""
        one = round(state.max_steps / args.num_train_epochs)
        warmup = args.get_warmup_steps(2 * one)
        schedule = getattr(lr_scheduler, "scheduler", lr_scheduler)
        schedule.lr_lambdas = [partial(self._factor, warmup, one, state.max_steps) for _ in schedule.lr_lambdas]

    @staticmethod
    def _factor(warmup: int, one: int, end: int, step: int) -> float:
        if step < warmup:
            return step / warmup
        at_end_of_first = one / max(1, 2 * one - warmup)
        if step <= one:
            return (2 * one - step) / max(1, 2 * one - warmup)
        return at_end_of_first * (end - step) / max(1, end - one)


class TailMean(AveragedWeights):
    """The mean of the adapter's weights over the last `share` of the steps, beside others of other shares."""

    def __init__(self, share: float) -> None:
        super().__init__(tail(share))
        self.share, self._seen = share, 0

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Count the step too."""
        self._seen += 1
        super().on_step_end(args, state, control, **kwargs)

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Keep nothing: a checkpoint has room for one average."""

    def save(self, like: Path, folder: Path, steps: int) -> Path:
        """Write an adapter as `like`, with the mean as its weights. steps: of the training."""
        if self._seen < steps:
            raise SystemExit(f"{like}: the training was gone on with, and {self._seen} of its {steps} steps were seen. "
                             "Remove its folder, and start again.")  # fmt: skip
        shutil.copytree(like, folder, dirs_exist_ok=True)
        save_file(
            {name: mean.contiguous() for name, mean in self.weights.items()}, folder / "adapter_model.safetensors"
        )
        return folder


class Noise:
    """The trainings of one run's rows, and their results."""

    def __init__(self, run: Path, dtype: str, variants: Sequence[str]) -> None:
        self.variants = variants
        config = load_stored(run / "compass.yaml")
        self.config = dataclasses.replace(config, training=dataclasses.replace(config.training, dtype=dtype))
        self.run, self.language = run, config.data.language
        self.base = Resources(self.config).base
        self.test = read_jsonl(run / "data" / "tests" / f"{self.language}.jsonl")
        self.folder = run / f"noise-{dtype}"
        self.path = self.folder / "results.jsonl"
        lines = self.path.read_text("utf-8").splitlines() if self.path.is_file() else []
        self.results: list[dict[str, Any]] = [json.loads(line) for line in lines]

    def has(self, recipe: str, variant: str, seed: int) -> bool:
        """Whether this one is scored already."""
        return any((r["recipe"], r["variant"], r["seed"]) == (recipe, variant, seed) for r in self.results)

    def score(self, recipe: str, variant: str, seed: int, adapter: Path, **more: Any) -> None:
        """Score an adapter on the test, and write that down; not again if it is there, nor what nobody asked for."""
        if self.has(recipe, variant, seed) or (variant in VARIANTS and variant not in self.variants):
            return
        four = RECIPES[recipe].get("load_in_4bit", False)
        model = LanguageModel(self.base, adapter, dtype=self.config.training.dtype, load_in_4bit=four)
        scored = evaluate(model, self.test, name="test", language=self.language, config=self.config.evaluation, seed=0)
        result = {
            "recipe": recipe,
            "variant": variant,
            "seed": seed,
            "exact": scored.scores.exact.astype(int).tolist(),
            "intent": scored.scores.intent_correct.astype(int).tolist(),
            "loss": [round(float(x), 5) for x in scored.nats / scored.n_bytes],
            **more,
        }
        self.results.append(result)
        self.folder.mkdir(exist_ok=True)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(result) + "\n")
        print(self.run.name, recipe, variant, seed, *(f"{np.mean(result[m]):.3f}" for m in METRICS), flush=True)

    def train(self, recipe: str, seed: int) -> Path:
        """Train with a recipe and a seed of its own, and score the adapter and the means of its last steps.

        seed: the number of the training.
        """
        folder = self.folder / f"{recipe}-{seed}"
        own_adapter = self.run / "adapter"
        if recipe == "default" and seed == 0 and self.variants == ["last"] and own_adapter.is_dir():
            self.score(recipe, "last", seed, own_adapter)
            return own_adapter
        if all(self.has(recipe, variant, seed) for variant in self.variants) and (folder / "adapter").is_dir():
            return folder / "adapter"
        options = RECIPES[recipe]
        if recipe != "default":
            # The default may go on for a third epoch; what is compared with two epochs takes two.
            options = {"num_train_epochs": self.config.training.epochs, **options}
        if "num_train_epochs" in RECIPES[recipe]:
            # A cell of a comparison has its number of steps, which would go before.
            options = {"max_steps": -1, **options}
        training = dataclasses.replace(self.config.training, **options)
        current = read_jsonl(self.run / "data" / "current.jsonl")
        repeats = class_repeats(current, training.class_balance)
        picks, own = read_jsonl(self.run / "selection" / "selected.jsonl"), repeated(current, repeats)
        rows = [*picks, *own]
        asked = {class_of(row.response) for row in self.test}
        as_long = {
            "own-only": own,
            "own-thrice": [*picks, *(3 * own)],
            "asked-thrice": [*rows, *(2 * [row for row in own if class_of(row.response) in asked])],
        }
        if recipe in as_long:
            steps = training.optimiser_steps(len(rows))
            rows, training = as_long[recipe], dataclasses.replace(training, max_steps=steps)
        tails = [TailMean(share) for share in TAILS]
        before, own_seed = 0, self.config.run.seed + 1000 * seed
        if recipe == "picks-then-own":
            first = train(picks, base=self.base, config=training, output_dir=folder / "picks", seed=own_seed)
            rows, before = own, first.steps
            training = dataclasses.replace(training, adapter=str(first.adapter))
        if recipe == "again":
            before = training.optimiser_steps(len(rows))
            training = dataclasses.replace(training, adapter=str(self.run / "adapter"))
        more = [Stretched()] if recipe.startswith("stretched") else []
        done = train(rows, base=self.base, config=training, output_dir=folder, seed=own_seed, callbacks=[*tails, *more])
        about = {"rows": len(rows), "steps": before + done.steps, "train_seconds": round(done.train_seconds, 1)}
        self.score(recipe, "last", seed, done.adapter, **about)
        for mean in tails:
            variant = f"tail-{mean.share}"
            self.score(recipe, variant, seed, mean.save(done.adapter, folder / variant, done.steps))
        return done.adapter

    def mean_of(self, recipe: str, adapters: Sequence[Path], first: int) -> None:
        """Score the exact average of what several adapters add to the base weights. first: the number of the first."""
        variant = f"mean-of-{len(adapters)}"
        if not self.has(recipe, variant, first):
            folder = self.folder / f"{recipe}-{variant}-{first}"
            merged = merge_adapters(adapters, base=self.base, folder=folder, merge_type="cat")
            self.score(recipe, variant, first, merged)


METRICS = ("exact", "intent", "loss")


def summary(runs: Sequence[Noise]) -> None:
    """Print mean and spread (standard deviation over trainings, pooled over runs) of each recipe and variant."""
    groups: dict[tuple[str, str], dict[str, list[dict[str, Any]]]] = defaultdict(lambda: defaultdict(list))
    for run in runs:
        for result in run.results:
            groups[result["recipe"], result["variant"]][run.run.name].append(result)
    for (recipe, variant), by_run in groups.items():
        cells = []
        for metric in METRICS:
            means = [[float(np.mean(r[metric])) for r in results] for results in by_run.values()]
            free = sum(len(run) - 1 for run in means)
            squares = sum(float(((np.array(run) - np.mean(run)) ** 2).sum()) for run in means)
            spread = f" ± {(squares / free) ** 0.5:.3f}" if free else ""
            cells.append(f"{metric} {np.mean([np.mean(run) for run in means]):.3f}{spread}")
        print(f"{recipe} {variant} ({', '.join(f'{k}: {len(v)}' for k, v in by_run.items())}): {'; '.join(cells)}")


def main() -> None:
    """Train, score, or summarise."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+", help="folders of `compass select` or `compass adapt`")
    parser.add_argument("--recipes", nargs="+", default=["default"], choices=sorted(RECIPES))
    parser.add_argument("--repeats", type=int, default=4)
    parser.add_argument("--means", type=int, nargs="*", default=[2, 4], help="how many adapters are averaged")
    parser.add_argument(
        "--variants", nargs="+", default=list(VARIANTS), choices=VARIANTS, help="what of a training is scored"
    )
    parser.add_argument("--dtype", default="bfloat16", choices=["float32", "bfloat16"])
    parser.add_argument("--summary", action="store_true")
    arguments = parser.parse_args()
    runs = [Noise(run, arguments.dtype, arguments.variants) for run in arguments.runs]
    if not arguments.summary:
        for recipe in arguments.recipes:
            for run in runs:
                adapters = [run.train(recipe, seed) for seed in range(arguments.repeats)]
                for size in arguments.means:
                    for first in range(0, len(adapters) - size + 1, size):
                        run.mean_of(recipe, adapters[first : first + size], first)
    summary(runs)


if __name__ == "__main__":
    main()
