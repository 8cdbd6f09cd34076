"""Does one arm succeed less often than another? A test that may be looked at after every outcome.

An e-process (Turner, Ly and Grünwald 2024, "Generic e-variables for exact sequential k-sample tests"): outcomes of the
two arms are taken in pairs, in the order in which they come, and a pair multiplies the evidence by

    p_a(y_a) p_b(y_b) / (p_0(y_a) p_0(y_b)),   p_0 = (p_a + p_b) / 2,

where p_a < p_b are guesses from earlier pairs. While arm a succeeds at least as often as arm b, the expectation of that
factor is at most 1, so evidence ever reaches 1/level with a probability of at most `level` (Ville's inequality). Rates
may change with time, as long as they are about the same for both outcomes of a pair: an outage that hits both arms says
nothing of either.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field

MOST_UNPAIRED = 20
"""Outcomes of one arm that wait for the other; older ones are left out, for they are of another time.

The oldest that waits is taken. The latest is seldom a failure where clients try again at once, and so arm b would look
better than it is [ours].
"""


@dataclass
class FewerSuccesses:
    """Evidence that arm a succeeds less often than arm b."""

    level: float
    log_evidence: float = 0.0
    pairs: int = 0
    successes: list[int] = field(default_factory=lambda: [0, 0])
    """Of the pairs, by arm."""
    _waiting: tuple[deque[bool], deque[bool]] = field(
        default_factory=lambda: (deque(maxlen=MOST_UNPAIRED), deque(maxlen=MOST_UNPAIRED))
    )

    @property
    def rejected(self) -> bool:
        """Whether the evidence has ever been enough."""
        return self.log_evidence >= -math.log(self.level)

    def add(self, arm: int, success: bool) -> bool:
        """Take in one outcome of arm 0 (a) or 1 (b); return `rejected`."""
        if self.rejected:
            return True
        self._waiting[arm].append(success)
        if self._waiting[0] and self._waiting[1]:
            self._pair(self._waiting[0].popleft(), self._waiting[1].popleft())
        return self.rejected

    def _pair(self, a: bool, b: bool) -> None:
        # The guesses are of earlier pairs alone.
        p_a, p_b = ((n + 1.0) / (self.pairs + 2.0) for n in self.successes)
        if p_a < p_b:
            p_0 = (p_a + p_b) / 2.0
            for y, p in ((a, p_a), (b, p_b)):
                self.log_evidence += math.log((p if y else 1.0 - p) / (p_0 if y else 1.0 - p_0))
        self.pairs += 1
        self.successes[0] += a
        self.successes[1] += b
