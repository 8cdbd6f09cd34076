"""The options of `compass watch`."""

from __future__ import annotations

from dataclasses import dataclass, field

from compass.config.adapt import AdaptConfig
from compass.config.knobs import knob
from compass.config.monitor import MonitorConfig
from compass.config.registry import GateConfig, HookConfig, RegistryConfig
from compass.config.update import UpdateConfig


@dataclass(frozen=True)
class WatchConfig:
    """When drift leads to an update, what the update is made of, and where the loop keeps its state."""

    watch_dir: str = knob("watch", "Folder of the loop: its state, and an update while it is made.", required=True)
    status_page: str = knob("", "HTML file that is rewritten after each event; empty: status.html in watch_dir.")
    updates_per_day: int = knob(2, "Updates that may start in 24 hours; 0 only watches.", low=0)
    quiet_hours: float = knob(6.0, "Hours after an update in which no other starts.", low=0.0)
    prompts_after_drift: int = knob(
        500, "Prompts since the alarm before an update starts, so that its usage is the new one.", low=0
    )
    min_usage_rows: int = knob(
        50, "Rows of new usage below which no update is made: they are the next reference too.", low=30
    )
    update_usage: str = knob("", "Source of new usage; empty: the newest prompts that the monitor's reservoir kept.")
    update_train: str = knob("", "Source of new training rows in the language; empty: none.")
    update_test: str = knob(
        "", "Source of held-out new usage with responses; empty: half of the new usage that has a response."
    )
    gate_rows: int = knob(200, "Rows of each test set that an update is measured on, at most.", low=20)


@dataclass(frozen=True)
class WatchOptions:
    """All options of `compass watch`; those of `compass adapt` that are given change the updates."""

    adapt: AdaptConfig = field(default_factory=AdaptConfig)
    monitor: MonitorConfig = field(default_factory=MonitorConfig)
    update: UpdateConfig = field(default_factory=UpdateConfig)
    registry: RegistryConfig = field(default_factory=RegistryConfig)
    gate: GateConfig = field(default_factory=GateConfig)
    hooks: HookConfig = field(default_factory=HookConfig)
    watch: WatchConfig = field(default_factory=WatchConfig)
