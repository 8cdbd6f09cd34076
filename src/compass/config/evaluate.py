"""The options of `compass evaluate`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from compass.config.adapt import AdaptConfig
from compass.config.checking import Conflict
from compass.config.knobs import knob


@dataclass(frozen=True)
class TasksConfig:
    """How lm-eval's tasks are run."""

    num_fewshot: int = knob(
        0,
        "Few-shot examples; -1 = as the task says. Tasks that draw them from the usage are refused.",
        basic=True,
        low=-1,
    )
    limit: int = knob(0, "Maximum rows per task, for a trial; 0 = all.", basic=True, low=0)
    task_batch_size: int = knob(8, "Requests per batch.", low=1)
    task_max_length: int = knob(0, "Context length in tokens; 0 = that of the model's configuration.", low=0)
    apply_chat_template: bool = knob(False, "Format prompts with the model's chat template.")
    include_path: str = knob("", "Folder of further task definitions, such as those of your own data.")
    oneruler: str = knob("", "Folder of the OneRuler repository; needed for tasks `oneruler_...`.")
    oneruler_rows: int = knob(50, "Prompts per OneRuler task.", low=1)


@dataclass(frozen=True)
class JudgeConfig:
    """A model on a server that says which of two answers is better."""

    judge: str = knob(
        "", "OpenAI-compatible server that compares answers: base and adapter, or two run folders.", basic=True,
        from_operator=True,
    )  # fmt: skip
    judge_model: str = knob("", "Name of the judge's model.", basic=True)
    judge_requests: int = knob(
        0, "Maximum requests to send now, two per row; 0 = only print how many are needed.", basic=True, low=0
    )

    def conflicts(self) -> Iterator[Conflict]:
        """Yield what is wrong together."""
        if self.judge and not self.judge_model:
            yield ("judge_model",), "judge_model: the judge needs the name of its model. Write --judge-model NAME"


@dataclass(frozen=True)
class TaskOptions:
    """All options of `compass evaluate`."""

    adapt: AdaptConfig = field(default_factory=AdaptConfig)
    tasks: TasksConfig = field(default_factory=TasksConfig)
    judging: JudgeConfig = field(default_factory=JudgeConfig)
