"""What the monitor says: looks, events, and what became of a batch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from compass.drift.explain import Explanation

MIX = "*"
"""Name of the stream of all prompts, whose classes are languages."""


@dataclass(frozen=True)
class Look:
    """One test at one look."""

    stream: str
    """Language, or `*` for the mix of languages."""
    test: str
    prompts: int
    """Prompts of the stream that were seen by then."""
    value: float
    """Divergence in bits (histogram, languages), MMD² (vectors), share of novel prompts, or mean loss."""
    threshold: float | None
    """Value above which the look is an alarm, where it is known beforehand (histogram and languages: approximately)."""
    p_value: float
    alpha: float
    """Level of the look."""
    alarm: bool


@dataclass(frozen=True)
class DriftEvent:
    """A test went off (`drift`), or has been quiet for a whole window since (`recovered`)."""

    kind: str
    look: Look
    reference_value: float | None
    """The reference's share of novel prompts or mean loss; None for the other tests."""
    explanation: Explanation | None
    """Clusters, or for the mix of languages the languages, that grew and shrank."""

    def to_dict(self, *, examples: bool = True) -> dict[str, Any]:
        """Return a JSON-ready dict; without `examples` no text of a user is in it."""
        told = self.explanation.to_dict() if self.explanation else None
        for shift in [*told["grew"], *told["shrank"]] if told and not examples else ():
            shift["examples"] = []
        return {
            "kind": self.kind,
            **asdict(self.look),
            "reference_value": self.reference_value,
            "explanation": told,
        }


@dataclass(frozen=True)
class Observed:
    """What became of one batch."""

    prompts: int
    """Prompts that were counted."""
    repeated: bool
    """Whether the batch was counted before, and therefore not again."""
    looks: tuple[Look, ...] = ()
    events: tuple[DriftEvent, ...] = ()
    unwatched: Mapping[str, int] = field(default_factory=dict)
    """Prompts by language that count in the mix alone, since the reference has too few rows of the language."""


def describe(event: DriftEvent) -> str:
    """Return an event as one line for people, without any prompt."""
    look = event.look
    what = {
        "histogram": f"divergence {look.value:.3f} bits",
        "vectors": f"MMD² {look.value:.4f}",
        "novelty": f"{100 * look.value:.1f} % of prompts far from every cluster",
        "languages": f"mix of languages, divergence {look.value:.3f} bits",
        "loss": f"mean loss {look.value:.3f}",
    }[look.test]
    where = "all languages" if look.stream == MIX else look.stream
    line = (
        f"{event.kind} in {where} after {look.prompts} prompts: {what} (p = {look.p_value:.2g}, level {look.alpha:.2g})"
    )
    told = event.explanation.sentences()[:3] if event.explanation and event.kind == "drift" else []
    return "; ".join([line, *told])
