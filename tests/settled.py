"""What a process of tests does once its libraries are loaded: less work for the garbage collector and the disk."""

from __future__ import annotations

import gc
import os

gc.collect()
# The libraries' millions of objects live as long as the process: no collection need look at them again.
gc.freeze()
# Kills spare what the kernel holds, and no test cuts the power: waiting for the disk would take minutes in all.
os.fsync = os.fstat  # type: ignore[assignment]
