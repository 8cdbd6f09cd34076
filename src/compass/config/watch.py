"""The options of `compass watch`."""

from __future__ import annotations

from dataclasses import dataclass

from compass.config.adapt import SelectionConfig, TrainingConfig
from compass.config.knobs import knob, part
from compass.config.monitor import MonitorConfig
from compass.config.registry import GateConfig, HookConfig, RegistryConfig
from compass.config.update import OF_THE_PARENT, UpdateConfig


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


SETTLED = (
    *OF_THE_PARENT, "model_name_or_path", "model_revision", "trust_remote_code", "load_in_4bit", "dtype", "lora_r",
    "lora_alpha", "lora_dropout", "lora_target_modules", "use_dora", "use_rslora", "max_serving_rank",
)  # fmt: skip
"""Training options that an update of the loop takes from the version in production."""


@dataclass(frozen=True)
class WatchOptions:
    """All options of `compass watch`. Of selection and training, those that are given change the updates."""

    selection: SelectionConfig = part(SelectionConfig)
    training: TrainingConfig = part(TrainingConfig, without=SETTLED)
    monitor: MonitorConfig = part(MonitorConfig)
    update: UpdateConfig = part(UpdateConfig)
    registry: RegistryConfig = part(RegistryConfig)
    gate: GateConfig = part(GateConfig)
    hooks: HookConfig = part(HookConfig)
    watch: WatchConfig = part(WatchConfig)
