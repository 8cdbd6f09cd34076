"""What a held-out set may stand for at the gate: one table, which options, gate and promotion all read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class MeasuredTest:
    """What tells which role a test set of a version has."""

    name: str
    """`cy`, `cy-0`, `english`, or another name of a file."""
    target: str
    """The language that the version is for."""
    is_in: Callable[[str], bool]
    """Whether the name is a tag of a language: `en-GB` is one of `en`."""
    period: int
    """0, 1, ... for a test of earlier usage; -1: none."""
    latest: int
    """The latest of the version's earlier periods; -1: there is none."""


@dataclass(frozen=True, slots=True)
class GateRole:
    """One role of a held-out set."""

    name: str
    has: Callable[[MeasuredTest], bool]
    """Whether a test set has this role. The first role of the table that says so counts."""
    must_gain: bool = False
    """True: scores must gain more than `min_improvement`. False: they must not lose more than `tolerance`."""
    required: bool = False
    """Whether `gate_requires` asks for it by default."""


GATE_ROLES = (
    GateRole("new-usage", lambda test: test.name == test.target, must_gain=True, required=True),
    GateRole("old-usage", lambda test: 0 <= test.period == test.latest, required=True),
    GateRole("period", lambda test: test.period >= 0),
    GateRole("english", lambda test: test.is_in("en") or test.name == "english", required=True),
)
"""The roles. Tests without a role are measured and reported, and decide nothing."""
