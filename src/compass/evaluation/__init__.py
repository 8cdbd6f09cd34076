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
from compass.evaluation.files import read_differences, read_evaluation, write_differences, write_evaluation
from compass.evaluation.metrics import Call, parse_call
from compass.evaluation.statistics import Interval, paired_difference, ratio_interval, wilson

__all__ = [
    "Call",
    "ClusterScore",
    "Difference",
    "Evaluation",
    "Interval",
    "TextModel",
    "compare",
    "compare_by_cluster",
    "evaluate",
    "paired_difference",
    "parse_call",
    "ratio_interval",
    "read_differences",
    "read_evaluation",
    "wilson",
    "write_differences",
    "write_evaluation",
]
