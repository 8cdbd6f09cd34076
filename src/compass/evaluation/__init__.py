"""Measuring models: function calls and texts, losses, intervals and paired differences."""

from compass.evaluation.evaluate import (
    ClusterScore,
    Difference,
    Evaluation,
    TextModel,
    compare,
    compare_by_cluster,
    evaluate,
)
from compass.evaluation.files import (
    read_differences,
    read_evaluation,
    read_task,
    write_differences,
    write_evaluation,
    write_task,
)
from compass.evaluation.lm_eval_bridge import TaskMetric, TaskResult, TaskSample, compare_tasks, run_tasks
from compass.evaluation.local_tasks import MadeTasks, UsageSplit, make_tasks, split_usage
from compass.evaluation.metrics import Call, parse_call
from compass.evaluation.oneruler import is_oneruler, make_oneruler
from compass.evaluation.statistics import (
    Interval,
    PairedComparison,
    PermutationTest,
    cohens_d,
    compare_paired,
    holm,
    minimum_detectable_effect,
    paired_difference,
    permutation_test,
    ratio_interval,
    wilson,
)

__all__ = [
    "Call",
    "ClusterScore",
    "Difference",
    "Evaluation",
    "Interval",
    "MadeTasks",
    "PairedComparison",
    "PermutationTest",
    "TaskMetric",
    "TaskResult",
    "TaskSample",
    "TextModel",
    "UsageSplit",
    "cohens_d",
    "compare",
    "compare_by_cluster",
    "compare_paired",
    "compare_tasks",
    "evaluate",
    "holm",
    "is_oneruler",
    "make_oneruler",
    "make_tasks",
    "minimum_detectable_effect",
    "paired_difference",
    "parse_call",
    "permutation_test",
    "ratio_interval",
    "read_differences",
    "read_evaluation",
    "read_task",
    "run_tasks",
    "split_usage",
    "wilson",
    "write_differences",
    "write_evaluation",
    "write_task",
]
