"""The options of `compass label`."""

from __future__ import annotations

from dataclasses import dataclass, field

from compass.config.adapt import AdaptConfig
from compass.config.folders import FolderConfig
from compass.config.knobs import knob, part
from compass.config.monitor import MonitorConfig


@dataclass(frozen=True)
class LabelConfig:
    """How many prompts a person should answer, and where the files for it are written."""

    n: int = knob(24, "Number of prompts to list.", basic=True, low=1)
    label_dir: str = knob("", "Folder of the files; empty: label/ in the run folder.", basic=True)


@dataclass(frozen=True)
class LabelOptions:
    """All options of `compass label`."""

    adapt: AdaptConfig = field(default_factory=AdaptConfig)
    label: LabelConfig = field(default_factory=LabelConfig)
    monitor: MonitorConfig = part(
        MonitorConfig,
        without=("prompts_per_false_alarm", "window", "reservoir", "reservoir_size", "monitor_batch_size"),
    )
    folder: FolderConfig = field(default_factory=FolderConfig)
