"""How sure is a difference: intervals, tests and effect sizes on paired rows; one-sided tests against a margin."""

from compass.stats.comparison import PairedComparison, compare_paired, difference_between_runs
from compass.stats.effects import cohens_d, minimum_detectable_effect
from compass.stats.intervals import BOOTSTRAP_DRAWS, paired_difference, ratio_interval, wilson
from compass.stats.margins import PairedTest, paired_test, rows_needed, unchanged_rows_needed
from compass.stats.permutation import PermutationTest, holm, permutation_test

__all__ = [
    "BOOTSTRAP_DRAWS",
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
