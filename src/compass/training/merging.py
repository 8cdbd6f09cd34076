"""One adapter from several, without training: TIES and plain sums, by peft."""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from compass.errors import ConfigError, ModelError
from compass.training.adapters import check_adapter
from compass.training.models import BaseModel, load_base, translated
from compass.training.prompt_format import save_prompt_format
from compass.training.quiet import without_old_names

MERGE_TYPES = ("ties", "cat")
"""peft's ways to merge that are used here. Not `linear`, which adds up A and B apart and then multiplies the sums: two
equal adapters of weight 1/2 each come out of it twice as strong."""
TIES_DENSITY = 0.5
"""Share of the entries that TIES keeps."""


def merge_adapters(
    adapters: Sequence[Path],
    *,
    base: BaseModel,
    folder: Path,
    weights: Sequence[float] | None = None,
    merge_type: str = "ties",
    density: float = TIES_DENSITY,
    load_in_4bit: bool = False,
) -> Path:
    """Merge LoRA adapters of one base model and save the result in `folder` as an adapter that servers load.

    merge_type: `ties`, which averages what agrees, at the adapters' own rank (which must be equal); or `cat`, the exact
    sum, at the sum of the ranks. weights: one an adapter; None: 1 each for `ties`, 1/n each for `cat`. density: share
    of the entries that TIES keeps. load_in_4bit: hold the base model so; none of its weights are read, but peft wants
    the layers.
    Raises ModelError if an adapter is DoRA, does not fit the base model, or peft can't merge the adapters; ConfigError
    for another type.
    """
    from peft import PeftModel

    if merge_type not in MERGE_TYPES:
        raise ConfigError(f"merge_type must be one of {', '.join(MERGE_TYPES)}; got {merge_type!r}")
    if weights is None:
        weights = [1.0 if merge_type == "ties" else 1.0 / len(adapters)] * len(adapters)
    if len(weights) != len(adapters) or len(adapters) < 2:
        raise ConfigError(
            f"Merging takes two or more adapters and a weight for each; got {len(adapters)} and {len(weights)}."
        )
    for adapter in adapters:
        check_mergeable(adapter, base)
    names = [f"part_{i}" for i in range(len(adapters))]
    # peft makes the merged adapter in the base model's dtype; in 4 bits, in float32.
    layers = load_base(base, dtype="float32", load_in_4bit=load_in_4bit)
    with translated(adapters[0]), without_old_names():
        model = PeftModel.from_pretrained(layers, str(adapters[0]), adapter_name=names[0])
    for name, adapter in zip(names[1:], adapters[1:], strict=True):
        with translated(adapter):
            model.load_adapter(str(adapter), adapter_name=name)
    with warnings.catch_warnings():
        # It warns that a density of 1 prunes nothing, which is what was asked for.
        warnings.filterwarnings("ignore", message="The density")
        try:
            model.add_weighted_adapter(
                names,
                list(weights),
                adapter_name="merged",
                combination_type=merge_type,
                density=density if merge_type == "ties" else None,
            )
        except ValueError as error:
            raise ModelError(
                f"peft can't merge these adapters by {merge_type}: {error} Adapters of different ranks go by cat."
            ) from error
    _save_merged(model, base, folder)
    return folder


def check_mergeable(adapter: Path, base: BaseModel) -> None:
    """Raise ModelError if an adapter is of a kind that can't be merged, or of another base model."""
    from peft import PeftConfig

    check_adapter(adapter, base)
    config = PeftConfig.from_pretrained(str(adapter))
    if config.use_dora:
        raise ModelError(
            f"{adapter} is a DoRA adapter, and peft's merging leaves DoRA's magnitudes out. Merge LoRA adapters, or "
            "use another update method."
        )


def _save_merged(model: Any, base: BaseModel, folder: Path) -> None:
    config = model.peft_config["merged"]
    # peft puts the scales into the weights and sets alpha = r; rsLoRA's flag would put alpha / sqrt(r) on top.
    config.use_rslora = False
    config.base_model_name_or_path, config.revision = base.name, base.revision
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    model.save_pretrained(partial, selected_adapters=["merged"], save_embedding_layers=False)
    save_prompt_format(base, partial / "merged")
    # peft saves an adapter of any other name than `default` into a folder of that name.
    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    (partial / "merged").rename(folder)
    shutil.rmtree(partial)
