"""The options of `compass registry`, of its gate and of the hooks."""

from __future__ import annotations

from dataclasses import dataclass, field

from compass.config.adapt import RunConfig
from compass.config.gate_roles import GATE_ROLES, GateRole
from compass.config.knobs import knob


@dataclass(frozen=True)
class RegistryConfig:
    """Where versions are stored, and how many are kept."""

    registry_dir: str = knob("registry", "Folder of the registry.", basic=True, required=True)
    keep_versions: int = knob(5, "Number of newest versions per language that `prune` keeps.", basic=True, low=0)
    leave_out: tuple[str, ...] = knob(
        (), "File of the run folder to leave out of versions: selection/map.parquet.", basic=True
    )
    mlflow_uri: str = knob("", "MLflow registry to mirror to, such as sqlite:///mlflow.db; empty: none.")


ANY_ROLE = "default"
"""Key of the tolerance of every role that has none of its own."""


@dataclass(frozen=True)
class GateConfig:
    """What an update must show to be promoted. Differences are in the unit of the scores: 0.02 is 2 points."""

    gate_level: float = knob(
        0.05,
        "Significance level of each test: at most this chance of a wrong promotion.",
        low=1e-6,
        high=0.5,
    )
    min_improvement: float = knob(
        0.0, "Minimum gain on new usage: scores must gain more than this.", basic=True, low=0.0
    )
    tolerance: dict[str, float] = knob(
        {ANY_ROLE: 0.03},
        "Maximum loss on old usage, earlier periods and English: 0.03 for all, or english=0.05 for one.",
        basic=True,
        low=0.0,
        choices=(ANY_ROLE, *(role.name for role in GATE_ROLES if not role.must_gain)),
    )
    gate_requires: tuple[str, ...] = knob(
        tuple(role.name for role in GATE_ROLES if role.required),
        "Roles that must be tested; without one of them there is not enough evidence.",
        choices=tuple(role.name for role in GATE_ROLES),
    )
    gate_min_rows: int = knob(20, "Minimum rows of a test; with fewer, it never passes.", low=2)

    def margin_of(self, role: GateRole) -> float:
        """Return the largest loss that a role tolerates; for one that must gain, minus that gain."""
        return 0.0 - self.min_improvement if role.must_gain else self.tolerance_of(role.name)

    def tolerance_of(self, role: str) -> float:
        """Return the largest loss that a role tolerates."""
        default = self.tolerance.get(ANY_ROLE, GateConfig().tolerance[ANY_ROLE])
        return self.tolerance.get(role, default)


HOOK_EVENTS = ("drift", "update", "canary", "promotion", "refusal")
"""Events that hooks can receive."""


@dataclass(frozen=True)
class HookConfig:
    """Who receives the events of the loop."""

    webhook_url: str = knob("", "URL that receives each event as a JSON POST; empty: none.", basic=True)
    hook_command: str = knob("", "Shell command that receives each event as JSON on stdin; empty: none.")
    hook_events: tuple[str, ...] = knob(HOOK_EVENTS, "Events that hooks receive.", choices=HOOK_EVENTS)


@dataclass(frozen=True)
class RegistryOptions:
    """All options of `compass registry`."""

    run: RunConfig = field(default_factory=RunConfig)
    registry: RegistryConfig = field(default_factory=RegistryConfig)
    gate: GateConfig = field(default_factory=GateConfig)
