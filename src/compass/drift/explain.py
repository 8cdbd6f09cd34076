"""What changed, in clusters that people can name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np

from compass.drift.traffic import likelihood_ratios
from compass.semantic.arrays import IntArray, RealArray
from compass.semantic.distributions import shares

CLUSTERS_SHOWN = 8
EXAMPLES_SHOWN = 3


@dataclass(frozen=True)
class ClusterShift:
    """How one cluster's share moved."""

    cluster: int
    name: str
    reference_share: float
    window_share: float
    contribution: float
    """Its part of the divergence, in [0, 1]; the parts of all clusters sum to 1."""
    examples: tuple[str, ...]
    """Prompts kept from the window, newest first, for a cluster that grew; reference texts for one that shrank."""

    @property
    def change(self) -> float:
        """Window share - reference share, in [-1, 1]."""
        return self.window_share - self.reference_share

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dict."""
        return asdict(self) | {"change": self.change}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> ClusterShift:
        """Read back what `to_dict` wrote."""
        values = {field.name: content[field.name] for field in fields(cls)}
        return cls(**values | {"examples": tuple(content["examples"])})


@dataclass(frozen=True)
class Explanation:
    """The clusters that moved a window away from the reference, largest part first."""

    divergence: float
    grew: tuple[ClusterShift, ...]
    shrank: tuple[ClusterShift, ...]
    unlisted: float
    """Part of the divergence that lies in clusters not listed, in [0, 1]."""
    began_prompts: int | None = None
    """Prompts since the change began, as far as the window shows it; None where that was not asked."""
    began_at: float | None = None
    """When that was, in seconds since 1970; None where the prompts have no times."""

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dict."""
        return {
            "divergence": self.divergence,
            "grew": [shift.to_dict() for shift in self.grew],
            "shrank": [shift.to_dict() for shift in self.shrank],
            "untold": self.unlisted,
            "began_prompts": self.began_prompts,
            "began_at": self.began_at,
        }

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Explanation:
        """Read back what `to_dict` wrote."""
        grew, shrank = (tuple(map(ClusterShift.from_dict, content[side])) for side in ("grew", "shrank"))
        began = content.get("began_prompts"), content.get("began_at")
        return cls(content["divergence"], grew, shrank, content["untold"], *began)

    def sentences(self) -> list[str]:
        """Return a line for people for each listed cluster."""
        return [
            f"{shift.name}: from {100 * shift.reference_share:.1f} % to {100 * shift.window_share:.1f} % "
            f"({100 * shift.contribution:.0f} % of the divergence)"
            for shift in (*self.grew, *self.shrank)
        ]


def explain(
    reference: IntArray,
    window: IntArray,
    *,
    names: Sequence[str] = (),
    reference_examples: Mapping[int, Sequence[str]] | None = None,
    window_examples: Mapping[int, Sequence[str]] | None = None,
    most: int = CLUSTERS_SHOWN,
) -> Explanation:
    """Rank clusters by their part of the divergence. reference, window: (k,) counts; names: k or none.

    Lists `most` clusters at most, grown and shrunk ones together.
    """
    p, q = shares(reference), shares(window)
    parts = divergence_parts(p, q)
    total = float(parts.sum())
    weights = parts / total if total > 0 else parts
    listed = [int(k) for k in np.argsort(-weights, kind="stable")[:most] if weights[k] > 0]
    shifts = []
    for k in listed:
        texts = (window_examples if q[k] > p[k] else reference_examples) or {}
        name = names[k] if k < len(names) else f"cluster {k}"
        shown = tuple(texts.get(k, ()))[:EXAMPLES_SHOWN]
        shifts.append(ClusterShift(k, name, float(p[k]), float(q[k]), float(weights[k]), shown))
    return Explanation(
        total,
        tuple(shift for shift in shifts if shift.change > 0),
        tuple(shift for shift in shifts if shift.change <= 0),
        float(max(0.0, 1.0 - weights[listed].sum())) if total > 0 else 0.0,
    )


def began(reference: IntArray, blocks: Sequence[IntArray]) -> int:
    """Return the block from which on prompts are of another mix: the most likely one. Each (k,) counts."""
    later = np.cumsum(np.stack(blocks)[::-1], axis=0)[::-1]
    before = np.concatenate([np.zeros((1, len(reference)), dtype=np.int64), np.cumsum(np.stack(blocks)[:-1], axis=0)])
    return int(np.argmax(likelihood_ratios(later[:, None], (before + reference)[:, None])))


def divergence_parts(p: RealArray, q: RealArray) -> RealArray:
    """Return each cluster's term of the Jensen-Shannon divergence in bits, all >= 0. p, q: (k,) shares."""
    from scipy.special import rel_entr

    middle = (p + q) / 2.0
    parts: RealArray = (rel_entr(p, middle) + rel_entr(q, middle)) / (2.0 * np.log(2.0))
    return np.maximum(parts, 0.0)
