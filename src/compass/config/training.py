"""The options of a training."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from compass.config.checking import Conflict
from compass.config.knobs import AUTO, knob

EPOCHS = 2.0
"""Epochs of a training, unless told [ours]."""


@dataclass(frozen=True)
class TrainingConfig:
    """The adapter and how it is trained; names as in trl and peft."""

    model_name_or_path: str = knob(
        "embedded:gemma3-270m",
        "Base model: a name on the hub, a folder, embedded:gemma3-270m or embedded:smollm2-135m.",
        basic=True,
        required=True,
    )
    model_revision: str = knob("", "Revision of the model on the hub; the resolved commit is recorded.")
    trust_remote_code: bool = knob(
        False, "Run code that comes with the model. Use it only if you trust the authors.", from_operator=True
    )
    adapter: str = knob("", "Adapter to start from; for `evaluate`, the adapter to measure.")
    lora_r: int = knob(16, "Rank of the adapter.", basic=True, low=1)
    lora_alpha: int = knob(32, "Scaling factor of the adapter, alpha.", low=1)
    lora_dropout: float = knob(0.0, "Dropout within the adapter.", low=0.0, high=1.0)
    lora_target_modules: str = knob(
        "all-linear", "Modules to adapt: all-linear, or names separated by commas.", required=True
    )
    use_dora: bool = knob(False, "Train a DoRA adapter. Not every server supports DoRA.")
    use_rslora: bool = knob(False, "Rank-stabilised LoRA: scale by alpha over the square root of the rank.")
    load_in_4bit: bool = knob(False, "Load the base model in 4 bits (QLoRA; needs bitsandbytes).")
    learning_rate: float = knob(5e-4, "Peak learning rate.", basic=True, low=0.0)
    num_train_epochs: float = knob(
        AUTO,
        "Training epochs; auto: 2, or 3 for a new adapter whose loss on unseen rows is high in the first epoch.",
        basic=True,
        low=0.0,
        auto=True,
    )
    max_steps: int = knob(-1, "Optimiser steps; a positive number overrides num_train_epochs.")
    per_device_train_batch_size: int = knob(8, "Rows per training batch and device.", basic=True, low=1)
    gradient_accumulation_steps: int = knob(1, "Batches per optimiser step.", low=1)
    num_processes: int = knob(1, "Processes that train together, one per GPU; a step takes one batch from each.", low=1)
    lr_scheduler_type: str = knob("linear", "Learning-rate schedule, by its name in transformers.")
    warmup_steps: float = knob(0.1, "Warm-up steps; a number below 1 is a fraction of all steps.", low=0.0)
    weight_decay: float = knob(0.0, "Weight decay of the adapter.", low=0.0)
    max_grad_norm: float = knob(1.0, "Maximum gradient norm, for clipping.", low=0.0)
    max_length: int = knob(
        512,
        "Maximum row length in tokens, prompt and response; longer rows are left out and counted.",
        basic=True,
        low=8,
    )
    packing: str = knob(
        "auto",
        "Pack several rows into a sequence; auto: only if the attention kernel separates them.",
        choices=("auto", "on", "off"),
    )
    gradient_checkpointing: bool = knob(False, "Save memory by recomputing activations.")
    dtype: str = knob(
        "auto",
        "Data type of the base model; auto: bfloat16 on GPUs and CPUs that support it, else float32.",
        choices=("auto", "float32", "bfloat16"),
    )
    class_balance: int = knob(
        5, "Oversample training rows of rare classes, at most this many times per epoch; 1 = off.", low=1
    )
    averaged_trainings: int = knob(
        1,
        "Trainings with different seeds to average into one adapter; multiplies time and rank.",
        basic=True,
        low=1,
    )
    tail_average: float = knob(
        0.0, "Average the weights over this last fraction of the steps; 0 = off.", low=0.0, high=1.0
    )
    save_steps: int = knob(50, "Steps between checkpoints.", low=1)
    logging_steps: int = knob(5, "Steps between log lines.", low=1)
    report_to: str = knob("none", "Trackers of transformers, separated by commas, or `none`.", from_operator=True)
    max_serving_rank: int = knob(64, "Maximum adapter rank that your server supports.", low=1)

    @property
    def rows_per_step(self) -> int:
        """Rows of one optimiser step."""
        return self.per_device_train_batch_size * self.gradient_accumulation_steps * self.num_processes

    @property
    def epochs(self) -> float:
        """Epochs of a training that does not go on for longer."""
        return EPOCHS if self.num_train_epochs == AUTO else self.num_train_epochs

    @property
    def may_go_on(self) -> bool:
        """Whether a training decides after its first epoch if it takes a third: of new adapters, with linear rates."""
        fixed = self.max_steps > 0 or self.adapter or self.tail_average or self.lr_scheduler_type != "linear"
        return self.num_train_epochs == AUTO and not fixed

    def optimiser_steps(self, n_rows: float) -> int:
        """Return the optimiser steps of a training on `n_rows` rows, as transformers counts them."""
        if self.max_steps > 0:
            return self.max_steps
        return max(1, math.ceil(self.epochs * math.ceil(n_rows / self.rows_per_step)))

    def conflicts(self) -> Iterator[Conflict]:
        """Yield what is wrong together."""
        if self.use_dora and self.averaged_trainings > 1:
            yield (
                ("use_dora", "averaged_trainings"),
                "averaged_trainings: DoRA adapters can't be averaged; turn use_dora off, or train once",
            )
        rank = self.lora_r * self.averaged_trainings
        if self.lora_r <= self.max_serving_rank < rank:
            yield (
                ("lora_r", "averaged_trainings", "max_serving_rank"),
                f"lora_r times averaged_trainings, the rank of the averaged adapter, must not exceed max_serving_rank; "
                f"got {rank} and {self.max_serving_rank}. Lower lora_r or averaged_trainings, or raise "
                "max_serving_rank if your server supports it (vLLM: --max-lora-rank)",
            )
        if self.lora_r > self.max_serving_rank:
            yield (
                ("lora_r", "max_serving_rank"),
                f"lora_r must not exceed max_serving_rank, or your server refuses the adapter; got {self.lora_r} and "
                f"{self.max_serving_rank}. Lower lora_r, or raise max_serving_rank if your server supports "
                "it (vLLM: --max-lora-rank)",
            )
        if self.num_train_epochs == 0.0 and self.max_steps <= 0:
            yield (
                ("num_train_epochs", "max_steps"),
                f"num_train_epochs or max_steps must be above 0; got 0 epochs and {self.max_steps} steps",
            )

    def advice(self) -> Iterator[str]:
        """Yield what may surprise."""
        if self.use_dora:
            yield (
                "use_dora: vLLM does not serve DoRA adapters; merge the adapter into the model, or turn use_dora off"
            )
        if self.load_in_4bit:
            yield "load_in_4bit: 4-bit weights take less memory, and adapters on them end with a somewhat higher loss"
        if self.packing == "on":
            yield (
                "packing: 'on' packs rows even if the attention kernel lets them attend to each other; 'auto' packs "
                "only if it separates them"
            )
