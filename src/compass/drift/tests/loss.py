"""Is the adapter doing worse where people say what was right? A one-sided permutation test on losses."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from compass.drift.catalogue import register
from compass.drift.level import draws_for, sequential_p_value
from compass.drift.protocol import Batch, DriftTest, Stream
from compass.drift.results import Check
from compass.semantic.arrays import RealArray

CHECKS_A_WINDOW = 4
"""Checks while the window of losses moves on by its own length."""


@register
@dataclass(eq=False)
class LossTest(DriftTest):
    """Compare the latest losses with those of the reference, or with the first ones where the reference has none."""

    share: float = 0.1
    window: int = 200
    """Labelled prompts that are compared with the reference's losses."""
    name = "loss"
    late_labels = True
    quiet_checks = CHECKS_A_WINDOW

    def fit(self, stream: Stream) -> None:
        """Take the reference's losses."""
        self.stream = stream
        self.step_ = max(1, self.window // CHECKS_A_WINDOW)
        self.alpha_ = stream.level(self.share, every=self.step_)

    def observe(self, batch: Batch) -> Iterator[Check]:
        """Take in the losses one by one; check when enough labelled prompts have come since the last check."""
        prompts = batch.prompts.beginning() if batch.sessions else batch.prompts
        losses, reference = prompts.losses, self.stream.reference.losses
        for loss in losses[~np.isnan(losses)]:
            if not len(reference) and len(self._first) < self.window:
                self._first.append(float(loss))
                continue
            self._labelled += 1
            self._latest.append(float(loss))
            if len(self._latest) == self.window and not self._labelled % self.step_:
                yield self._check(batch, reference if len(reference) else np.array(self._first))

    def _check(self, batch: Batch, reference: RealArray) -> Check:
        p_value = loss_p_value(
            self._latest,
            reference,
            most=draws_for(self.alpha_),
            seed=self.stream.seed(self.name, self._labelled),
        )
        mean = float(np.mean(self._latest))
        return batch.check(self.name, mean, p_value, self.alpha_, reference_value=float(reference.mean()))

    def save(self, stored: dict[str, Any]) -> None:
        """Write the losses and how many there were, under the keys of version 0.1."""
        stored["labelled"] = self._labelled
        stored["losses"], stored["first_losses"] = list(self._latest), list(self._first)

    def restore(self, stored: Mapping[str, Any]) -> None:
        """Read what `save` wrote."""
        self._labelled = stored.get("labelled", 0)
        self._latest = deque(stored.get("losses", ()), maxlen=self.window)
        self._first = list(stored.get("first_losses", ()))

    def settings(self) -> Mapping[str, float]:
        """Return the window: so many losses are stored."""
        return {"feedback_window": self.window}

    def status(self) -> Mapping[str, Any]:
        """Return how many labelled prompts have been compared or will be."""
        return {"labelled": self._labelled}

    def describe(self, value: float) -> str:
        """Return a mean loss in words."""
        return f"mean loss {value:.3f}"


def loss_p_value(window: npt.ArrayLike, reference: npt.ArrayLike, *, most: int, seed: int) -> float:
    """Return the permutation p-value of a higher mean loss in the window. window: (n,), reference: (m,) losses.

    Losses may be of any kind (1 for wrong and 0 for right, cross-entropy, a rating turned over); higher is worse.
    """
    new, old = np.asarray(window, dtype=np.float64), np.asarray(reference, dtype=np.float64)
    pooled = np.concatenate([new, old])
    rng = np.random.default_rng(seed)

    def draw(size: int) -> RealArray:
        means: RealArray = rng.permuted(np.tile(pooled, (size, 1)), axis=1)[:, : len(new)].mean(axis=1)
        return means

    return sequential_p_value(float(new.mean()), draw, most=most)
