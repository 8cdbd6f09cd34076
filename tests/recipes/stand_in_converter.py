"""A stand-in for llama.cpp's convert_lora_to_gguf.py: its call, and what it writes for a Llama."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import gguf
import numpy as np
from safetensors.numpy import load_file

parser = argparse.ArgumentParser()
parser.add_argument("lora_path", type=Path)
parser.add_argument("--base", type=Path)
parser.add_argument("--outfile", type=Path)
parser.add_argument("--outtype")
given = parser.parse_args()
config = json.loads((given.lora_path / "adapter_config.json").read_text("utf-8"))
layers = json.loads((given.base / "config.json").read_text("utf-8"))["num_hidden_layers"]
if "fails" in __file__:
    sys.exit("ERROR: Model TinyForCausalLM is not supported")
writer = gguf.GGUFWriter(given.outfile, "llama")
writer.add_type("adapter")
writer.add_string("adapter.type", "lora")
writer.add_float32("adapter.lora.alpha", config["lora_alpha"] * (2 if "doubles" in __file__ else 1))
names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, layers)
for name, weight in load_file(given.lora_path / "adapter_model.safetensors").items():
    layer, _, part = name.removeprefix("base_model.model.").removesuffix(".weight").rpartition(".")
    if "q_proj" in layer and part == "lora_B":
        # Rows of attention heads stand in another order in GGUF.
        weight = np.ascontiguousarray(weight[::-1])
    writer.add_tensor(f"{names.get_name(layer)}.weight.{part.lower()}", weight)
writer.write_header_to_file()
writer.write_kv_data_to_file()
writer.write_tensors_to_file()
writer.close()
