"""What users say as a test of the gate."""

from __future__ import annotations

import numpy as np
import pytest

from compass.config import GateConfig
from compass.registry.feedback import feedback_test, may_be_tried, with_feedback
from compass.registry.gate import FAILED, PASSED, PROMOTE, REFUSE, UNDECIDED, GateDecision, HeldOut, decide


def outcomes(candidate: float, production: float, n: int = 400, seed: int = 0) -> list[tuple[bool, bool]]:
    rng = np.random.default_rng(seed)
    arms = rng.random(n) < 0.5
    return [(bool(arm), bool(rng.random() < (candidate if arm else production))) for arm in arms]


def gate(new: int, old: int = 100) -> GateDecision:
    """Return a decision: so many of 100 rows right where the parent has 50 of new usage, and all of old usage."""
    rows = np.arange(100)
    sets = [HeldOut("cy", "new-usage", rows < 50, rows < new), HeldOut("cy-0", "old-usage", rows < 100, rows < old)]
    return decide(sets, GateConfig(gate_requires=("new-usage", "old-usage")), seed=0)


def test_it_holds_its_level_in_both_directions_and_sees_a_difference() -> None:
    """Breaks if equal versions are told apart too often: the level is .05, so 4 of 40 have a chance of .05."""
    verdicts = [feedback_test(outcomes(0.7, 0.7, seed=seed), 0.05).verdict for seed in range(40)]
    assert verdicts.count(UNDECIDED) >= 36
    assert feedback_test(outcomes(0.9, 0.5), 0.05).verdict == PASSED
    assert feedback_test(outcomes(0.5, 0.9), 0.05).verdict == FAILED
    assert feedback_test([], 0.05).verdict == UNDECIDED


@pytest.mark.parametrize(
    ("new", "said", "ends"),
    [
        (90, (0.5, 0.9), REFUSE), (90, (0.7, 0.7), PROMOTE), (52, (0.9, 0.5), PROMOTE), (52, (0.7, 0.7), UNDECIDED),
        (52, (0.5, 0.9), REFUSE),
    ],
)  # fmt: skip
def test_gate_and_users_decide_together(new: int, said: tuple[float, float], ends: str) -> None:
    """Breaks if the loop promotes against one of the two, or on the word of users where they said nothing clear."""
    decision = gate(new)
    assert may_be_tried(decision)
    found = with_feedback(decision, feedback_test(outcomes(*said), 0.05))
    assert found.verdict == ends
    assert found.tests[-1].name == "feedback"
    assert GateDecision.from_dict(found.to_dict()).verdict == ends


def test_users_say_nothing_of_old_usage() -> None:
    """Breaks if content users of new topics hide that old ones are lost."""
    assert not may_be_tried(gate(90, old=40))
    assert not may_be_tried(gate(90, old=97))
    better = feedback_test(outcomes(0.9, 0.5), 0.05)
    assert with_feedback(gate(90, old=97), better).verdict == UNDECIDED
