"""Which rows of a set are looked at."""

import pytest

from compass.steps.language_rows import LOOKED_AT, spread


@pytest.mark.parametrize("n", [0, 1, LOOKED_AT, LOOKED_AT + 1, 3 * LOOKED_AT - 1, 10_007])
def test_the_rows_looked_at_are_spread_over_the_set(n: int) -> None:
    """The first rows of a file that is ordered by source or date say nothing of the others."""
    looked_at = spread(range(n))  # type: ignore[arg-type]
    assert len(looked_at) <= LOOKED_AT
    if n:
        step = -(-n // LOOKED_AT)
        assert list(looked_at) == list(range(0, n, step))
        assert n - looked_at[-1] <= step
