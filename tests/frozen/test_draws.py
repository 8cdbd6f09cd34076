"""The inputs of the other frozen tests: when these fail, the others say nothing about compass."""

from __future__ import annotations

import pytest

from frozen import stored
from frozen.cases import FILES

CASES = FILES["draws"]


@pytest.mark.parametrize("case", CASES)
def test_draws_are_the_same_to_the_bit(case: str) -> None:
    """A break would mean that numpy draws other numbers, or that draws.py was changed: no result of compass has."""
    stored.check("draws", case, CASES[case]())


@pytest.mark.parametrize("name", FILES)
def test_each_case_is_stored_and_each_stored_value_is_a_case(name: str) -> None:
    """A break would mean that a strategy or a case came or went, and something is not looked at any more."""
    assert list(stored.read(name)) == list(FILES[name])
