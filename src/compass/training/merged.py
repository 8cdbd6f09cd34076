"""The adapter merged into the base model's weights, loaded back and compared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compass.data.example import Example
from compass.errors import ModelError
from compass.training.adapters import load_with_adapter
from compass.training.formatting import encode_example
from compass.training.models import BaseModel, configuration_of, load_base, load_tokenizer, translated
from compass.training.prompt_format import save_prompt_format

LARGEST_DIFFERENCE = 1e-2
"""Of a logit, where merged weights are kept in float32; rounding gives about 1e-4."""
SAME_TOKENS = 0.95
"""Share of places whose likeliest token must stay where the weights are kept in fewer bits."""


@dataclass(frozen=True)
class LoadedBack:
    """How what was written compares with base model and adapter."""

    places: int
    """Tokens after which the next one was compared."""
    same: int
    """Of these, how often the likeliest token is the same."""
    largest_difference: float
    """Of a logit."""


def write_merged(
    base: BaseModel, adapter: Path, folder: Path, rows: Sequence[Example], *, dtype: str = "auto"
) -> LoadedBack:
    """Merge an adapter into the weights, by peft, and write the model with its tokenizer; load it back and compare.

    rows: what it is compared on. dtype: of the weights on disk; `auto` is what the base model's are. They are merged in
    float32. Raises ModelError if adapter and model do not fit, or what is loaded back answers otherwise.
    """
    import torch

    model = load_with_adapter(base, adapter, dtype="float32")
    model.eval()
    prompts = [[*row.prompt, *row.response] for row in (encode_example(load_tokenizer(base), row) for row in rows)]
    before = _logits(model, prompts)
    with translated(adapter):
        merged = model.merge_and_unload(safe_merge=True)
    stored = {"float32": torch.float32, "bfloat16": torch.bfloat16}.get(dtype) or _stored_dtype(base)
    merged.to(stored)
    ends = end_tokens(base)
    merged.generation_config.eos_token_id = ends
    merged.generation_config.do_sample = False
    for name in ("temperature", "top_p", "top_k", "min_p", "repetition_penalty"):
        setattr(merged.generation_config, name, None)
    merged.config._name_or_path = ""
    with translated(folder):
        merged.save_pretrained(folder)
    save_prompt_format(base, folder)
    del model, merged
    written = BaseModel(str(folder), str(folder), "", base.licence, base.trust_remote_code)
    again = load_base(written, dtype="float32")
    again.eval()
    return _compared(before, _logits(again, prompts), exact=stored == torch.float32)


def end_tokens(base: BaseModel) -> list[int]:
    """Return the tokens that end an answer: the tokenizer's, and those that the model's own settings name."""
    from transformers import GenerationConfig

    own: Any = None
    try:
        own = GenerationConfig.from_pretrained(
            base.path, **({} if Path(base.path).is_dir() else {"revision": base.revision})
        ).eos_token_id
    except OSError:
        own = getattr(configuration_of(base), "eos_token_id", None)
    more = own if isinstance(own, list) else [] if own is None else [own]
    return sorted({int(load_tokenizer(base).eos_token_id), *map(int, more)})


def _stored_dtype(base: BaseModel) -> Any:
    import torch

    return getattr(configuration_of(base), "dtype", None) or torch.float32


def _logits(model: Any, prompts: Sequence[Sequence[int]]) -> list[Any]:
    import torch

    with torch.inference_mode():
        return [
            model(input_ids=torch.tensor([list(ids)], device=model.device)).logits[0].float().cpu() for ids in prompts
        ]


def _compared(before: Sequence[Any], after: Sequence[Any], *, exact: bool) -> LoadedBack:
    pairs = list(zip(before, after, strict=True))
    found = LoadedBack(
        places=sum(len(one) for one in before),
        same=sum(int((one.argmax(-1) == other.argmax(-1)).sum()) for one, other in pairs),
        largest_difference=max((float((one - other).abs().max()) for one, other in pairs), default=0.0),
    )
    if (exact and found.largest_difference > LARGEST_DIFFERENCE) or found.same < SAME_TOKENS * found.places:
        raise ModelError(
            f"The merged model, loaded back, is not the adapter on its base model: the likeliest token is the same in "
            f"{found.same} of {found.places} places, and a logit differs by {found.largest_difference:.3g}. Export "
            "with --dtype float32, or serve the adapter itself."
        )
    return found
