"""Has the mix of topics changed? Jensen-Shannon divergence, calibrated.

The divergence of two samples of one distribution is not 0 but about (K-1)/(8 ln2)·(1/n + 1/m) bits, for a window of n
and a reference of m rows. So its null distribution is found for each (n, m, K) by resampling the reference, with both
samples drawn anew; that gives the threshold that people see and a first p-value. Only where this is small, the exact
test decides: under no change, reference and window are one exchangeable sample, so each split of their pooled counts
into m and n is as likely as the one that was seen (multivariate hypergeometric), whatever the true distribution.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from compass.drift.catalogue import register
from compass.drift.compared import Compared
from compass.drift.level import draws_for, sequential_p_value
from compass.drift.protocol import Batch, DriftTest, Stream
from compass.drift.results import Check
from compass.drift.traffic import likelihood_ratios, matched_divergence, split, whole_numbers
from compass.errors import DataError
from compass.semantic.arrays import IntArray, RealArray
from compass.semantic.divergence import jensen_shannon_divergence, jensen_shannon_divergences

SCREEN_LEVELS = 4
SCREEN = 0.002
"""The exact test is run where the calibrated p-value is below so many levels, or below SCREEN if that is more. A screen
can only take alarms away, so the promise does not rest on it [ours]."""
GROWTH = 2.0
"""What a topic that grows counts for among dependent prompts: a drift brings few topics that grow, and takes a little
from all others, so that these add noise alone. Of sessions it finds 10 % after some 300 prompts for 400 [ours]."""
FEWEST_DRAWS = 2_000
MOST_DRAWS = 50_000
DRAWS_ABOVE_THRESHOLD = 20
"""Resampled windows above the threshold that make it steady."""
CHUNK_CELLS = 2_000_000


@register
@dataclass(eq=False)
class HistogramTest(DriftTest):
    """Compare the clusters of each window with the clusters of the reference."""

    share: float = 0.5
    name = "histogram"
    cadence = "block"

    def fit(self, stream: Stream) -> None:
        """Calibrate for windows of the stream. Raises DataError if the reference is empty."""
        self.stream, self.quiet_checks = stream, stream.blocks
        self.divergence_ = CalibratedDivergence.calibrate(
            stream.reference.counts, stream.window,
            alpha=stream.level(self.share, every=stream.block), seed=stream.seed(self.name, 0),
        )  # fmt: skip

    def observe(self, batch: Batch) -> Iterator[Check]:
        """Check the window when a block is full."""
        if not batch.ends_block or batch.window is None:
            return
        if batch.compared is not None:
            yield self._among_dependent(batch, batch.compared)
            return
        calibrated = self.divergence_
        # While an alarm stands the calibrated p-value is enough: there is no new alarm to decide on.
        stands = self.name in batch.alarms
        seed = self.stream.seed(self.name, batch.block)
        found = calibrated.compare(batch.window, seed=seed, screen_only=stands)
        far = found.divergence > calibrated.threshold_
        alarm = far if stands else found.exact and found.p_value <= calibrated.alpha
        if alarm and not stands and (compared := batch.if_sessions()) is not None:
            yield self._among_dependent(batch, compared)
            return
        yield batch.check(
            self.name, found.divergence, found.p_value, calibrated.alpha, threshold=calibrated.threshold_, alarm=alarm
        )

    def _among_dependent(self, batch: Batch, compared: Compared) -> Check:
        """Check a window of prompts that hang together, against the reference of its hours where that is known."""
        alpha = self.divergence_.alpha
        rng = np.random.default_rng(self.stream.seed(self.name, batch.block))
        window, reference = whole_numbers(compared.window, rng), whole_numbers(compared.reference, rng)
        pooled, taken = window + reference, window.sum(axis=1)

        def draw(size: int) -> RealArray:
            drawn = split(pooled, taken, size, rng)
            return compared.inflation * likelihood_ratios(drawn, pooled - drawn, growth=GROWTH)

        observed = float(likelihood_ratios(window[None], reference[None], growth=GROWTH)[0])
        p_value = sequential_p_value(observed, draw, most=draws_for(alpha))
        divergence = matched_divergence(compared.window, compared.reference)
        return batch.check(self.name, divergence, p_value, alpha, threshold=compared.threshold(alpha))

    def describe(self, value: float) -> str:
        """Return a divergence in words."""
        return f"divergence of topics {value:.3f} bits"


@dataclass(frozen=True)
class DivergenceResult:
    """One comparison of a window with the reference."""

    divergence: float
    """Jensen-Shannon divergence in bits, in [0, 1]."""
    p_value: float
    exact: bool
    """Whether the p-value is the permutation test's; else it is read off the calibration and no alarm."""


@dataclass(frozen=True, eq=False)
class CalibratedDivergence:
    """The divergence of windows of one size from one reference, and what it is without drift."""

    counts: IntArray
    """(k,) reference counts."""
    window: int
    alpha: float
    """Level of a check."""
    null_: RealArray = field(repr=False)
    """Divergences of resampled windows from resampled references, sorted."""
    threshold_: float
    """Divergence that so few resampled windows exceed as the level says."""

    @classmethod
    def calibrate(cls, counts: IntArray, window: int, *, alpha: float, seed: int) -> CalibratedDivergence:
        """Resample reference and window from the reference's shares. counts: (k,) with some weight.

        Raises DataError if the reference is empty.
        """
        m = int(counts.sum())
        if not m:
            raise DataError(
                "A histogram test needs reference rows, got none. Give usage that the adapter was made for."
            )
        rng = np.random.default_rng(seed)
        shares = counts[counts > 0] / m
        draws = int(np.clip(np.ceil(DRAWS_ABOVE_THRESHOLD / alpha), FEWEST_DRAWS, MOST_DRAWS))
        chunk = max(1, CHUNK_CELLS // len(shares))
        null = np.concatenate(
            [
                jensen_shannon_divergences(rng.multinomial(window, shares, size), rng.multinomial(m, shares, size))
                for size in (min(chunk, draws - start) for start in range(0, draws, chunk))
            ]
        )
        threshold = float(np.quantile(null, 1.0 - alpha, method="higher"))
        return cls(counts, window, alpha, np.sort(null), threshold)

    def calibrated_p_value(self, divergence: float) -> float:
        """Return the share of resampled windows that lie as far from their reference as this one."""
        above = len(self.null_) - int(np.searchsorted(self.null_, divergence, side="left"))
        return (above + 1) / (len(self.null_) + 1)

    def compare(self, window: IntArray, *, seed: int, screen_only: bool = False) -> DivergenceResult:
        """Compare a window with the reference. window: (k,) counts. `screen_only` leaves the exact test out."""
        divergence = jensen_shannon_divergence(self.counts, window)
        p_value = self.calibrated_p_value(divergence)
        if screen_only or p_value > max(SCREEN, SCREEN_LEVELS * self.alpha):
            return DivergenceResult(divergence, p_value, exact=False)
        p_value = split_p_value(self.counts, window, most=draws_for(self.alpha), seed=seed)
        return DivergenceResult(divergence, p_value, exact=True)


def split_p_value(reference: IntArray, window: IntArray, *, most: int, seed: int) -> float:
    """Return the permutation p-value of the divergence of two counts, by random splits of the pooled rows.

    reference, window: (k,) counts. Exact for any k and any sizes, also with empty and rare clusters.
    """
    used = (reference + window) > 0
    pooled = (reference + window)[used]
    n = int(window.sum())
    rng = np.random.default_rng(seed)

    def draw(size: int) -> RealArray:
        split = rng.multivariate_hypergeometric(pooled, n, size=size, method="marginals")
        return jensen_shannon_divergences(pooled - split, split)

    return sequential_p_value(jensen_shannon_divergence(reference, window), draw, most=most)
