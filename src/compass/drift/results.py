"""What the monitor says: checks, events, and what became of a batch."""

from __future__ import annotations

import dataclasses
import logging
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from compass.drift.explain import Explanation

logger = logging.getLogger(__name__)

MIX = "*"
"""Name of the stream of all prompts, whose categories are languages."""
MOST_WARNINGS = 3
"""Lines skipped for one reason that are named in the log one by one."""
LARGEST_LOSS = 1e6
"""A loss is in nats a token: what is larger is an error of whoever measured it, and would drown all others [ours]."""
NO_LOSS = f"a loss that is not a number of at most {LARGEST_LOSS:,.0f}"
NO_VECTOR = "a vector that is not finite"
"""Why a prompt is not counted."""
ELSEWHERE = "a prompt that another language's adapter answered, or the base model: no part of this usage"
REPEATED = "a prompt that one sender repeats, as bots and retries do: counted once"


@dataclass(frozen=True)
class Check:
    """One test's comparison of a stream with the reference, at one moment."""

    stream: str
    """Language, or `*` for the mix of languages."""
    test: str
    prompts: int
    """Prompts of the stream that were seen by then."""
    value: float
    """What the test measures: its `describe` names it."""
    threshold: float | None
    """Value above which the check is an alarm, where it is known beforehand (histogram, languages: approximately)."""
    p_value: float
    alpha: float
    """Level of the check."""
    alarm: bool
    reference_value: float | None = None
    """The value on the reference, where the test has one. Not stored with a check, but with its event."""

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dict, as a database keeps it."""
        content = dict(vars(self))
        del content["reference_value"]
        return content

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Check:
        """Read back a stored check, or the check of a stored event; other keys are left alone."""
        return cls(**{name.name: content[name.name] for name in dataclasses.fields(cls) if name.name in content})


@dataclass(frozen=True)
class DriftEvent:
    """A test raised an alarm (`drift`), or enough checks in a row have been quiet since (`recovered`)."""

    kind: str
    check: Check
    explanation: Explanation | None
    """Clusters, or for the mix of languages the languages, that grew and shrank."""

    def to_dict(self, *, examples: bool = True) -> dict[str, Any]:
        """Return a JSON-ready dict; without `examples` no text of a user is in it."""
        explanation = self.explanation.to_dict() if self.explanation else None
        for shift in [*explanation["grew"], *explanation["shrank"]] if explanation and not examples else ():
            shift["examples"] = []
        return {
            "kind": self.kind,
            **self.check.to_dict(),
            "reference_value": self.check.reference_value,
            "explanation": explanation,
        }

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> DriftEvent:
        """Read back what `to_dict` wrote."""
        explanation = Explanation.from_dict(content["explanation"]) if content["explanation"] else None
        return cls(content["kind"], Check.from_dict(content), explanation)


@dataclass(frozen=True)
class Skipped:
    """What the monitor passed over for one reason: lines of the input, prompts, or checks of a test that failed."""

    reason: str
    """Never holds what a user wrote."""
    n: int
    first: str = ""
    """Place of the first: file and line, or stream and prompt."""
    at: float | None = None
    """When the first was passed over, in seconds since 1970; None where it is not stored yet."""

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dict."""
        return {"reason": self.reason, "n": self.n, "first": self.first, "at": self.at}


_TIME = "time"


class SkipWarnings:
    """Names the first lines that something is wrong with; of more, says how many at 10, 100, 1,000, and so on."""

    def __init__(self) -> None:
        self._seen: Counter[str] = Counter()

    def add(self, place: str, kind: str, reason: str) -> None:
        """Note one line. reason: the kind, and where in the line."""
        self._tell(
            kind, f"{place} skipped: {reason}", f"lines skipped so far for one reason: {kind}; the latest: {place}"
        )

    def add_time(self, place: str) -> None:
        """Note a line whose prompt counts, without its time, which can't be read."""
        self._tell(
            _TIME,
            f"{place}: its time is neither ISO 8601 nor a number since 1970, and is left out",
            f"times left out so far that can't be read; the latest: {place}",
        )

    def _tell(self, kind: str, one: str, so_far: str) -> None:
        self._seen[kind] += 1
        n = self._seen[kind]
        if n <= MOST_WARNINGS:
            logger.warning("%s", one)
        elif str(n).strip("0") == "1":
            logger.warning("%d %s", n, so_far)


def by_reason(skips: Iterable[Skipped]) -> tuple[Skipped, ...]:
    """Add up what was passed over for the same reason; the first place of each stays."""
    found: dict[str, Skipped] = {}
    for skip in skips:
        before = found.get(skip.reason)
        found[skip.reason] = dataclasses.replace(before, n=before.n + skip.n) if before else skip
    return tuple(found.values())


@dataclass(frozen=True)
class Observed:
    """What became of one batch."""

    prompts: int
    """Prompts that were counted."""
    repeated: bool
    """Whether the batch was counted before, and therefore not again."""
    checks: tuple[Check, ...] = ()
    events: tuple[DriftEvent, ...] = ()
    repeats: int = 0
    """Prompts that one sender repeated, and that were therefore not counted again."""
    unwatched: Mapping[str, int] = field(default_factory=dict)
    """Prompts by language that count in the mix alone, since the reference has too few rows of the language."""
    skipped: tuple[Skipped, ...] = ()
    """Prompts that could not be counted, and checks that failed, besides what the caller had passed over."""
