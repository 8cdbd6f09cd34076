"""Which prompts begin something new, where no id says which are of one session: stochastic declustering.

A prompt either begins a session, and then has a topic of the mix, or it keeps to what came some prompts before it:

    P(topic of prompt i is k | what came before) = mu·p_k + sum over lags l of g_l·a(topic of prompt i - l, k)

the mixture transition distribution (Raftery 1985, JRSS B 47), with mu + sum g = 1 and a the affinity of topics. Lags
are binned, so that sessions one after the other and twenty at once are found alike. EM fits mu, p and g to the order of
topics alone, and each prompt counts by the probability that it begins: mu·p_k over the whole (Zhuang, Ogata and
Vere-Jones 2002, JASA 97, of earthquakes and their aftershocks). Under the model the sum over a topic, less mu·p_k a
prompt, is a martingale whose variance is at most its mean: it varies no more than a count of independent sessions.
Where many are open at once, too many are found, and how many depends on the fit. So window and reference are counted by
one fit and by the same shares: what it gets wrong is wrong in both [ours].
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from compass.drift.traffic import likelihood_ratios
from compass.semantic.arrays import IntArray, RealArray

EDGES = np.array([0, 1, 2, 4, 8, 16, 32, 64, 128, 256])
"""Lags in bins: above one edge, up to the next."""
LONGEST = int(EDGES[-1])
BEYOND_DOUBT = 4.0
"""Standard errors above chance from which dependence is taken for real: once in 30,000 without any [ours]."""
BEYOND_DOUBT_AT_FIRST, SHORT = 2.5, 1000
"""The same for a stream that has only begun, where neighbours are alike, since an alarm too many costs more than a few
prompts of delay; and for each half of one where they are not [ours]."""
IN_DOUBT = 2.0
"""The same before an alarm of a young stream: 1 in 50 streams of 500 prompts with 20 sessions at once shows less."""
FEWEST = 100
"""Prompts below which nothing is said."""
LONGEST_OF = 0.6
"""Lags, at most, as a share of the prompts."""
ITERATIONS = 60
REMEMBERED = 2500
"""Prompts of a stream, the latest, that it is fitted to."""


@dataclass(frozen=True, eq=False)
class Declustering:
    """How prompts without ids follow each other."""

    kernel: RealArray
    """(b,) probability that a prompt keeps to one of the prompts of a bin of lags."""
    shares: RealArray
    """(k,) of what begins."""
    affinity: RealArray
    """(k, k) topics of those that keep to a topic; rows sum to 1."""

    @property
    def begins(self) -> float:
        """Share of the prompts that begin a session."""
        return float(1.0 - self.kernel.sum())

    @classmethod
    def fit(
        cls, categories: IntArray, affinity: RealArray, *, suspected: bool = False, in_doubt: bool = False
    ) -> Declustering | None:
        """Fit to prompts in their order; None if nothing shows beyond doubt that they hang together.

        categories: (n,), -1 for prompts that have an id: they are passed over; affinity: (k, k); suspected: whether
        neighbours alone are alike already; in_doubt: be content with less.
        """
        reach = find_reach(categories, suspected=suspected, in_doubt=in_doubt)
        if not reach:
            return None
        rows = np.flatnonzero(categories >= 0)
        own, matches = categories[rows], _matches(categories, affinity)[rows, :reach]
        unseen = _unseen(len(categories))[rows, :reach]
        shares = np.bincount(own, minlength=len(affinity)) / len(own)
        kernel = np.full(reach, 0.5 / reach)
        for _ in range(ITERATIONS):
            kept = (matches + unseen * shares[own, None]) * kernel
            new = (1.0 - kernel.sum()) * shares[own]
            total = new + kept.sum(axis=1)
            kernel = (kept / total[:, None]).mean(axis=0)
            counts = np.bincount(own, new / total, minlength=len(affinity))
            shares = counts / counts.sum()
        return cls(kernel, shares, affinity)

    def follows(self, categories: IntArray, latest: int | None = None) -> Followed:
        """Return how prompts follow those before them. categories: (n,), -1 for those with an id; latest: so many of
        the last ones alone."""
        reach, last = len(self.kernel), slice(-latest if latest else None, None)
        own = categories[last]
        matches = (_matches(categories, self.affinity)[last, :reach]) @ self.kernel
        return Followed(own, matches, _unseen(len(categories))[last, :reach] @ self.kernel, self.begins)

    def weights(self, categories: IntArray, latest: int | None = None) -> RealArray:
        """Return the probability that each prompt begins a session by the fitted shares, (n,). See `follows`."""
        return self.follows(categories, latest).begin(self.shares)


@dataclass(frozen=True, eq=False)
class Followed:
    """How prompts follow those before them, by one fit."""

    categories: IntArray
    """(n,) -1 for prompts with an id."""
    kept: RealArray
    """(n,) probability that a prompt keeps to those before it, and has the topic that it has."""
    unseen: RealArray
    """(n,) probability that it keeps to one from before the first."""
    begins: float
    """Share of the prompts that begin a session."""

    def begin(self, shares: RealArray) -> RealArray:
        """Return the probability that each begins a session, (n,); 1 for those with an id. shares: (k,) of those that
        do."""
        known = self.categories >= 0
        # A topic that has no share is as rare as one that was seen half a time.
        p = np.maximum(shares, 0.5 / max(1, len(known)))[np.maximum(self.categories, 0)]
        new = self.begins * p
        return np.where(known, new / (new + self.kept + self.unseen * p), 1.0)


def find_reach(categories: IntArray, *, suspected: bool = False, in_doubt: bool = False) -> int:
    """Return how many bins of lags to look at: 0 if prompts are independent. Arguments as of `Declustering.fit`.

    Prompts up to a lag are compared with those up to twice as far apart, on each side of the most likely change: drift
    is no dependence. A cycle that is much longer is about the same at both.
    """
    own = categories[categories >= 0]
    if len(own) < FEWEST:
        return 0
    scores = _scores(categories)
    least = BEYOND_DOUBT_AT_FIRST if in_doubt or (suspected and len(own) < SHORT) else BEYOND_DOUBT
    if in_doubt and len(own) < SHORT:
        least = IN_DOUBT
    best = int(np.argmax(scores))
    if scores[best] < least:
        return 0
    if (
        not suspected
        and not in_doubt
        and any(_scores(half).max() < BEYOND_DOUBT_AT_FIRST for half in np.array_split(categories, 2))
    ):
        # A mix that moves more than once is dependence to the whole, but not to each half of it.
        return 0
    return best + 2


def _scores(categories: IntArray) -> RealArray:
    """Return how many standard errors above chance prompts of a topic follow each other up to each lag, (bins - 1,)."""
    sums, weights = np.zeros((2, len(EDGES) - 2))
    rows = np.flatnonzero(categories >= 0)
    if len(rows) < FEWEST:
        return sums
    at = rows[_most_likely_change(categories[rows])]
    for part in (categories[:at], categories[at:]):
        n = int(np.count_nonzero(part >= 0))
        if n < FEWEST:
            continue
        chance = float(((np.bincount(part[part >= 0]) / n) ** 2).sum())
        if chance >= 1.0:
            continue
        equal, compared = _pairs(part)
        near, far = np.maximum(np.cumsum(compared)[:-1], 1.0), np.maximum(compared[1:], 1.0)
        used = EDGES[2:] <= LONGEST_OF * n
        weight = np.where(used, 1.0 / (chance * (1.0 - chance) * (1.0 / near + 1.0 / far)), 0.0)
        sums += weight * (np.cumsum(equal)[:-1] / near - equal[1:] / far)
        weights += weight
    scores: RealArray = sums / np.sqrt(np.maximum(weights, 1e-12))
    return scores


def _most_likely_change(categories: IntArray) -> int:
    """Return the place, of some twenty, before and after which the mixes differ the most."""
    places = np.linspace(0, len(categories), 22).astype(int)[1:-1]
    table = np.eye(int(categories.max()) + 1)[categories].cumsum(axis=0)
    before = table[places - 1]
    return int(places[np.argmax(likelihood_ratios(before[:, None], (table[-1] - before)[:, None]))])


def affinity_of(vectors: RealArray, categories: IntArray, centroids: RealArray) -> RealArray:
    """Return how likely prompts of a cluster have their like in another one, (k, k), rows sum to 1.

    A topic that lies in two clusters puts its prompts now into one and now into the other. vectors: (n, d) unit rows;
    categories: (n,); centroids: (k, d). A prompt belongs to clusters by a von Mises-Fisher mixture (Banerjee et al.
    2005) whose concentration is that of prompts around their own centroid.
    """
    k, d = centroids.shape
    affinity = np.eye(k)
    if not len(vectors):
        return affinity
    cosines = vectors @ centroids.T
    r = float(np.clip(np.mean(cosines[np.arange(len(vectors)), categories]), 1e-3, 1.0 - 1e-6))
    logits = r * (d - r**2) / (1.0 - r**2) * cosines
    member = np.exp(logits - logits.max(axis=1, keepdims=True))
    member /= member.sum(axis=1, keepdims=True)
    sums = np.zeros((k, k))
    np.add.at(sums, categories, member)
    n = np.bincount(categories, minlength=k)[:, None]
    found: RealArray = (sums + affinity) / (n + 1.0)
    return found


def _unseen(n: int) -> RealArray:
    """Return which part of each bin's lags lies before the first of n prompts, (n, bins)."""
    at = np.arange(n)[:, None]
    unseen: RealArray = np.clip((EDGES[1:] - np.maximum(at, EDGES[:-1])) / np.diff(EDGES), 0.0, 1.0)
    return unseen


def _pairs(categories: IntArray) -> tuple[RealArray, RealArray]:
    """Return the pairs of one topic and all pairs by bins of lags, each (bins,)."""
    lags = np.diff(EDGES)
    equal = _matches(categories, np.eye(int(categories.max()) + 1)).sum(axis=0) * lags
    compared = _matches(np.where(categories >= 0, 0, -1), np.eye(1)).sum(axis=0) * lags
    return equal, compared


def _matches(categories: IntArray, affinity: RealArray) -> RealArray:
    """Return how much of its own topic each prompt finds at the lags of each bin, (n, bins), on average over the lags.

    categories: (n,), -1 for prompts that neither find nor are found.
    """
    n, k = len(categories), len(affinity)
    rows = np.where((categories >= 0)[:, None], affinity[np.maximum(categories, 0)], 0.0)
    sums = np.concatenate([np.zeros((1, k)), np.cumsum(rows, axis=0)])
    own, at = np.maximum(categories, 0), np.arange(n)
    until = np.stack([sums[np.maximum(at - edge, 0), own] for edge in EDGES], axis=1)
    found: RealArray = (until[:, :-1] - until[:, 1:]) / np.diff(EDGES) * (categories >= 0)[:, None]
    return found
