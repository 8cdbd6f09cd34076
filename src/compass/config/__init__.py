"""Every option once: its name, type, default, unit and one line of help, in one file a command.

The same names serve as YAML keys, command-line flags and Python arguments. A YAML file may group them under the
section names (`data:`, `encoder:`, ...) or list them flat; every name is unique across sections and commands.
"""

from compass.config.adapt import (
    COLUMN_SETS,
    AdaptConfig,
    DataConfig,
    EncoderConfig,
    EvaluationConfig,
    RunConfig,
    SelectionConfig,
    SpaceConfig,
)
from compass.config.checking import advice, validate
from compass.config.compare import CompareConfig, GridConfig
from compass.config.dumping import as_flags, changed_flags, dump_config
from compass.config.evaluate import JudgeConfig, TaskOptions, TasksConfig
from compass.config.export import ExportConfig, ExportOptions
from compass.config.gate_roles import GATE_ROLES, GateRole, MeasuredTest
from compass.config.gone import Gone, recorded
from compass.config.knobs import AUTO, Option, Options, fields_of, sections_of
from compass.config.label import LabelConfig, LabelOptions
from compass.config.loading import (
    Project,
    all_options,
    gone_options,
    load_config,
    load_options,
    load_parent,
    load_project,
    load_stored,
    load_stored_options,
    named_options,
    read_stored,
)
from compass.config.monitor import MonitorConfig, MonitorOptions
from compass.config.registry import HOOK_EVENTS, GateConfig, HookConfig, RegistryConfig, RegistryOptions
from compass.config.serve import DashboardOptions, ForgetOptions, ServeConfig, ServeOptions
from compass.config.training import EPOCHS, TrainingConfig
from compass.config.update import UPDATE_METHODS, UpdateConfig, UpdateMethod, UpdateOptions
from compass.config.watch import WatchConfig, WatchOptions

__all__ = [
    "AUTO",
    "COLUMN_SETS",
    "EPOCHS",
    "GATE_ROLES",
    "HOOK_EVENTS",
    "UPDATE_METHODS",
    "AdaptConfig",
    "CompareConfig",
    "DashboardOptions",
    "DataConfig",
    "EncoderConfig",
    "EvaluationConfig",
    "ExportConfig",
    "ExportOptions",
    "ForgetOptions",
    "GateConfig",
    "GateRole",
    "Gone",
    "GridConfig",
    "HookConfig",
    "JudgeConfig",
    "LabelConfig",
    "LabelOptions",
    "MeasuredTest",
    "MonitorConfig",
    "MonitorOptions",
    "Option",
    "Options",
    "Project",
    "RegistryConfig",
    "RegistryOptions",
    "RunConfig",
    "SelectionConfig",
    "ServeConfig",
    "ServeOptions",
    "SpaceConfig",
    "TaskOptions",
    "TasksConfig",
    "TrainingConfig",
    "UpdateConfig",
    "UpdateMethod",
    "UpdateOptions",
    "WatchConfig",
    "WatchOptions",
    "advice",
    "all_options",
    "as_flags",
    "changed_flags",
    "dump_config",
    "fields_of",
    "gone_options",
    "load_config",
    "load_options",
    "load_parent",
    "load_project",
    "load_stored",
    "load_stored_options",
    "named_options",
    "read_stored",
    "recorded",
    "sections_of",
    "validate",
]
