"""Measuring models: function calls and texts, losses, intervals and paired differences."""

from compass.evaluation.cached_answers import CachedAnswers
from compass.evaluation.evaluate import (
    Evaluation,
    TextModel,
    compare,
    compare_by_cluster,
    evaluate,
    items,
)
from compass.evaluation.files import (
    read_differences,
    read_evaluation,
    read_task,
    write_differences,
    write_evaluation,
    write_task,
)
from compass.evaluation.lm_eval.bridge import TaskMetric, TaskResult, TaskSample, compare_tasks, run_tasks
from compass.evaluation.lm_eval.local_tasks import MadeTasks, UsageSplit, make_tasks, split_usage
from compass.evaluation.lm_eval.oneruler.tasks import make_oneruler
from compass.evaluation.lm_eval.oneruler.variants import is_oneruler

__all__ = [
    "CachedAnswers",
    "Evaluation",
    "MadeTasks",
    "TaskMetric",
    "TaskResult",
    "TaskSample",
    "TextModel",
    "UsageSplit",
    "compare",
    "compare_by_cluster",
    "compare_tasks",
    "evaluate",
    "is_oneruler",
    "items",
    "make_oneruler",
    "make_tasks",
    "read_differences",
    "read_evaluation",
    "read_task",
    "run_tasks",
    "split_usage",
    "write_differences",
    "write_evaluation",
    "write_task",
]
