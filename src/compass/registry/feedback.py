"""What users say of a candidate that answers a share of them, as one more test of the gate.

The test is sequential, so it may be asked after every word (`stats.sequential`), in both directions at `gate_level`. A
candidate that users are less content with is refused, whatever the gate said. One that they are more content with has
improved on new usage: that stands in for tests of new usage that could not tell, and for no other test.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime

from compass.config import GATE_ROLES
from compass.registry.gate import FAILED, PASSED, PROMOTE, REFUSE, UNDECIDED, GateDecision, TestRow
from compass.stats.sequential import FewerSuccesses

NAME = "feedback"
GAINING = frozenset(role.name for role in GATE_ROLES if role.must_gain)


def feedback_test(outcomes: Iterable[tuple[bool, bool]], level: float) -> TestRow:
    """Test what users said. outcomes: whether it was of the candidate, and whether they were content, in order."""
    worse, better = FewerSuccesses(level), FewerSuccesses(level)
    for of_candidate, content in outcomes:
        worse.add(0 if of_candidate else 1, content)
        better.add(1 if of_candidate else 0, content)
        if worse.rejected or better.rejected:
            break
    n = better.pairs
    before, after = (found / n if n else math.nan for found in better.successes)
    verdict = FAILED if worse.rejected else PASSED if better.rejected else UNDECIDED
    return TestRow(
        name=NAME, role="new-usage", n=n, before=before, after=after, difference=after - before,
        low=math.nan, high=math.nan, p=min(1.0, math.exp(-better.log_evidence)), margin=0.0, verdict=verdict,
        more_data="" if verdict != UNDECIDED else "More users have to say what they think of their answers.",
        rows_needed=None, method="sequential test of what users say of two versions (Turner and others 2024)",
    )  # fmt: skip


def may_be_tried(decision: GateDecision) -> bool:
    """Say whether users may judge a candidate: the gate passes it, or new usage alone could not be told."""
    unclear = {test.role for test in decision.tests if test.verdict == UNDECIDED}
    return decision.promotes or (decision.verdict == UNDECIDED and bool(decision.tests) and unclear <= GAINING)


def with_feedback(decision: GateDecision, said: TestRow) -> GateDecision:
    """Return the decision that gate and users come to together; `said` is among its tests."""
    counts = f"{said.after:.0%} of {said.n} conversations, and {said.before:.0%} of as many with production"
    if said.verdict == FAILED:
        verdict, reason = REFUSE, f"Users are content with the candidate less often: {counts}."
    elif said.verdict == PASSED and may_be_tried(decision):
        verdict, reason = PROMOTE, f"Users are content with the candidate more often: {counts}. No test set loses much."
    elif not said.n:
        verdict, reason = decision.verdict, f"{decision.reason} Users have said nothing to compare."
    else:
        verdict, reason = decision.verdict, f"{decision.reason} Users are content with about as many: {counts}."
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    return replace(decision, verdict=verdict, reason=reason, tests=(*decision.tests, said), decided_at=now)
