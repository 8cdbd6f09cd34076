"""Are there more prompts far from every cluster than the reference has? An exact rank test.

A histogram puts each prompt into the nearest cluster, however far it is. "Far" is beyond the r-th largest distance of
the m reference rows. With no change, each of n new distances is as likely to take any rank among all m + n, so the
number beyond that distance is beta-binomial(n, r, m - r + 1), whatever the distribution of distances (the exceedance
test; Gibbons and Chakraborti, Nonparametric Statistical Inference, ch. 6). So the p-value knows how uncertain the
reference's tail is.

`save` writes into the record of the window itself, as version 0.1 stored it. A new test writes under keys of its own,
as `LossTest` does.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from compass.drift.catalogue import register
from compass.drift.protocol import Batch, DriftTest, Stream
from compass.drift.results import Check
from compass.semantic.arrays import RealArray


@register
@dataclass(eq=False)
class NoveltyTest(DriftTest):
    """Count the prompts of each window that are far from every cluster."""

    share: float = 0.1
    tail: float = 0.05
    """Share of the reference that counts as far from every cluster."""
    name = "novelty"
    cadence = "block"

    _full: deque[int] = field(init=False, repr=False)
    """Far prompts of each full block of the window."""
    _open: int = field(init=False, repr=False)
    """Far prompts of the block that is being filled."""

    def fit(self, stream: Stream) -> None:
        """Find the distance beyond which a prompt is far."""
        self.stream, self.quiet_checks, self._blocks = stream, stream.blocks, stream.blocks
        self.alpha_ = stream.level(self.share, every=stream.block)
        self.exceedances_ = Exceedances.fit(stream.reference.distances, stream.window, tail=self.tail)
        self.threshold_ = self.exceedances_.threshold(self.alpha_)

    def observe(self, batch: Batch) -> Iterator[Check]:
        """Count the far prompts; check the window when a block is full."""
        self._open += int(np.count_nonzero(self.exceedances_.novel(batch.prompts.distances)))
        if not batch.ends_block:
            return
        self._full.append(self._open)
        self._open = 0
        if batch.window is None:
            return
        novel = sum(self._full)
        if batch.compared is not None:
            yield self._among_dependent(batch, novel)
            return
        yield batch.check(
            self.name, novel / self.exceedances_.window, self.exceedances_.p_value(novel), self.alpha_,
            threshold=self.threshold_, reference_value=self.exceedances_.reference_rate,
        )  # fmt: skip

    def _among_dependent(self, batch: Batch, novel: int) -> Check:
        """Check a window of prompts that hang together, as one of the independent prompts that it is worth."""
        compared, exceedances = batch.compared, self.exceedances_
        assert compared is not None
        background = self.stream.background
        far = background.far_inflation if background else 1.0
        rate = novel / exceedances.window
        n = compared.window.sum() / far
        p_value = exceedances.p_value_of(rate, min(n, compared.effective), compared.effective_reference)
        return batch.check(self.name, rate, p_value, self.alpha_, reference_value=exceedances.reference_rate)

    def save(self, stored: dict[str, Any]) -> None:
        """Write the far prompts of each block beside the block's counts, where version 0.1 has them."""
        window = stored["window"]
        for block, novel in zip([*window["closed"], window["open"]], [*self._full, self._open], strict=True):
            block[1] = novel

    def restore(self, stored: Mapping[str, Any]) -> None:
        """Read what `save` wrote."""
        window = stored.get("window", {"closed": [], "open": [[], 0]})
        self._full = deque((novel for _, novel in window["closed"]), maxlen=self._blocks)
        self._open = window["open"][1]

    def settings(self) -> Mapping[str, float]:
        """Return the tail: what is far has been counted by it."""
        return {"novelty_tail": self.tail}

    def describe(self, value: float) -> str:
        """Return a share of prompts in words."""
        return f"{100 * value:.1f} % of prompts far from every cluster"


@dataclass(frozen=True, eq=False)
class Exceedances:
    """Exceedances of windows of one size over the reference's tail."""

    cut: float
    """Distance (1 - cosine to the nearest centroid) beyond which a prompt is novel."""
    reference_rate: float
    """Share of the reference at or beyond the cut, r / m."""
    p_values_: RealArray = field(repr=False)
    """(n + 1,), p-value of 0, 1, ..., n novel prompts in a window of n."""

    @classmethod
    def fit(cls, distances: npt.ArrayLike, window: int, *, tail: float) -> Exceedances:
        """Take the cut from the reference. distances: (m,) of the reference rows; tail: share that counts as far."""
        from scipy.stats import betabinom

        x = np.sort(np.asarray(distances, dtype=np.float64))
        m = len(x)
        r = int(np.clip(round(tail * m), 1, m))
        # Summed from the far end, so that small tails keep their digits.
        law = np.asarray(betabinom.pmf(np.arange(window + 1), window, r, m - r + 1), dtype=np.float64)
        return cls(float(x[m - r]), r / m, np.minimum(np.cumsum(law[::-1])[::-1], 1.0))

    @property
    def window(self) -> int:
        """Prompts in a window."""
        return len(self.p_values_) - 1

    def novel(self, distances: npt.ArrayLike) -> npt.NDArray[np.bool_]:
        """Say which prompts lie beyond the cut; ties do not, which can only raise the p-value. distances: (n,)."""
        return np.asarray(distances, dtype=np.float64) > self.cut

    def p_value(self, novel: int) -> float:
        """Return the p-value of so many novel prompts in a window; small is many."""
        return float(self.p_values_[novel])

    def p_value_of(self, rate: float, window: float, reference: float) -> float:
        """Return the p-value of a share of novel prompts, where window and reference are worth so many prompts."""
        from scipy.stats import betabinom

        n, m = max(1, math.floor(window)), max(1, math.floor(reference))
        r = max(1, math.ceil(self.reference_rate * m))
        return float(betabinom.sf(math.floor(rate * n) - 1, n, r, m - r + 1))

    def threshold(self, alpha: float) -> float:
        """Return the smallest share of novel prompts that is an alarm at level alpha; above 1 if none is."""
        below = np.flatnonzero(self.p_values_ <= alpha)
        return float(below[0] / self.window) if len(below) else 1.0 + 1.0 / self.window
