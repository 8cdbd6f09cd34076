"""Anchored replay: `β · L_DAR`, the trainer's own loss on rows of the history beside each batch of new rows.

What the paper's L_DAR is in detail is not known (a secondary source: the loss on a distribution-anchored replay buffer
of 5 % of the history, β = 0.1). Ours: the mean loss of a response token over a small batch of anchors, drawn anew for
each micro-batch, as a term of its own. Each step therefore sees both kinds of rows, and β says how much the old ones
weigh against the new ones, whatever their numbers; mixed into one set, their weight would be their share of the rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from compass.errors import DataError
from compass.training.formatting import Encoded
from compass.training.head import IGNORED

REPLAY_WEIGHT = 1.0
"""β [ours]: a token of the past weighs as much as a new one. The paper's 0.1, by a secondary source, held nothing back
in our measurements (docs/continual.md)."""


class Replay:
    """The replay loss as a term of the loss."""

    name = "replay_loss"

    def __init__(
        self, anchors: Sequence[Encoded], weight: float = REPLAY_WEIGHT, *, batch_size: int, pad_id: int, seed: int
    ) -> None:
        """Take the anchors as tokens. batch_size: anchors of one micro-batch. Raises DataError if there are none."""
        if not anchors:
            raise DataError("Replay needs anchors, and there are none. Raise the anchors' share, or use method ewc.")
        self.weight = weight
        self._anchors = tuple(anchors)
        self._size = min(batch_size, len(anchors))
        self._pad = pad_id
        self._seed = seed

    def check(self, model: Any) -> None:
        """Nothing of the model can be wrong for replay."""

    def rows(self, micro_batch: int) -> list[int]:
        """Return the anchors of a micro-batch: the anchors in shuffled passes, each seen once before any returns."""
        places = range(micro_batch * self._size, (micro_batch + 1) * self._size)
        passes = {place // len(self._anchors): None for place in places}
        orders = {n: np.random.default_rng([self._seed, n]).permutation(len(self._anchors)) for n in passes}
        return [int(orders[place // len(self._anchors)][place % len(self._anchors)]) for place in places]

    def __call__(self, model: Any, micro_batch: int, loss_of: Callable[[dict[str, Any]], Any]) -> Any:
        """Return the mean loss of a response token over the micro-batch's anchors."""
        import torch

        batch = [self._anchors[i] for i in self.rows(micro_batch)]
        width = max(len(row) for row in batch)
        ids, labels, mask = [], [], []
        for row in batch:
            fill = width - len(row)
            ids.append([*row.prompt, *row.response] + [self._pad] * fill)
            labels.append([IGNORED] * len(row.prompt) + list(row.response) + [IGNORED] * fill)
            mask.append([1] * len(row) + [0] * fill)
        names = {"input_ids": ids, "attention_mask": mask, "labels": labels}
        return loss_of({name: torch.tensor(rows, device=model.device) for name, rows in names.items()})
