"""How sure is a difference: intervals, tests and effect sizes on paired rows; one-sided tests against a margin."""

from compass.stats.differences import (
    PairedComparison,
    PermutationTest,
    cohens_d,
    compare_paired,
    difference_between_runs,
    holm,
    minimum_detectable_effect,
    paired_difference,
    permutation_test,
    ratio_interval,
    wilson,
)
from compass.stats.margins import PairedTest, paired_test, rows_needed, unchanged_rows_needed

__all__ = [
    "PairedComparison",
    "PairedTest",
    "PermutationTest",
    "cohens_d",
    "compare_paired",
    "difference_between_runs",
    "holm",
    "minimum_detectable_effect",
    "paired_difference",
    "paired_test",
    "permutation_test",
    "ratio_interval",
    "rows_needed",
    "unchanged_rows_needed",
    "wilson",
]
