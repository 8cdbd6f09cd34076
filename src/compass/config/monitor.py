"""The options of `compass monitor`."""

from __future__ import annotations

from dataclasses import dataclass, field

from compass.config.folders import FolderConfig
from compass.config.knobs import knob

CHECKS_EVERY = 100
"""Prompts of one language between two checks of its window, which is a whole number of such blocks [ours]."""


@dataclass(frozen=True)
class MonitorConfig:
    """How production prompts are watched for drift, and what is kept of them."""

    prompts_per_false_alarm: int = knob(
        10_000, "Without drift, expect at most one false alarm in this many prompts.", basic=True, low=100
    )
    window: int = knob(
        500,
        f"Prompts per language to compare with the reference; a multiple of {CHECKS_EVERY}.",
        basic=True,
        low=CHECKS_EVERY,
        multiple_of=CHECKS_EVERY,
    )
    reservoir: str = knob(
        "off",
        "Keep prompts for the next update: none, with private data replaced, or in full.",
        basic=True,
        choices=("off", "redacted", "full"),
    )
    reservoir_size: int = knob(1000, "Maximum number of prompts to keep per language.", low=1)
    retention_days: float = knob(30.0, "Days until a kept prompt is deleted.", low=0.0)
    monitor_batch_size: int = knob(
        256, "Prompts per batch; a batch is encoded together and counted in one transaction.", low=1
    )
    database: str = knob(
        "", "SQLAlchemy URL of state, answers and feedback; empty: files in the run, watch or serve folder."
    )


@dataclass(frozen=True)
class MonitorOptions:
    """All options of `compass monitor`."""

    monitor: MonitorConfig = field(default_factory=MonitorConfig)
    folder: FolderConfig = field(default_factory=FolderConfig)
