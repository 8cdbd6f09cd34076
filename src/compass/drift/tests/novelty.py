"""Are there more prompts far from every cluster than the reference has? An exact rank test.

A histogram puts each prompt into the nearest cluster, however far it is. "Far" is beyond the r-th largest distance of
the m reference rows. With no change, each of n new distances is as likely to take any rank among all m + n, so the
number beyond that distance is beta-binomial(n, r, m - r + 1), whatever the distribution of distances (the exceedance
test; Gibbons and Chakraborti, Nonparametric Statistical Inference, ch. 6). So the p-value knows how uncertain the
reference's tail is.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from compass.semantic.arrays import RealArray


@dataclass(frozen=True, eq=False)
class NoveltyTest:
    """Exceedances of windows of one size over the reference's tail."""

    cut: float
    """Distance (1 - cosine to the nearest centroid) beyond which a prompt is novel."""
    reference_rate: float
    """Share of the reference at or beyond the cut, r / m."""
    p_values_: RealArray = field(repr=False)
    """(n + 1,), p-value of 0, 1, ..., n novel prompts in a window of n."""

    @classmethod
    def fit(cls, distances: npt.ArrayLike, window: int, *, tail: float) -> NoveltyTest:
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

    def threshold(self, alpha: float) -> float:
        """Return the smallest share of novel prompts that is an alarm at level alpha; above 1 if none is."""
        below = np.flatnonzero(self.p_values_ <= alpha)
        return float(below[0] / self.window) if len(below) else 1.0 + 1.0 / self.window
