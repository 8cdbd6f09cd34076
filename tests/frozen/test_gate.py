"""What the gate decides on the same scores, and every number that it gives for it, as in version 0.1."""

from __future__ import annotations

import pytest

from frozen import stored
from frozen.cases import FILES

CASES = FILES["gate"]


@pytest.mark.parametrize("case", CASES)
def test_decisions_are_those_of_version_0_1(case: str) -> None:
    """A break would mean that an update which was refused goes into production, or the other way round, or that the
    report gives other limits, p values or advice for the same decision."""
    stored.check("gate", case, CASES[case]())


def test_every_answer_of_the_gate_is_in_a_case() -> None:
    """A break would mean that promotion, refusal, lack of evidence or one of the tests behind them is not frozen."""
    decisions = stored.read("gate").values()
    assert {decision["verdict"] for decision in decisions} == {"promote", "refuse", "not enough evidence"}
    methods = {test["method"] for decision in decisions for test in decision["tests"]}
    assert methods == {
        "", "exact score test", "score test", "studentised bootstrap", "studentised bootstrap over units",
        "bound for rows without any spread",
    }  # fmt: skip
