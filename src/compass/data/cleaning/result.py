"""What cleaning returns, and how rules are applied one after another."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from compass.data.example import Dropped, Example
from compass.data.stored_rows import StoredRows, chosen, without
from compass.engines import each_block

logger = logging.getLogger(__name__)

Found = dict[int, tuple[str, str]]
"""Index of a row to drop -> (reason, detail)."""
Rule = Callable[[Sequence[Example]], Found]
"""A rule of cleaning: the rows that earlier rules left -> those to drop."""


@dataclass(frozen=True)
class Cleaned:
    """The rows that stay, in their order, and what was dropped."""

    examples: Sequence[Example]
    dropped: tuple[Dropped, ...] = ()
    """Every row that was dropped, by rule."""
    counts: Mapping[str, int] = field(default_factory=dict)
    """Rows dropped, by reason: all of them."""
    redacted: int = 0
    """Rows that stay with private data replaced."""

    def to_dict(self) -> dict[str, Any]:
        """Return `{"kept": n, "dropped": {reason: n}, "redacted": n}`, the last only where it is not 0."""
        found: dict[str, Any] = {"kept": len(self.examples), "dropped": dict(self.counts)}
        return {**found, "redacted": self.redacted} if self.redacted else found


def found_in_blocks(rule: Rule, rows: Sequence[Example]) -> Found:
    """Return what a rule that looks at each row by itself finds, block by block, on whatever engine there is."""
    return {start + index: why for start, found in each_block(rule, rows) for index, why in found.items()}


def with_left_out(cleaned: Cleaned, left_out: Iterable[Dropped]) -> Cleaned:
    """Add rows that were left out before the rules, such as those that could not be read."""
    dropped = (*left_out, *cleaned.dropped)
    return replace(cleaned, dropped=dropped, counts=dict(Counter(row.reason for row in dropped)))


def apply_rules(examples: Iterable[Example], rules: Iterable[Rule], name: str = "") -> Cleaned:
    """Drop what each rule finds in the rows that those before it left. name: what the log calls these rows."""
    rows: Sequence[Example] = examples if isinstance(examples, StoredRows) else tuple(examples)
    dropped: list[Dropped] = []
    for rule in rules:
        found = rule(rows)
        places = sorted(found)
        for index, row in zip(places, chosen(rows, places), strict=True):
            dropped.append(Dropped(row.id, *found[index], row.place))
        rows = without(rows, found)
    counts = Counter(row.reason for row in dropped)
    why = ", ".join(f"{n} {reason}" for reason, n in counts.items()) or "none"
    logger.info("Cleaning%s kept %d rows; dropped: %s", f" {name}" * bool(name), len(rows), why)
    return Cleaned(rows, tuple(dropped), dict(counts))
