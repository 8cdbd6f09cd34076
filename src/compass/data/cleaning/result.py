"""What cleaning returns, and how rules are applied one after another."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from compass.data.example import Example

logger = logging.getLogger(__name__)

LISTED_PER_REASON = 200
"""Dropped rows that a result lists for each reason; the counts are complete."""

Found = dict[int, tuple[str, str]]
"""Index of a row to drop -> (reason, detail)."""
Rule = Callable[[Sequence[Example]], Found]
"""A rule of cleaning: the rows that earlier rules left -> those to drop."""


@dataclass(frozen=True)
class Dropped:
    """A dropped row: its id, the reason, and a detail such as the row that it repeats."""

    id: str
    reason: str
    detail: str


@dataclass(frozen=True)
class Cleaned:
    """The rows that stay, in their order, and what was dropped."""

    examples: tuple[Example, ...]
    dropped: tuple[Dropped, ...] = ()
    """The first rows dropped for each reason, at most LISTED_PER_REASON of each."""
    counts: Mapping[str, int] = field(default_factory=dict)
    """Rows dropped, by reason: all of them."""
    redacted: int = 0
    """Rows that stay with private data replaced."""

    def to_dict(self) -> dict[str, Any]:
        """Return `{"kept": n, "dropped": {reason: n}, "redacted": n}`, the last only where it is not 0."""
        found: dict[str, Any] = {"kept": len(self.examples), "dropped": dict(self.counts)}
        return {**found, "redacted": self.redacted} if self.redacted else found


def apply_rules(examples: Iterable[Example], rules: Iterable[Rule], name: str = "") -> Cleaned:
    """Drop what each rule finds in the rows that those before it left. name: what the log calls these rows."""
    rows: Sequence[Example] = list(examples)
    counts: Counter[str] = Counter()
    listed: list[Dropped] = []
    for rule in rules:
        found = rule(rows)
        for index in sorted(found):
            reason, detail = found[index]
            counts[reason] += 1
            if counts[reason] <= LISTED_PER_REASON:
                listed.append(Dropped(rows[index].id, reason, detail))
        if found:
            rows = [row for index, row in enumerate(rows) if index not in found]
    logger.info("Cleaning%s kept %d rows; dropped: %s", f" {name}" * bool(name), len(rows), dict(counts) or "none")
    return Cleaned(tuple(rows), tuple(listed), dict(counts))
