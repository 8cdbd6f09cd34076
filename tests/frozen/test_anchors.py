"""Which rows of the history an update goes on seeing, as in version 0.1."""

from __future__ import annotations

import pytest

from frozen import stored
from frozen.cases import FILES

CASES = FILES["anchors"]


@pytest.mark.parametrize("case", CASES)
def test_anchors_are_those_of_version_0_1(case: str) -> None:
    """A break would mean that an update rehearses other rows of the same history, and forgets others."""
    stored.check("anchors", case, CASES[case]())
