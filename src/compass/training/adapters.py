"""Adapter folders: is there a whole adapter in it, and does it fit the base model weight for weight?

What peft can't place it leaves out with a warning, and the rest of the adapter stays as it was made: such a model is
measured and trained on as if it were whole. So each weight of the file is compared with those that the model has, by
name and shape, before anything is loaded. Nothing is ever looked up on the hub, and no pickle is read.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from compass.errors import ModelError, RunError
from compass.runs import layout
from compass.runs.files import read_json
from compass.training.models import BaseModel, configuration_of, load_base, translated
from compass.training.quiet import without_old_names

PICKLE = "adapter_model.bin"
"""peft's former format, which runs code when it is loaded."""
KIND = "LORA"
"""The kind of adapter that is read, as peft writes it: LoRA, DoRA and rsLoRA, which are what servers load."""
PATTERN_SECONDS = 10.0
"""Time that the patterns of module names get."""
MATCH = "import json, re, sys; p, m = json.load(sys.stdin); [re.fullmatch(a, b) for a in p for b in m]"
SHOWN = 3
"""Names of weights that a message shows of each kind."""

Shapes = Mapping[str, tuple[int, ...]]
"""Shape of each weight by its name."""


def load_with_adapter(
    base: BaseModel,
    adapter: Path | None,
    *,
    dtype: str = "auto",
    load_in_4bit: bool = False,
    trainable: bool = False,
    attention: str | None = None,
) -> Any:
    """Load a base model as `load_base` does and, if given, an adapter on it. Raises ModelError if they do not fit."""
    if adapter is None:
        return load_base(base, dtype=dtype, load_in_4bit=load_in_4bit, attention=attention)
    check_adapter(adapter, base)
    model = load_base(base, dtype=dtype, load_in_4bit=load_in_4bit, attention=attention)
    from peft import PeftModel

    with translated(adapter), without_old_names():
        return PeftModel.from_pretrained(model, str(adapter), is_trainable=trainable)


def adapter_rank(adapter: Path) -> int:
    """Return the rank that an adapter folder has. Raises ModelError if it does not say."""
    return int(read_adapter_config(adapter)["r"])


def check_adapter(adapter: Path, base: BaseModel) -> None:
    """Refuse an adapter that is damaged, was trained on another base model, or does not fit it weight for weight.

    An embedded model that is not prepared yet is compared by name alone. Raises ModelError.
    """
    check_trained_on(adapter, base)
    found = weight_shapes(adapter)
    check_values(adapter)
    if base.is_ready:
        _check_fit(adapter, found, *_expected(adapter, base))


def check_trained_on(adapter: Path, base: BaseModel) -> None:
    """Refuse an adapter whose configuration names another base model or another revision of it. Raises ModelError."""
    config = read_adapter_config(adapter)
    trained_on, revision = config.get("base_model_name_or_path"), config.get("revision")
    if not trained_on or not isinstance(trained_on, str):
        raise ModelError(
            f"{adapter / layout.ADAPTER_CONFIG_FILE} does not say which base model the adapter was trained on. If it "
            f"was {base.name}, write that as its base_model_name_or_path."
        )
    if base.is_same(trained_on, revision):
        return
    if not base.is_named(trained_on):
        raise ModelError(
            f"{adapter} was trained on {trained_on}, not on {base.name}. Pass --model-name-or-path {trained_on}."
        )
    way = f"Pass --model-revision {revision}."
    if base.is_folder:
        way = "Its files have changed since; give the folder as it was, or train again."
    raise ModelError(
        f"{adapter} was trained on revision {revision} of {base.name}, and {base.revision} was loaded. {way}"
    )


def read_adapter_config(adapter: Path) -> dict[str, Any]:
    """Return the configuration of an adapter folder. Raises ModelError if it has none of a LoRA adapter."""
    file = adapter / layout.ADAPTER_CONFIG_FILE
    if not file.is_file():
        raise ModelError(
            f"{adapter} is not an adapter folder: it has no adapter_config.json. Give the `adapter` folder of a run."
        )
    try:
        config = dict(read_json(file, dict))
    except RunError as error:
        raise ModelError(f"{adapter} is a damaged adapter: {error}") from error
    kind, rank = config.get("peft_type"), config.get("r")
    if kind != KIND:
        raise ModelError(f"{file}: peft_type is {kind!r}, and only {KIND} is read: LoRA, DoRA and rsLoRA.")
    if isinstance(rank, bool) or not isinstance(rank, int) or rank < 1:
        raise ModelError(f"{file}: r, the adapter's rank, must be a whole number from 1; it is {rank!r}.")
    patterns = config.get("alpha_pattern")
    for scale in (config.get("lora_alpha", 8), *(patterns.values() if isinstance(patterns, dict) else ())):
        # At 0 nothing is left of the adapter, and what is no number makes every answer one.
        if isinstance(scale, bool) or not isinstance(scale, int | float) or not math.isfinite(scale) or scale == 0:
            raise ModelError(
                f"{file}: lora_alpha, the adapter's scale, must be a number other than 0; it is {scale!r}."
            )
    return config


def weight_shapes(adapter: Path) -> Shapes:
    """Return the shape of each weight that an adapter folder holds, by name. Raises ModelError if it holds none."""
    from safetensors import SafetensorError, safe_open

    file = adapter / layout.WEIGHTS_FILE
    if not file.is_file():
        pickled = (adapter / PICKLE).is_file()
        raise ModelError(
            f"{adapter} has no weights: {layout.WEIGHTS_FILE} is missing. "
            + (f"{PICKLE} can run code when it is read, so convert it to safetensors." if pickled else "Restore it.")
        )
    try:
        with safe_open(file, framework="pt") as opened:
            return {name: tuple(opened.get_slice(name).get_shape()) for name in opened.keys()}  # noqa: SIM118
    except (OSError, ValueError, SafetensorError) as error:
        raise ModelError(
            f"{file} can't be read as safetensors ({error}): it is cut or damaged. Restore it, or train again."
        ) from error


def check_patterns(adapter: Path, modules: Sequence[str]) -> None:
    """Refuse patterns of module names that are none, or that take for ever: peft has no time limit for them.

    modules: names of the base model's. They are matched in a process of their own, which can be ended. Raises
    ModelError.
    """
    config, file = read_adapter_config(adapter), adapter / layout.ADAPTER_CONFIG_FILE
    for key in ("target_modules", "exclude_modules", "rank_pattern", "alpha_pattern"):
        value = config.get(key)
        patterns = [value] if isinstance(value, str) else list(value) if isinstance(value, dict) else []
        if not patterns or value == "all-linear":
            continue
        given = json.dumps([[rf"(?:.*\.)?(?:{pattern})" for pattern in patterns], list(modules)])
        try:
            subprocess.run(
                [sys.executable, "-I", "-c", MATCH], input=given, text=True, capture_output=True, check=True,
                timeout=PATTERN_SECONDS,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            problem = "takes too long to match"
        except subprocess.CalledProcessError as error:
            problem = f"is none: {error.stderr.strip().rpartition(': ')[2]}"
        else:
            continue
        raise ModelError(f"{file}: the pattern of {key} {problem}. Name the modules in a list.")


def check_values(adapter: Path) -> None:
    """Refuse an adapter whose weights are no finite floating-point numbers. Raises ModelError with their count."""
    from safetensors import safe_open

    file = adapter / layout.WEIGHTS_FILE
    wrong = []
    with translated(file), safe_open(file, framework="pt") as opened:
        for name in sorted(opened.keys()):
            weight = opened.get_tensor(name)
            if not weight.is_floating_point():
                wrong.append(f"{name}: {weight.dtype}")
            elif not weight.float().isfinite().all():
                wrong.append(f"{name}: not finite")
    if wrong:
        raise ModelError(
            f"{file}: {len(wrong)} weights are no finite floating-point numbers ({_first(wrong, str)}). Restore the "
            "file, or train again with a lower learning_rate."
        )


def check_target_modules(names: Sequence[str], base: BaseModel) -> None:
    """Refuse names of target modules that the base model does not have. Raises ModelError with those that exist."""
    if not names or not base.is_ready:
        return
    from torch.nn import Embedding, Linear
    from transformers.pytorch_utils import Conv1D

    layers = [
        name for name, module in skeleton(base).named_modules() if isinstance(module, Linear | Embedding | Conv1D)
    ]
    unknown = [name for name in names if not any(layer == name or layer.endswith(f".{name}") for layer in layers)]
    if not unknown:
        return
    own = sorted({layer.rpartition(".")[2] for layer in layers})
    raise ModelError(
        f"lora_target_modules: {base.name} has no layer {', '.join(map(repr, unknown))}. "
        f"It has {', '.join(own)}; or write all-linear."
    )


def skeleton(base: BaseModel) -> Any:
    """Return a base model's layers without weights and without memory for them. Raises ModelError if it can't be."""
    import torch
    from transformers import AutoModelForCausalLM

    config = configuration_of(base)
    with _quiet(), torch.device("meta"), translated(base.name):
        return AutoModelForCausalLM.from_config(config, trust_remote_code=base.trust_remote_code)


def _expected(adapter: Path, base: BaseModel) -> tuple[Shapes, Shapes]:
    """Return the weights that the adapter must have on this model, and those of the vocabulary that it may have."""
    import torch
    from peft import PeftConfig, get_peft_model, get_peft_model_state_dict

    layers = skeleton(base)
    check_patterns(adapter, [name for name, _ in layers.named_modules()])
    with _quiet(), translated(adapter), torch.device("meta"):
        config = PeftConfig.from_pretrained(str(adapter))
        # What the weights begin from costs time and is overwritten.
        config.init_lora_weights = False
        config.inference_mode = True
        model = get_peft_model(layers, config, low_cpu_mem_usage=True)
        own = get_peft_model_state_dict(model, save_embedding_layers=False)
        more = get_peft_model_state_dict(model, save_embedding_layers=True)
    return _shapes(own), _shapes(more)


def _check_fit(adapter: Path, found: Shapes, wanted: Shapes, allowed: Shapes) -> None:
    """Compare the weights of a folder with those of the model. Raises ModelError that counts what does not fit."""
    missing = sorted(wanted.keys() - found.keys())
    unexpected = sorted(found.keys() - wanted.keys() - allowed.keys())
    shapes = {**allowed, **wanted}
    wrong = sorted(name for name, shape in found.items() if name in shapes and shapes[name] != shape)
    if not (missing or unexpected or wrong):
        return
    parts = [
        f"{len(names)} {what} ({_first(names, shown)})"
        for what, names, shown in (
            ("are missing", missing, str),
            ("belong to no layer of the model", unexpected, str),
            ("have another shape", wrong, lambda name: f"{name}: {list(found[name])} for {list(shapes[name])}"),
        )
        if names
    ]
    raise ModelError(
        f"{adapter} does not fit the base model: it should have {len(wanted)} weights and has {len(found)}; "
        f"{', '.join(parts)}. Use the adapter's own base model and the files as they were saved."
    )


def _first(names: Sequence[str], shown: Callable[[str], str]) -> str:
    more = f", and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(map(shown, names[:SHOWN])) + more


def _shapes(weights: Mapping[str, Any]) -> Shapes:
    return {name: tuple(weight.shape) for name, weight in weights.items()}


@contextmanager
def _quiet() -> Iterator[None]:
    """Leave out what the libraries warn of in a model that is never used."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
