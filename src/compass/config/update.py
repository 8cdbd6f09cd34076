"""The options of `compass update`."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field

from compass.config.adapt import AdaptConfig
from compass.config.folders import FolderConfig
from compass.config.knobs import knob


@dataclass(frozen=True)
class UpdateMethod:
    """What a method adds to training on the new rows."""

    explanation: str
    fresh: bool = False
    """Train a new adapter instead of the serving one."""
    all_history: bool = False
    """Train on the whole history besides the new rows."""
    penalty: bool = False
    """Add the EWC penalty λ · L_EWC."""
    replay: str = ""
    """Add the replay loss β · L_DAR on anchors: drawn by period and cluster ("anchors") or uniformly ("random")."""
    merge: bool = False
    """Merge the serving adapter and the one trained from it."""


UPDATE_METHODS: Mapping[str, UpdateMethod] = {
    "naive": UpdateMethod("Train the serving adapter on the new rows alone: adapts most, forgets most."),
    "ewc": UpdateMethod("naive, with a penalty on changing weights that the history needs.", penalty=True),
    "replay-random": UpdateMethod(
        "naive, with a replay loss on rows sampled uniformly from the history.", replay="random"
    ),
    "replay": UpdateMethod("naive, with a replay loss on anchors, sampled by period and cluster.", replay="anchors"),
    "ecda": UpdateMethod("ewc and replay together: the method of the paper.", penalty=True, replay="anchors"),
    "retrain": UpdateMethod("A new adapter on all history and the new rows: the costly baseline.", True, True),
    "merge": UpdateMethod("naive, then merged with the serving adapter by TIES.", merge=True),
}
"""The ways to update an adapter, by name."""


@dataclass(frozen=True)
class UpdateConfig:
    """How an adapter follows new usage without forgetting the old."""

    method: str = knob(
        "replay",
        "Update method; replay and ecda protect what was learned before.",
        basic=True,
        choices=tuple(UPDATE_METHODS),
    )
    ewc_lambda: float = knob(2.0, "Weight of the EWC penalty, λ.", low=0.0)
    replay_weight: float = knob(1.0, "Weight of the replay loss, β.", low=0.0)
    replay_batch_size: int = knob(4, "Anchors per batch of new rows.", low=1)
    anchor_share: float = knob(0.05, "Share of the history to keep as anchors.", low=0.0, high=1.0)
    min_anchors: int = knob(64, "Minimum number of anchors, if the history has enough rows.", low=0)
    max_anchors: int = knob(2000, "Maximum number of anchors.", low=1)
    fisher_rows: int = knob(500, "Maximum rows to estimate the Fisher information on.", low=1)


RETENTION_ROWS = 200
"""Maximum rows of each retention test of an update, unless told: an update that changes nothing passes the gate's
tolerance of three points from about 100 rows on [ours]."""


def with_retention_rows(parent: AdaptConfig) -> AdaptConfig:
    """Return a parent's options as an update takes them that is not told how many rows its retention tests have."""
    measured = parent.evaluation
    if not measured.max_retention_rows:
        return parent
    rows = max(measured.max_retention_rows, RETENTION_ROWS)
    return dataclasses.replace(parent, evaluation=dataclasses.replace(measured, max_retention_rows=rows))


OF_THE_PARENT: Mapping[str, str] = {
    "adapter": "an update continues from its parent's adapter. Leave it out",
    "averaged_trainings": "an update is one training, which continues from one adapter. Leave it out",
}
"""Options of `adapt` that an update settles by itself -> why they are refused."""


@dataclass(frozen=True)
class UpdateOptions:
    """All options of `compass update`."""

    adapt: AdaptConfig = field(default_factory=AdaptConfig)
    update: UpdateConfig = field(default_factory=UpdateConfig)
    folder: FolderConfig = field(default_factory=FolderConfig)
