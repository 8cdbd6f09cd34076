"""The same training by this package and by others on a CPU: processor time of a step, memory, and the loss at its end.

    OMP_NUM_THREADS=1 python benchmarks/trainers.py --output runs/benchmarks/trainers --prepare
    OMP_NUM_THREADS=1 python benchmarks/trainers.py --output runs/benchmarks/trainers --by compass trl trl-bfloat16
    OMP_NUM_THREADS=1 OTHER/bin/python benchmarks/trainers.py --output runs/benchmarks/trainers --by llama-factory
    OMP_NUM_THREADS=1 ANOTHER/bin/python benchmarks/trainers.py --output runs/benchmarks/trainers --by unsloth
    python benchmarks/trainers.py --output runs/benchmarks/trainers --table

LLaMA-Factory and unsloth need environments of their own, for they ask for other versions of trl and transformers. All
train the embedded Gemma 3 270M on the same 240 rows of `assist`, whose tokens `--prepare` writes: LoRA of rank 16 on
all linear layers but the head, 30 steps of 8 rows, the loss on responses alone. Loading the model counts for nothing;
a step is timed from the end of the second one, so that what is compiled or arranged once counts for nothing either.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

STEPS, ROWS, BEFORE, SEED = 30, 8, 2, 0
RANK, ALPHA, RATE = 16, 32, 2e-4
IGNORED = -100


class Clock:
    """Processor seconds after each step."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def callback(self) -> Any:
        from transformers import TrainerCallback

        ends = self.ends

        class AfterEachStep(TrainerCallback):  # type: ignore[misc]
            def on_step_end(self, *_: Any, **__: Any) -> None:
                ends.append(time.process_time())

        return AfterEachStep()

    def seconds_a_step(self) -> float:
        return (self.ends[-1] - self.ends[BEFORE - 1]) / (len(self.ends) - BEFORE)


def prepare(folder: Path) -> None:
    """Write the model's folder, the rows as text and as tokens."""
    from compass.config import AdaptConfig
    from compass.data.assist import load_assist
    from compass.steps.resources import cache_folder
    from compass.training import load_tokenizer, resolve_model
    from compass.training.formatting import encode_example

    base = resolve_model("embedded:gemma3-270m", cache_dir=cache_folder(AdaptConfig().run.cache_dir))
    tokenizer = load_tokenizer(base)
    rows = load_assist("cy", seed=SEED).pool[: STEPS * ROWS]
    encoded = [encode_example(tokenizer, row) for row in rows]
    job = {
        "model": base.path,
        "rows": [{"prompt": row.prompt, "response": row.response} for row in rows],
        "tokens": [[list(row.prompt), list(row.response)] for row in encoded],
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "job.json").write_text(json.dumps(job), encoding="utf-8")


def compass(job: dict[str, Any], folder: Path, clock: Clock) -> list[float]:
    """Train as `compass adapt` does."""
    from compass.config import TrainingConfig
    from compass.data.example import Example
    from compass.training import resolve_model, train

    rows = [Example(id=str(i), language="en", **row) for i, row in enumerate(job["rows"])]
    config = TrainingConfig(
        max_steps=STEPS, per_device_train_batch_size=ROWS, lora_r=RANK, lora_alpha=ALPHA, learning_rate=RATE,
        dtype="bfloat16", logging_steps=1,
    )  # fmt: skip
    base = resolve_model(job["model"], cache_dir=folder)
    done = train(rows, base=base, config=config, output_dir=folder, seed=SEED, callbacks=[clock.callback()])
    return [entry["loss"] for entry in done.log if "loss" in entry]


def dataset(job: dict[str, Any]) -> Any:
    """Return the rows as tokens, with no loss on prompts."""
    from datasets import Dataset

    return Dataset.from_dict({
        "input_ids": [prompt + response for prompt, response in job["tokens"]],
        "labels": [[IGNORED] * len(prompt) + response for prompt, response in job["tokens"]],
        "attention_mask": [[1] * len(prompt + response) for prompt, response in job["tokens"]],
    })  # fmt: skip


def supervised(model: Any, tokenizer: Any, job: dict[str, Any], folder: Path, clock: Clock, **more: Any) -> list[float]:
    """Train with trl's SFTTrainer, as it is at that moment. more: its further arguments."""
    from trl import SFTConfig, SFTTrainer

    trainer = SFTTrainer(
        model=model,
        processing_class=tokenizer,
        train_dataset=dataset(job),
        args=SFTConfig(
            output_dir=str(folder), max_steps=STEPS, per_device_train_batch_size=ROWS, learning_rate=RATE, seed=SEED,
            use_cpu=True, bf16=False, logging_steps=1, report_to=[], gradient_checkpointing=False, max_length=512,
            dataset_kwargs={"skip_prepare_dataset": True},
        ),
        callbacks=[clock.callback()],
        **more,
    )  # fmt: skip
    trainer.train()
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


def trl(job: dict[str, Any], folder: Path, clock: Clock, *, dtype: str = "float32") -> list[float]:
    """Train as trl's guide does: SFTTrainer, peft's LoRA, and the model in float32 or in bfloat16."""
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM, AutoTokenizer

    lora = LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules="all-linear", task_type="CAUSAL_LM")
    model = AutoModelForCausalLM.from_pretrained(job["model"], dtype=dtype)
    return supervised(model, AutoTokenizer.from_pretrained(job["model"]), job, folder, clock, peft_config=lora)


def unsloth(job: dict[str, Any], folder: Path, clock: Clock) -> list[float]:
    """Train as unsloth's notebooks do: its model, its LoRA, trl's trainer as it patches it."""
    from unsloth import FastLanguageModel  # isort: skip  (it patches what comes after it)
    import torch

    model, tokenizer = FastLanguageModel.from_pretrained(
        job["model"], max_seq_length=512, dtype=torch.bfloat16, load_in_4bit=False
    )
    layers = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    model = FastLanguageModel.get_peft_model(
        model, r=RANK, lora_alpha=ALPHA, target_modules=layers, random_state=SEED, use_gradient_checkpointing=False
    )
    return supervised(model, tokenizer, job, folder, clock)


def llama_factory(job: dict[str, Any], folder: Path, clock: Clock) -> list[float]:
    """Train as `llamafactory-cli train` does, on the rows as text, in its plain template."""
    from llamafactory.train.tuner import run_exp

    data = folder / "data"
    data.mkdir()
    rows = [{"instruction": row["prompt"] + "\n", "input": "", "output": row["response"]} for row in job["rows"]]
    (data / "rows.json").write_text(json.dumps(rows), encoding="utf-8")
    described = {"rows": {"file_name": "rows.json"}}
    (data / "dataset_info.json").write_text(json.dumps(described), encoding="utf-8")
    arguments = {
        "stage": "sft", "do_train": True, "model_name_or_path": job["model"], "finetuning_type": "lora",
        "lora_rank": RANK, "lora_alpha": ALPHA, "lora_target": "all", "dataset": "rows", "dataset_dir": str(data),
        "template": "empty", "cutoff_len": 512, "output_dir": str(folder / "out"), "max_steps": STEPS,
        "per_device_train_batch_size": ROWS, "learning_rate": RATE, "seed": SEED, "logging_steps": 1, "use_cpu": True,
        "bf16": True, "disable_gradient_checkpointing": True, "report_to": "none",
        "overwrite_cache": True,
    }  # fmt: skip
    run_exp(arguments, callbacks=[clock.callback()])
    state = json.loads((folder / "out" / "trainer_state.json").read_text("utf-8"))
    return [entry["loss"] for entry in state["log_history"] if "loss" in entry]


WAYS: dict[str, Callable[[dict[str, Any], Path, Clock], list[float]]] = {
    "compass": compass,
    "trl": trl,
    "trl-bfloat16": partial(trl, dtype="bfloat16"),
    "llama-factory": llama_factory,
    "unsloth": unsloth,
}
"""Name -> what trains, and returns the loss of each step."""


def one(name: str, job: dict[str, Any]) -> dict[str, Any]:
    """Train once, here."""
    import resource

    clock = Clock()
    with tempfile.TemporaryDirectory() as folder:
        losses = WAYS[name](job, Path(folder), clock)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return {"by": name, "steps": len(clock.ends), "seconds_a_step": clock.seconds_a_step(), "gib": peak, "loss": losses}


def table(results: list[dict[str, Any]]) -> str:
    """Return medians as a table, with the ratio of each way's time to ours."""
    lines = [
        "| training by | runs | seconds a step | ratio | GiB | loss, first and last five steps |",
        "| --- " * 6 + "|",
    ]
    own = {name: [r for r in results if r["by"] == name] for name in WAYS}
    medians = {name: float(np.median([r["seconds_a_step"] for r in found])) for name, found in own.items() if found}
    for name, seconds in medians.items():
        ratio = f"{seconds / medians['compass']:.2f}" if "compass" in medians else "–"
        gib = max(r["gib"] for r in own[name])
        first, last = (np.mean([np.mean(r["loss"][part]) for r in own[name]]) for part in (slice(5), slice(-5, None)))
        lines.append(f"| {name} | {len(own[name])} | {seconds:.2f} | {ratio} | {gib:.2f} | {first:.2f}, {last:.2f} |")
    return "\n".join(lines)


def main() -> None:
    """Prepare, train what is asked for, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--prepare", action="store_true", help="write the rows; needs this package")
    parser.add_argument("--by", nargs="+", default=[], choices=WAYS)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--one", choices=WAYS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.prepare:
        prepare(options.output)
    path = options.output / "results.jsonl"
    if options.one:
        job = json.loads((options.output / "job.json").read_text("utf-8"))
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(one(options.one, job)) + "\n")
        return
    offline = {**os.environ, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    # Ways take turns, so that what else the machine does falls on all alike.
    for _ in range(options.repeats):
        for name in options.by:
            command = [sys.executable, __file__, "--output", str(options.output), "--one", name]
            run = subprocess.run(command, check=False, capture_output=True, text=True, env=offline)
            if run.returncode:
                print(f"{name} failed: {run.stderr.strip().splitlines()[-1:]}", file=sys.stderr)
    if path.is_file():
        print(table([json.loads(line) for line in path.read_text("utf-8").splitlines()]))


if __name__ == "__main__":
    main()
