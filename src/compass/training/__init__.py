"""Base models, adapters, training and generation: the only room with torch, transformers, peft and trl."""

from compass.training.adapters import adapter_rank, check_adapter, read_adapter_config
from compass.training.formatting import encode_example, token_counts
from compass.training.generation import LanguageModel
from compass.training.gguf_adapter import write_gguf
from compass.training.harness import harness_model
from compass.training.merged import end_tokens, write_merged
from compass.training.merging import check_mergeable, merge_adapters
from compass.training.models import (
    BaseModel,
    at_hand,
    check_four_bits,
    folder_revision,
    gpu_names,
    load_tokenizer,
    packaged_gguf,
    resolve_model,
    resolved_dtype,
)
from compass.training.prompt_format import differing_prompts, save_prompt_format
from compass.training.retention.ewc import with_ewc
from compass.training.retention.fisher import Fisher, accumulate, adapter_fisher, model_fisher
from compass.training.trainer import Retention, TrainingResult, train
from compass.training.update import update_adapter

__all__ = [
    "BaseModel",
    "Fisher",
    "LanguageModel",
    "Retention",
    "TrainingResult",
    "accumulate",
    "adapter_fisher",
    "adapter_rank",
    "at_hand",
    "check_adapter",
    "check_four_bits",
    "check_mergeable",
    "differing_prompts",
    "encode_example",
    "end_tokens",
    "folder_revision",
    "gpu_names",
    "harness_model",
    "load_tokenizer",
    "merge_adapters",
    "model_fisher",
    "packaged_gguf",
    "read_adapter_config",
    "resolve_model",
    "resolved_dtype",
    "save_prompt_format",
    "token_counts",
    "train",
    "update_adapter",
    "with_ewc",
    "write_gguf",
    "write_merged",
]
