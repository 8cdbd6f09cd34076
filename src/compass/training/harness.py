"""Base model and adapter as lm-eval sees them."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

from compass.errors import MissingExtraError
from compass.training.adapters import check_adapter
from compass.training.models import BaseModel, resolved_dtype


def harness_model(
    base: BaseModel, adapter: Path | None = None, *, dtype: str = "auto", batch_size: int = 8, max_length: int = 0
) -> Any:
    """Return lm-eval's HFLM of a base model, and of an adapter on it.

    dtype: as in `load_base`; lm-eval's own `auto` takes the checkpoint's. max_length: tokens of context; 0: what the
    model's configuration says.
    Raises MissingExtraError without lm-eval, ModelError if adapter and model do not fit.
    """
    if importlib.util.find_spec("lm_eval") is None:
        raise MissingExtraError("lm_eval", "lm-eval", "An lm-eval task")
    if adapter is not None:
        check_adapter(adapter, base)
    import torch
    from lm_eval.models.huggingface import HFLM

    on_gpu = torch.cuda.is_available()
    at_hub = not Path(base.path).is_dir()
    return HFLM(
        pretrained=base.path,
        revision=base.revision if at_hub else "main",
        peft=str(adapter) if adapter else None,
        dtype=resolved_dtype(dtype),
        device="cuda" if on_gpu else "cpu",
        batch_size=batch_size,
        max_length=max_length or None,
        trust_remote_code=base.trust_remote_code,
    )
