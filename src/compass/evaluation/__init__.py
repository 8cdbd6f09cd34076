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
    "PairedComparison",
    "PermutationTest",
    "TextModel",
    "cohens_d",
    "compare",
    "compare_by_cluster",
    "compare_paired",
    "evaluate",
    "holm",
    "minimum_detectable_effect",
    "paired_difference",
    "parse_call",
    "permutation_test",
    "ratio_interval",
    "read_differences",
    "read_evaluation",
    "wilson",
    "write_differences",
    "write_evaluation",
]
