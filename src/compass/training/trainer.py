"""One adapter from a list of examples: trl's SFTTrainer with peft, resumable after a kill."""

from __future__ import annotations

import hashlib
import logging
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from compass.config import TrainingConfig
from compass.data.example import Example
from compass.errors import DataError, ModelError
from compass.runs import layout
from compass.training.adapters import check_target_modules, load_with_adapter
from compass.training.checkpoints import (
    EpochOrder,
    MarkComplete,
    checkpoint_folder,
    last_complete,
    seconds_of,
    with_order,
)
from compass.training.cpu_trainer import cpu_trainer
from compass.training.formatting import Encoded, encode_fitting
from compass.training.head import IGNORED, has_plain_head
from compass.training.length import Length
from compass.training.models import BaseModel, load_tokenizer
from compass.training.processes import check_devices, in_processes
from compass.training.progress import TrainingProgress
from compass.training.prompt_format import save_prompt_format
from compass.training.quick_lora import quicken
from compass.training.quiet import quieten, untold, without_old_names
from compass.training.retention.ewc import EWC, EWC_LAMBDA
from compass.training.retention.fisher import Fisher
from compass.training.retention.replay import REPLAY_WEIGHT, Replay
from compass.training.retention.terms import Term, with_terms
from compass.training.weight_average import AveragedWeights, tail

logger = logging.getLogger(__name__)

ALL_LINEAR = "all-linear"
"""Every layer but the head, in peft's word."""


@dataclass(frozen=True)
class TrainingResult:
    """What a training run produced and cost."""

    adapter: Path
    steps: int
    tokens: int
    """Tokens of the training rows in one epoch, prompts included."""
    train_seconds: float
    trainable_parameters: int
    resumed_from_step: int
    log: tuple[dict[str, Any], ...]
    """The trainer's log history: step, epoch, loss, learning_rate, grad_norm, and the loss's terms if it has any."""
    rows_too_long: int = 0
    """Rows that were left out because they are longer than `max_length`."""
    response_tokens: float = 0.0
    """Tokens of a response, on average."""
    epochs: float = 0.0
    """How often each row was seen."""


@dataclass(frozen=True, eq=False)
class Retention:
    """What keeps an update from forgetting; each part is off by default."""

    fisher: Fisher | None = None
    """Adds the penalty λ · L_EWC."""
    ewc_lambda: float = EWC_LAMBDA
    anchors: Sequence[Example] = ()
    """Rows of the history; they add the replay loss β · L_DAR."""
    replay_weight: float = REPLAY_WEIGHT
    replay_batch_size: int = 4
    """Anchors beside each batch of new rows."""


def train(
    examples: Sequence[Example],
    *,
    base: BaseModel,
    config: TrainingConfig,
    output_dir: Path,
    seed: int,
    retention: Retention | None = None,
    callbacks: Sequence[TrainerCallback] = (),
) -> TrainingResult:
    """Train an adapter on the responses of the examples and save it in `output_dir/adapter`.

    retention: what keeps an update from forgetting; with it, `config.adapter` is the adapter to go on from.
    callbacks: more of transformers' own, called besides ours.
    Checkpoints live in `output_dir/checkpoints` until the adapter is saved; the same call with the same inputs goes
    on from the last complete one, and a call with other inputs starts anew. Rows longer than `max_length` are left out.
    With `num_processes` that many processes train together, each on batches of its own.
    Raises DataError if there is nothing to train on, ModelError if start adapter and base model do not fit.
    """
    if (n := config.num_processes) > 1:
        check_devices(n)
    # Once, whatever the number of processes: what is refused or left out is said once, and before any is started.
    ready = _prepare(examples, base, config, output_dir, seed, retention or Retention())
    arguments = (ready, base, config, output_dir, seed, callbacks)
    return _train_here(*arguments) if n == 1 else in_processes(n, _train_here, *arguments)


@dataclass(frozen=True)
class _Ready:
    """What a training is about, as tokens."""

    rows: list[Encoded]
    n_too_long: int
    keeping: _Kept
    checkpoints: Path


def _prepare(
    examples: Sequence[Example],
    base: BaseModel,
    config: TrainingConfig,
    output_dir: Path,
    seed: int,
    retention: Retention,
) -> _Ready:
    """Turn rows and anchors into tokens, and make the checkpoints' folder. Raises DataError if no row is left."""
    tokenizer = load_tokenizer(base)
    rows, n_too_long = _encoded(tokenizer, examples, config.max_length)
    keeping = _Kept(retention, tokenizer, config, seed)
    checkpoints = checkpoint_folder(output_dir, rows, base, config, seed, keeping.identity())
    return _Ready(rows, n_too_long, keeping, checkpoints)


def _train_here(
    ready: _Ready,
    base: BaseModel,
    config: TrainingConfig,
    output_dir: Path,
    seed: int,
    callbacks: Sequence[TrainerCallback],
) -> TrainingResult:
    """Train in this process, alone or beside others."""
    import torch
    from datasets import Dataset
    from trl import SFTTrainer

    use_flash = _packs(config)
    model = _model_to_train(base, config, attention="flash_attention_2" if use_flash else None)
    resume_from = last_complete(ready.checkpoints)
    before = seconds_of(resume_from) if resume_from else 0.0
    shown = TrainingProgress()
    trainer_class: Any = cpu_trainer() if not torch.cuda.is_available() and has_plain_head(model) else SFTTrainer
    terms = ready.keeping.terms()
    if terms:
        trainer_class = with_terms(trainer_class)
    order = EpochOrder(resume_from)
    if not use_flash:
        # Packed rows are drawn at random by seed and epoch.
        trainer_class = with_order(trainer_class, order)
    response_tokens = sum(len(row.response) for row in ready.rows) / len(ready.rows)
    length = Length(config, response_tokens, resume_from)
    average = _average(config, resume_from)
    with without_old_names():
        trainer = untold(trainer_class)(
            **({"terms": terms} if terms else {}),
            model=model,
            processing_class=load_tokenizer(base),
            peft_config=None if config.adapter else lora_config(base, config),
            train_dataset=Dataset.from_dict(
                {
                    "input_ids": [[*row.prompt, *row.response] for row in ready.rows],
                    "labels": [[IGNORED] * len(row.prompt) + list(row.response) for row in ready.rows],
                }
            ),
            args=_settings(config, ready.checkpoints, seed, epochs=length.epochs, packing=use_flash),
            # The marker vouches for what the callbacks before it wrote.
            callbacks=[length, *([average] if average else []), order, MarkComplete(before), shown, *callbacks],
        )
    quieten(trainer)
    quicken(trainer.model)
    trainable = sum(p.numel() for p in trainer.model.parameters() if p.requires_grad)
    start = time.monotonic()
    with shown:
        trainer.train(resume_from_checkpoint=str(resume_from) if resume_from else None)
    seconds = time.monotonic() - start

    adapter = output_dir / layout.ADAPTER
    if average:
        average.copy_into(trainer.model)
    if trainer.is_world_process_zero():
        save_adapter(trainer.model, base, adapter)
        shutil.rmtree(ready.checkpoints)
    trainer.accelerator.wait_for_everyone()
    return TrainingResult(
        adapter=adapter,
        steps=trainer.state.global_step,
        tokens=sum(len(row) for row in ready.rows),
        train_seconds=before + seconds,
        trainable_parameters=trainable,
        resumed_from_step=int(resume_from.name.rsplit("-", 1)[1]) if resume_from else 0,
        log=tuple(dict(entry) for entry in trainer.state.log_history),
        rows_too_long=ready.n_too_long,
        response_tokens=response_tokens,
        epochs=float(trainer.state.epoch),
    )


def _encoded(tokenizer: Any, examples: Sequence[Example], max_length: int) -> tuple[list[Encoded], int]:
    """Return the rows with a response as tokens, and how many are too long. Raises DataError if none is left."""
    rows = [example for example in examples if example.response]
    if not rows:
        raise DataError(
            "Training needs rows with a response, and there are none. Map the response column with --columns."
        )
    encoded, too_long = encode_fitting(tokenizer, rows, max_length)
    if not encoded:
        raise DataError(
            f"None of the {len(rows)} training rows fits into max_length, {max_length} tokens. Raise max_length."
        )
    if too_long:
        logger.warning(
            "%d of %d training rows are longer than max_length, %d tokens, and are left out; the first is %s",
            len(too_long), len(rows), max_length, too_long[0].id,
        )  # fmt: skip
    return encoded, len(too_long)


def _settings(config: TrainingConfig, checkpoints: Path, seed: int, *, epochs: float, packing: bool) -> Any:
    """Return trl's own options."""
    import torch
    from trl import SFTConfig

    return SFTConfig(
        output_dir=str(checkpoints),
        seed=seed,
        data_seed=seed,
        learning_rate=config.learning_rate,
        num_train_epochs=epochs,
        max_steps=config.max_steps,
        per_device_train_batch_size=config.per_device_train_batch_size,
        gradient_accumulation_steps=config.gradient_accumulation_steps,
        lr_scheduler_type=config.lr_scheduler_type,
        warmup_steps=config.warmup_steps,
        weight_decay=config.weight_decay,
        max_grad_norm=config.max_grad_norm,
        max_length=None,
        packing=packing,
        activation_checkpointing=config.gradient_checkpointing,
        bf16=torch.cuda.is_available() and config.dtype != "float32",
        use_cpu=not torch.cuda.is_available(),
        # Short rows in one batch with long ones are mostly padding, which a CPU computes like any token.
        train_sampling_strategy="random" if packing else "group_by_length",
        save_strategy="steps",
        save_steps=config.save_steps,
        save_total_limit=2,
        logging_steps=config.logging_steps,
        logging_first_step=True,
        report_to=[name.strip() for name in config.report_to.split(",")],
        dataloader_pin_memory=torch.cuda.is_available(),
        disable_tqdm=True,
    )


def _average(config: TrainingConfig, resume_from: Path | None) -> AveragedWeights | None:
    """Return what averages the weights over the last steps, if anything does."""
    return AveragedWeights(tail(config.tail_average), resume_from) if config.tail_average else None


def _model_to_train(base: BaseModel, config: TrainingConfig, *, attention: str | None) -> Any:
    start = Path(config.adapter) if config.adapter else None
    if start is None:
        check_target_modules(target_modules(config), base)
    return load_with_adapter(
        base, start, dtype=config.dtype, load_in_4bit=config.load_in_4bit, trainable=True, attention=attention
    )


def target_modules(config: TrainingConfig) -> list[str]:
    """Return the names of the layers that a new adapter changes; none where it is all of them."""
    names = config.lora_target_modules
    return [] if names == ALL_LINEAR else [name.strip() for name in names.split(",")]


def lora_config(base: BaseModel, config: TrainingConfig) -> Any:
    """Return peft's configuration of a new adapter."""
    from peft import LoraConfig, TaskType

    return LoraConfig(
        task_type=TaskType.CAUSAL_LM,
        r=config.lora_r,
        lora_alpha=config.lora_alpha,
        lora_dropout=config.lora_dropout,
        target_modules=target_modules(config) or ALL_LINEAR,
        use_dora=config.use_dora,
        use_rslora=config.use_rslora,
        revision=base.revision,
    )


def _packs(config: TrainingConfig) -> bool:
    """Pack only where the attention kernel keeps rows apart; elsewhere they would attend to each other."""
    import torch
    from transformers.utils import is_flash_attn_2_available

    able = torch.cuda.is_available() and is_flash_attn_2_available()
    if config.packing == "on" and not able:
        raise ModelError(
            "packing=on needs flash-attention on a CUDA device: without it packed rows would attend to each other. "
            "Use packing=auto."
        )
    return able and config.packing != "off"


def save_adapter(model: Any, base: BaseModel, folder: Path) -> None:
    """Save atomically: a folder that exists is whole."""
    for peft_config in model.peft_config.values():
        peft_config.base_model_name_or_path = base.name
        peft_config.revision = base.revision
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    # No layer of the vocabulary is trained, so there is none to save (peft would look for the base model to tell).
    model.save_pretrained(partial, save_embedding_layers=False)
    # peft writes a template card that says nothing of this run; the recipe writes the real one.
    (partial / layout.CARD_FILE).unlink(missing_ok=True)
    save_prompt_format(base, partial)
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)


class _Kept:
    """A retention with its anchors as tokens."""

    def __init__(self, retention: Retention, tokenizer: Any, config: TrainingConfig, seed: int) -> None:
        self.retention = retention
        answered = [row for row in retention.anchors if row.response]
        self._anchors, too_long = encode_fitting(tokenizer, answered, config.max_length)
        if too_long:
            logger.warning("%d of %d anchors are longer than max_length and are left out", len(too_long), len(answered))
        self._pad, self._seed = int(tokenizer.pad_token_id), seed

    def terms(self) -> tuple[Term, ...]:
        r = self.retention
        ewc = EWC(r.fisher, r.ewc_lambda) if r.fisher else None
        replay = (
            Replay(self._anchors, r.replay_weight, batch_size=r.replay_batch_size, pad_id=self._pad, seed=self._seed)
            if r.anchors
            else None
        )
        return tuple(term for term in (ewc, replay) if term)

    def identity(self) -> bytes:
        """Return what tells this retention's training from another's; nothing when nothing is kept."""
        r = self.retention
        digest = hashlib.sha256()
        if r.fisher:
            for part in (r.fisher.diagonal, r.fisher.weights):
                for name in sorted(part):
                    digest.update(name.encode() + part[name].numpy().tobytes())
        elif not r.anchors:
            return b""
        digest.update(repr((r.ewc_lambda, r.replay_weight, r.replay_batch_size)).encode())
        digest.update(repr([(row.prompt, row.response) for row in self._anchors]).encode())
        return digest.digest()
