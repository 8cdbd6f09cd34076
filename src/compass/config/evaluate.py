"""The options of `compass evaluate`."""

from __future__ import annotations

from dataclasses import dataclass, field

from compass.config.adapt import AdaptConfig
from compass.config.knobs import knob


@dataclass(frozen=True)
class TasksConfig:
    """How lm-eval's tasks are run."""

    num_fewshot: int = knob(
        0, "Examples before each question; -1: as the task says. Rows of the usage sample are refused.", low=-1
    )
    limit: int = knob(0, "Rows of each task, at most, for a trial; 0: all.", low=0)
    task_batch_size: int = knob(8, "Requests in one batch.", low=1)
    task_max_length: int = knob(0, "Tokens of context; 0: as the model's configuration says.", low=0)
    apply_chat_template: bool = knob(False, "Put questions into the model's chat template.")
    include_path: str = knob("", "Folder with further task files, such as those made of local data.")
    oneruler: str = knob("", "Folder of OneRuler's repository; tasks `oneruler_...` are made of it.")
    oneruler_rows: int = knob(50, "Prompts of each of OneRuler's tasks.", low=1)


@dataclass(frozen=True)
class TaskOptions:
    """All options of `compass evaluate --tasks`."""

    adapt: AdaptConfig = field(default_factory=AdaptConfig)
    tasks: TasksConfig = field(default_factory=TasksConfig)
