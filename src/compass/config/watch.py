"""The options of `compass watch`."""

from __future__ import annotations

from dataclasses import dataclass

from compass.config.adapt import SelectionConfig
from compass.config.folders import FolderConfig
from compass.config.knobs import knob, part
from compass.config.monitor import MonitorConfig
from compass.config.registry import GateConfig, HookConfig, RegistryConfig
from compass.config.training import TrainingConfig
from compass.config.update import OF_THE_PARENT, UpdateConfig


@dataclass(frozen=True)
class WatchConfig:
    """When drift leads to an update, what the update is made of, and where the loop keeps its state."""

    watch_dir: str = knob(
        "watch", "Folder for the state of the loop and for an update in progress.", basic=True, required=True
    )
    prompts: str = knob(
        "", "Production prompts of a project's languages, as SOURCE; empty: those that the gateway writes."
    )
    status_page: str = knob("", "HTML status page, rewritten after each event; empty: status.html in watch_dir.")
    updates_per_day: int = knob(2, "Maximum updates in 24 hours; 0 = monitor only.", basic=True, low=0)
    quiet_hours: float = knob(6.0, "Hours after an update in which no other starts.", low=0.0)
    prompts_after_drift: int = knob(
        500, "Prompts to wait for after an alarm, so that the update sees the new usage.", low=0
    )
    min_usage_rows: int = knob(
        50, "Minimum rows of new usage for an update; they also become the next reference.", low=30
    )
    update_usage: str = knob("", "Source of new usage; empty: the latest prompts of the reservoir.", basic=True)
    update_train: str = knob("", "Source of new training data in the language; empty: none.", basic=True)
    update_test: str = knob(
        "", "Held-out new usage with responses; empty: half of the new usage that has responses.", basic=True
    )
    update_feedback: str = knob(
        "", "Folder of the gateway (serve_dir); corrections of users become training rows and tests."
    )
    canary_hours: float = knob(
        0.0,
        "Hours that users of the gateway judge an update before it is promoted; 0 = the gate alone decides.",
        low=0.0,
    )
    gate_rows: int = knob(200, "Maximum rows of each test of an update.", low=20)


SETTLED = (
    *OF_THE_PARENT, "model_name_or_path", "model_revision", "load_in_4bit", "dtype", "lora_r",
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
    registry: RegistryConfig = part(RegistryConfig, without=("keep_versions",))
    gate: GateConfig = part(GateConfig)
    hooks: HookConfig = part(HookConfig)
    watch: WatchConfig = part(WatchConfig)
    folder: FolderConfig = part(FolderConfig)
