"""Versions of a language's adapter, which of them is in production, and the gate that a new one has to pass."""

from __future__ import annotations

from compass.registry.aliases import Aliases, Move
from compass.registry.difference import VersionDiff, diff
from compass.registry.events import RegistryEvent
from compass.registry.gate import GateDecision, HeldOut, TestRow, decide
from compass.registry.hooks import Delivery, Hooks, verify_signature
from compass.registry.mirror import mirror
from compass.registry.store import Registry
from compass.registry.versions import Check, Pruned, Version

__all__ = [
    "Aliases",
    "Check",
    "Delivery",
    "GateDecision",
    "HeldOut",
    "Hooks",
    "Move",
    "Pruned",
    "Registry",
    "RegistryEvent",
    "TestRow",
    "Version",
    "VersionDiff",
    "decide",
    "diff",
    "mirror",
    "verify_signature",
]
