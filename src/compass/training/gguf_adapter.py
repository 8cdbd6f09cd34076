"""An adapter as a GGUF LoRA, made by llama.cpp's own converter, read back and compared."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from compass.errors import ModelError
from compass.runs import layout
from compass.training.adapters import read_adapter_config
from compass.training.models import BaseModel, configuration_of

TOLERANCE = 1e-4
"""Relative, of what the adapter adds; the file keeps float32."""

Added = Mapping[str, npt.NDArray[np.float64]]
"""What an adapter adds to each layer's weights, by GGUF's name of these."""


def check_convertible(adapter: Path) -> None:
    """Raise ModelError for an adapter that llama.cpp would not apply as it was trained."""
    config = read_adapter_config(adapter)
    if config.get("use_dora"):
        raise ModelError(f"{adapter} is a DoRA adapter, and llama.cpp applies LoRA alone. Use --to merged.")
    if config.get("alpha_pattern"):
        raise ModelError(
            f"{adapter} scales some layers by alpha_pattern, and a GGUF LoRA has one alpha. Use --to merged."
        )


def write_gguf(base: BaseModel, adapter: Path, file: Path, converter: Path) -> int:
    """Convert an adapter and compare what the file adds to each layer; return the number of layers.

    Raises ModelError if the converter fails, or its file is not the adapter.
    """
    check_convertible(adapter)
    with tempfile.TemporaryDirectory(prefix="compass-gguf-") as work:
        staged = _staged(adapter, Path(work))
        command = [
            sys.executable, str(converter), str(staged), "--base", str(_configuration(base)), "--outfile", str(file),
            "--outtype", "f32",
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode or not file.is_file():
        said = (done.stderr.strip() or done.stdout.strip() or "it wrote nothing").splitlines()[-1]
        raise ModelError(
            f"{converter} failed: {said}. It may not know models of {base.name}'s kind; use --to merged, or a newer "
            "llama.cpp."
        )
    wanted, found = _added(base, adapter, _architecture(file)), read_added(file)
    wrong = sorted(set(wanted) ^ set(found)) or [name for name in wanted if not _same(wanted[name], found[name])]
    if wrong:
        raise ModelError(
            f"{file}: {len(wrong)} of {len(wanted)} layers are not the adapter's ({', '.join(wrong[:3])}). Use another "
            "version of llama.cpp, or --to merged."
        )
    return len(found)


def read_added(file: Path) -> Added:
    """Read what a GGUF LoRA adds to each layer, as llama.cpp applies it."""
    from gguf import GGUFReader

    reader = GGUFReader(file)
    alpha = float(reader.fields["adapter.lora.alpha"].contents())
    tensors: dict[str, Any] = {str(tensor.name): np.asarray(tensor.data, np.float64) for tensor in reader.tensors}
    added = {}
    for name in tensors:
        if name.endswith(".lora_a"):
            layer = name.removesuffix(".lora_a")
            b, a = tensors[f"{layer}.lora_b"], tensors[name]
            added[layer] = (b @ a) * (alpha / a.shape[0])
    return added


def _staged(adapter: Path, work: Path) -> Path:
    """Copy an adapter with its scale as llama.cpp takes it, alpha / r: rsLoRA's is alpha / √r."""
    config = read_adapter_config(adapter)
    if config.get("use_rslora"):
        config |= {"lora_alpha": config["lora_alpha"] * math.sqrt(config["r"]), "use_rslora": False}
    (work / layout.ADAPTER_CONFIG_FILE).write_text(json.dumps(config), encoding="utf-8")
    shutil.copyfile(adapter / layout.WEIGHTS_FILE, work / layout.WEIGHTS_FILE)
    return work


def _configuration(base: BaseModel) -> Path:
    """Return a folder with the base model's configuration."""
    if Path(base.path).is_dir():
        return Path(base.path)
    from huggingface_hub import snapshot_download

    return Path(snapshot_download(base.path, revision=base.revision, allow_patterns=["*.json"]))


def _architecture(file: Path) -> str:
    from gguf import GGUFReader

    return str(GGUFReader(file).fields["general.architecture"].contents())


def _added(base: BaseModel, adapter: Path, architecture: str) -> Added:
    """Return what the adapter adds to each layer, as peft applies it, by the names of GGUF's architecture."""
    from gguf import MODEL_ARCH, MODEL_ARCH_NAMES, get_tensor_name_map
    from safetensors.numpy import load_file

    config, text = read_adapter_config(adapter), configuration_of(base).get_text_config()
    root = math.sqrt(config["r"]) if config.get("use_rslora") else config["r"]
    weights = load_file(adapter / layout.WEIGHTS_FILE)
    known = {name: arch for arch, name in MODEL_ARCH_NAMES.items()}
    names = get_tensor_name_map(known.get(architecture, MODEL_ARCH.LLAMA), text.num_hidden_layers)
    added = {}
    for name, a in weights.items():
        if ".lora_A." not in name:
            continue
        layer = name.removeprefix("base_model.model.").removesuffix(".lora_A.weight").replace("language_model.", "")
        b = weights[name.replace(".lora_A.", ".lora_B.")].astype(np.float64)
        added[f"{names.get_name(layer) or layer}.weight"] = (b @ a.astype(np.float64)) * (config["lora_alpha"] / root)
    return added


def _same(wanted: npt.NDArray[np.float64], found: npt.NDArray[np.float64]) -> bool:
    """Compare but for the order of rows: llama.cpp keeps the rows of some attention heads in another one."""
    if wanted.shape != found.shape:
        return False
    scale = TOLERANCE * max(float(np.abs(wanted).max()), 1e-12)
    by_column = np.abs(np.linalg.norm(wanted, axis=0) - np.linalg.norm(found, axis=0)).max()
    rows = [np.sort(np.linalg.norm(of, axis=1)) for of in (wanted, found)]
    return bool(max(by_column, np.abs(rows[0] - rows[1]).max()) <= scale * math.sqrt(max(wanted.shape)))
