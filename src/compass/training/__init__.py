"""Base models, adapters, training and generation: the only room with torch, transformers, peft and trl."""

from compass.training.formatting import encode_example, token_counts
from compass.training.generation import LanguageModel
from compass.training.models import BaseModel, gpu_names, load_tokenizer, resolve_model
from compass.training.trainer import TrainingResult, train

__all__ = [
    "BaseModel",
    "LanguageModel",
    "TrainingResult",
    "encode_example",
    "gpu_names",
    "load_tokenizer",
    "resolve_model",
    "token_counts",
    "train",
]
