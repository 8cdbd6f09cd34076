"""How prompts hang together: what a session repeats, what follows within some fifty prompts, what moves with the hours.

Permutation tests take prompts for independent. Real ones come in sessions and swing with the day and the week, so a
window differs from the reference by more than chance allows, without drift. Three numbers say by how much; each is 1
(or 0) unless the data show it beyond doubt, and then a test is what it was for independent prompts.

1. `coherence` of sessions, where there are ids: how often a prompt keeps the topic of the one before it in its session,
   beyond chance. The first prompt of a session counts whole and later ones the less, the more coherent sessions are.
   Without ids, `follow` is the same of neighbours in the stream. If topic k has the share p, two in a row are of one
   session with probability r_k = follow / (follow + (1 - follow) p): n prompts of it with e such pairs count as
   n - r_k·e. So a session that stays with its topic counts once, and one that wanders with all of its prompts [ours].
2. `nearby`: what sessions that are mixed with each other leave: the sum of the excess autocorrelations up to a lag of
   30, the long-run variance of a flat kernel (Newey and West 1987, Econometrica 55). The level that it is compared
   with comes from the lags up to 50, so that drift and cycles, which are the same at all of them, do not enter.
3. `inflation`: how much further stretches of the reference, as long as a window, lie from the rest of it than chance
   allows: blocks in place of prompts. Counts are divided by it, spread over topics by their size (`Background.moves`),
   as Rao and Scott (1992, Biometrics 48) do for clustered counts.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view

from compass.semantic.arrays import IntArray, RealArray
from compass.semantic.divergence import jensen_shannon_divergence

LAGS = 50
"""Prompts back that are compared with a prompt."""
NEAR = 30
"""Lags whose dependence is counted; the rest say what it is without [ours]."""
BEYOND_DOUBT = 4.0
"""Standard errors above chance from which dependence is taken for real: once in 30,000 without any [ours]."""
GROUPS_DIFFER = 3.0
"""Standard errors above chance from which groups of a reference are taken to differ [ours]."""
STRETCHES = 4
"""Stretches, at least, that a reference is cut into."""
MOST_STRETCHES = 40
DRAWS = 40
"""Draws for each group: its mean under no dependence is known well enough beside that of all groups."""
SESSIONS = 0.15
"""Where a prompt keeps the topic of the one before it so often beyond chance, the tests on vectors and losses take
those that begin a topic alone [ours]."""
NO_SESSION = -1


@dataclass(frozen=True, eq=False)
class Pairs:
    """Counts of prompts and of those before them, which add up over blocks."""

    follow: IntArray
    """(k,) prompts without a session whose predecessor in the stream was of the same category."""
    later: IntArray
    """(k,) prompts that were not the first of their session."""
    predecessors: IntArray
    """(2,) prompts that have a predecessor: in the stream, where they have no session; in their session."""
    same: IntArray
    """(2,) those of the category of their predecessor."""
    equal: IntArray
    """(LAGS,) pairs of one category by lag, not of one known session."""
    compared: IntArray
    """(LAGS,) pairs that were compared."""

    @classmethod
    def none(cls, categories: int) -> Pairs:
        """Return the counts of no prompt."""
        by_category, two, by_lag = (np.zeros(n, dtype=np.int64) for n in (categories, 2, LAGS))
        return cls(by_category, by_category, two, two, by_lag, by_lag)

    def __add__(self, other: Pairs) -> Pairs:
        return Pairs(*(mine + theirs for mine, theirs in zip(self.columns(), other.columns(), strict=True)))

    def columns(self) -> list[IntArray]:
        """Return the counts, in the order of the fields."""
        return [getattr(self, field.name) for field in fields(self)]


class Pairing:
    """Finds the pairs of a stream as it comes. Holds numbers of sessions and categories in memory alone."""

    def __init__(self, categories: int, remembered: int = 5000) -> None:
        self.categories, self._remembered = categories, remembered
        self._last: dict[int, int] = {}
        """Session -> category of its latest prompt."""
        self._tail = np.full((2, LAGS), -2, dtype=np.int64)
        """Categories and sessions of the latest prompts; -2 before the first."""

    def add(self, categories: IntArray, sessions: IntArray) -> tuple[npt.NDArray[np.bool_], Pairs]:
        """Return which of the next n prompts tell little that is new, and the pairs. sessions: -1 without id.

        Those are the later ones of a session and, without an id, those that keep the category of the one before.
        """
        n = len(categories)
        before = self._predecessors(categories, sessions)
        has_id, known, same = sessions >= 0, before >= 0, before == categories
        both = np.concatenate([self._tail, np.stack([categories, sessions])], axis=1)
        self._tail = both[:, -LAGS:]
        # Row i: the LAGS prompts before prompt i, the nearest last.
        earlier, earlier_sessions = (sliding_window_view(row[:-1], LAGS)[:n] for row in both)
        apart = (earlier >= 0) & ((earlier_sessions != sessions[:, None]) | ~has_id[:, None])
        equal = apart & (earlier == categories[:, None])
        follow, later = same & ~has_id, known & has_id
        counted = [np.bincount(categories[rows], minlength=self.categories) for rows in (follow, later)]
        by_id = [np.array([np.count_nonzero(x & ~has_id), np.count_nonzero(x & has_id)]) for x in (known, same)]
        by_lag = [x.sum(axis=0)[::-1] for x in (equal, apart)]
        return follow | later, Pairs(*counted, *by_id, *by_lag)

    def _predecessors(self, categories: IntArray, sessions: IntArray) -> IntArray:
        """Return the category of each prompt's predecessor, -2 where it has none."""
        if (sessions == NO_SESSION).all() and set(self._last) <= {NO_SESSION}:
            before = np.concatenate([[self._last.get(NO_SESSION, -2)], categories[:-1]])
            self._last = {NO_SESSION: int(categories[-1])}
            return before
        before = np.empty(len(categories), dtype=np.int64)
        for i, (category, session) in enumerate(zip(categories.tolist(), sessions.tolist(), strict=True)):
            before[i] = self._last.pop(session, -2)
            self._last[session] = category
        while len(self._last) > self._remembered:
            del self._last[next(iter(self._last))]
        return before


@dataclass(frozen=True)
class Dependence:
    """What the pairs of a sample say."""

    follow: float = 0.0
    """How often a prompt without a session keeps the topic of the one before it beyond chance, in [0, 1)."""
    coherence: float = 0.0
    """How often a prompt keeps the topic of the one before it in its session beyond chance, in [0, 1)."""
    length: float = 1.0
    """Prompts in a session, on average."""
    nearby: float = 1.0
    """Variance of counts relative to independent prompts, as far as the others do not explain it."""

    @classmethod
    def of(cls, pairs: Pairs, counts: IntArray) -> Dependence:
        """Read the dependence off the pairs of a sample. counts: (k,) of its prompts."""
        total = int(counts.sum())
        if total < LAGS:
            return cls()
        chance = float(((counts / total) ** 2).sum())
        # Where the mix moves within the sample, prompts some way apart are alike more often than by its total.
        far_pairs = int(pairs.compared[NEAR:].sum())
        level = max(chance, int(pairs.equal[NEAR:].sum()) / far_pairs if far_pairs else 0.0)
        if level >= 1.0:
            return cls()
        follow, coherence = (
            _beyond(same, n, level) for same, n in zip(pairs.same.tolist(), pairs.predecessors.tolist(), strict=True)
        )
        later = int(pairs.later.sum())
        length = total / max(1, total - later)
        # Of pairs that are of the same two sessions, most are alike where one is.
        alike = max((1.0 + follow) / (1.0 - follow), 2.0 * length - 1.0 if coherence else 1.0)
        return cls(follow, coherence, length, _nearby(pairs, chance, follow, alike))

    @property
    def found(self) -> bool:
        """Whether prompts hang together at all."""
        return bool(self.follow or self.coherence or self.nearby > 1.0)

    @property
    def persistence(self) -> float:
        """How often a prompt keeps the topic of the one before it, of its session or of the stream."""
        return max(self.follow, self.coherence)

    @property
    def later_weight(self) -> float:
        """What a prompt counts for that is not the first of its session, in [0, 1].

        With r the correlation of any two prompts of a session of n, a topic's count varies as that of as many
        independent prompts where w = (1 - 2 r) / (1 + r E[(n - 1)(n - 2)] / E[n - 1]). The ratio is 2 (E[n] - 1) where
        n is geometric [ours]. From r = 1/2 on only the first counts: counts stay whole, permuting them exact.
        """
        r = self.coherence
        return max(0.0, 1.0 - 2.0 * r) / (1.0 + 2.0 * r * (self.length - 1.0))

    def kept(self, counts: RealArray) -> RealArray:
        """Return the probability that two in a row of a category are of one session. counts: (k,)."""
        if not self.follow:
            return np.zeros_like(counts)
        p = counts / max(1.0, float(counts.sum()))
        return self.follow / (self.follow + (1.0 - self.follow) * p)

    def units(self, counts: RealArray, follow: RealArray | IntArray, later: RealArray | IntArray) -> RealArray:
        """Return what prompts count for, as independent ones. Each (k,), as of the whole sample."""
        units: RealArray = counts - self.kept(counts) * follow - (1.0 - self.later_weight) * later
        return units


def _beyond(same: int, pairs: int, level: float) -> float:
    """Return the excess over the level of chance, relative to the most that it can be; 0 if it is not beyond doubt."""
    if not pairs:
        return 0.0
    excess = (same / pairs - level) / (1.0 - level)
    if excess < BEYOND_DOUBT * np.sqrt(level / (1.0 - level) / pairs):
        return 0.0
    return float(min(excess, 0.99))


def _nearby(pairs: Pairs, chance: float, follow: float, alike: float) -> float:
    """Return the variance that is left for nearby prompts. alike: pairs that count as one."""
    if not pairs.compared.all():
        return 1.0
    rates = pairs.equal / pairs.compared
    level = float(rates[NEAR:].mean())
    excess = float((rates[:NEAR] - level).sum()) / (1.0 - chance)
    # Of sums of NEAR lags, and of the level that is subtracted from each.
    error = np.sqrt(chance / (1.0 - chance) / pairs.compared[0] * (NEAR + NEAR**2 / (LAGS - NEAR)))
    if excess < BEYOND_DOUBT * alike * error:
        return 1.0
    # What runs of this persistence explain: 1 + 2 (r + r² + ...).
    return float(max(1.0, (1.0 + 2.0 * excess) * (1.0 - follow) / (1.0 + follow)))


def whole_numbers(counts: RealArray, rng: np.random.Generator) -> IntArray:
    """Round counts; those of several strata at random, up as often as the fraction says: none is lost in the sum."""
    if len(counts) == 1:
        return np.rint(counts).astype(np.int64)
    return np.floor(counts + rng.random(counts.shape)).astype(np.int64)


def split(pooled: IntArray, taken: IntArray, size: int, rng: np.random.Generator) -> IntArray:
    """Draw at random, from each row of pooled counts, so many as taken says. pooled: (b, k), taken: (b,).

    Returns (size, b, k).
    """
    drawn = [
        rng.multivariate_hypergeometric(row, n, size=size, method="marginals")
        for row, n in zip(pooled, taken.tolist(), strict=True)
    ]
    return np.stack(drawn, axis=1)


def likelihood_ratios(
    windows: RealArray | IntArray, references: RealArray | IntArray, *, growth: float = 1.0
) -> RealArray:
    """Return G, twice the log likelihood ratio of "the same mix", where hours are compared with themselves.

    windows, references: (s, b, k) counts by stratum; the reference is weighted as the window is spread over strata, and
    strata without window or reference rows are left out. This is the Jensen-Shannon divergence with the samples'
    sizes for weights: of a small window and a large reference it sees what is new in the window sooner than that with
    equal ones does. growth: what a topic counts for that the window has more of. Returns (s,).
    """
    from scipy.special import xlogy

    n, m = windows.sum(axis=2, keepdims=True), references.sum(axis=2, keepdims=True)
    both = (n > 0) & (m > 0)
    w = (windows * both).sum(axis=1)
    spread = np.where(both, n / np.maximum(m, 1e-12), 0.0)
    r = (references * spread).sum(axis=1)
    total = w.sum(axis=1, keepdims=True)
    # So many rows of one stratum would say as much of the reference.
    size = total**2 / np.maximum((n * spread).sum(axis=1), 1e-12)
    r = r * size / total
    mixed = (w + r) / (total + size)
    g: RealArray = 2.0 * (xlogy(w, w / total) + xlogy(r, r / size) - xlogy(w + r, mixed))
    if growth != 1.0:
        g = np.where(w > mixed * total, growth * g, g)
    sums: RealArray = np.maximum(g.sum(axis=1), 0.0)
    return sums


def matched_divergence(window: RealArray, reference: RealArray) -> float:
    """Return the Jensen-Shannon divergence in bits, hours compared with themselves. Each (b, k), no row empty."""
    spread = window.sum(axis=1, keepdims=True) / reference.sum(axis=1, keepdims=True)
    return jensen_shannon_divergence(window.sum(axis=0), (reference * spread).sum(axis=0))


@dataclass(frozen=True, eq=False)
class Sequence:
    """Prompts in their order: what they are, what each counts for, and which strata they belong to."""

    categories: IntArray
    """(m,)"""
    weights: RealArray
    """(m,)"""
    strata: IntArray
    """(m,) prompts are compared with those of their stratum."""
    k: int
    """Categories."""

    def __len__(self) -> int:
        return len(self.categories)

    def table(self, rows: npt.NDArray[np.bool_] | slice = slice(None)) -> RealArray:
        """Return what some of the prompts count for, (strata, k)."""
        b = int(self.strata.max(initial=0)) + 1
        cells = self.strata[rows] * self.k + self.categories[rows]
        flat: RealArray = np.bincount(cells, self.weights[rows], minlength=b * self.k).astype(np.float64)
        return flat.reshape(b, self.k)


def excess(sequence: Sequence, groups: IntArray, *, seed: int, known: bool = False) -> float:
    """Return how much further groups of prompts lie from all others than chance allows; 1 where they do not.

    groups: (m,) group of each prompt, -1 for none. Each is compared with the rest of its strata.
    known: prompts are known to hang together, and what is not beyond doubt counts, too.
    """
    whole = sequence.table()
    rng = np.random.default_rng(seed)
    found = []
    for group in range(int(groups.max(initial=-1)) + 1):
        part = sequence.table(groups == group)
        inside, rest = whole_numbers(part, rng), whole_numbers(whole - part, rng)
        used = (inside.sum(axis=1) > 0) & (rest.sum(axis=1) > 0)
        if used.any():
            inside, rest = inside[used], rest[used]
            pooled = inside + rest
            drawn = split(pooled, inside.sum(axis=1), DRAWS, rng)
            null = likelihood_ratios(drawn, pooled - drawn)
            found.append((float(likelihood_ratios(inside[None], rest[None])[0]), float(null.mean()), float(null.var())))
    if not found:
        return 1.0
    observed, expected, variance = np.mean(found, axis=0)
    if observed - expected <= (0.0 if known else GROUPS_DIFFER) * np.sqrt(variance / len(found)):
        return 1.0
    return float(max(1.0, observed / expected))


def inflation(sequence: Sequence, stretch: int, *, seed: int, known: bool = False) -> float:
    """Return how much further stretches of a sequence lie from its rest than chance allows; 1 where they do not.

    stretch: prompts; known: see `excess`.
    """
    m = len(sequence)
    stretch = min(stretch, m // STRETCHES)
    if stretch < 2:
        return 1.0
    groups = np.arange(m) // stretch
    # What is left at the end is no whole stretch, and no more than so many are needed.
    whole = m // stretch
    groups[groups >= whole] = -1
    if whole > MOST_STRETCHES:
        chosen = np.linspace(0, whole - 1, MOST_STRETCHES).astype(int)
        renamed = np.full(whole + 1, -1)
        renamed[chosen] = np.arange(MOST_STRETCHES)
        groups = renamed[groups]
    return excess(sequence, groups, seed=seed, known=known)
