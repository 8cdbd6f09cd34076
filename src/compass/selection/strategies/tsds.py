"""TSDS: nearest neighbours with a density correction (Liu, Karbasi and Rekatsinas 2024, arXiv 2410.11303).

The share of the draw that each pool row gets solves an optimal transport from usage to pool,

    min  alpha / C * sum_ij gamma_ij d_ij + (1 - alpha) * M * max_ij rho_j gamma_ij,   sum_j gamma_ij = 1 / M,

over M usage rows, with d the Euclidean distance and rho_j the kernel density of pool row j: near duplicates share one
row's part (the paper's G_KDE, algorithm KNN-KDE). A usage row spreads its mass over its nearest rows in order, up to
1 / (M s rho_j) each; only the depth s is open, and the optimum is where one more step costs more in distance than it
brings in spread.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from compass.selection.audit import finish, take_in_order
from compass.selection.protocol import Candidates, Selection
from compass.selection.strategies.dsir import gumbel
from compass.semantic.arrays import (
    PRODUCT_CELLS,
    FloatArray,
    IntArray,
    RealArray,
    UInt64s,
    nearest_rows,
    row_chunks,
    row_keys,
)
from compass.semantic.blocks import in_order

ALPHA = 0.5
"""Weight of closeness against spread, the authors' default."""
SCALE = 1.0
"""The authors' C, "in the same scale as the norm of the embeddings": ours have length 1."""
SIGMA = 0.75
"""Width of the kernel 1 - d^2 / sigma^2, the authors' default: rows with a cosine under 0.72 do not count."""
MOST_NEIGHBOURS = 5000
"""Neighbours of a usage row that are looked at, the authors' default; more if the budget holds more rows."""
FIRST_NEIGHBOURS = 32
"""Of these, those whose density is computed at first; twice as many until the transport ends among them [ours]."""
KERNEL_ROWS = 20_000
"""Rows that the density is taken over; of more that usage reaches, a sample that stands for all of them [ours]."""


@dataclass(frozen=True, eq=False)
class Transport:
    """How usage rows spread their mass over their nearest pool rows."""

    mass: RealArray
    """(M, K) gamma of each usage row's K nearest pool rows, nearest first; each row sums to 1 / M."""
    entry: RealArray
    """(M, K) the depth s from which a neighbour has mass."""
    depth: float
    """The optimal s."""
    end: float
    """The depth at which the first usage row's list ends: no s beyond it is looked for."""


@dataclass(frozen=True)
class Tsds:
    """Draws without replacement by transported mass; no clusters, no training data, no caps.

    The authors draw with replacement. Here no row is picked twice; where the budget is larger than the rows with mass,
    the next ones follow in the order in which a deeper transport would reach them [ours].
    """

    name: ClassVar[str] = "tsds"
    language_removal: ClassVar[str | None] = None
    needs: ClassVar[frozenset[str]] = frozenset()

    def select(self, candidates: Candidates, budget: int, seed: int) -> Selection:
        """Pick rows of the pool that cost no more than `budget` together. The same seed gives the same rows."""
        n = len(candidates.pool)
        keys = row_keys(candidates.pool, seed)
        # Equal distances go by the seed, not by the row's place in the pool.
        shuffled = np.argsort(keys, kind="stable").astype(np.int64)
        fits = int(np.searchsorted(np.cumsum(np.sort(candidates.pool_costs)), budget, side="right"))
        depth = min(n, max(MOST_NEIGHBOURS, fits))
        rows, cosines = nearest_rows(candidates.usage, in_order(candidates.pool, shuffled), depth)
        distances = np.sqrt(np.maximum(2.0 - 2.0 * cosines.astype(np.float64), 0.0))
        reached = np.zeros(n, dtype=np.bool_)
        reached[rows] = True
        density = Density(candidates.pool, shuffled[reached])
        rows = shuffled[rows]
        noise = gumbel(candidates, seed)

        looked_at = min(FIRST_NEIGHBOURS, depth)
        while True:
            near = rows[:, :looked_at]
            found = transport(distances[:, :looked_at], density.of(near))
            all_there = looked_at == depth
            end = np.inf if all_there else found.end
            if all_there or (found.depth < end and _can_spend(candidates, near[found.entry < end], budget)):
                order, mass = _in_order_of_draw(found, near, noise, keys, end)
                indices = take_in_order(candidates, order, budget)
                left = budget - int(candidates.pool_costs[indices].sum())
                if all_there or left < candidates.least_cost:
                    break
            looked_at = min(2 * looked_at, depth)
        reasons = [
            f"drawn by its share of the transport from usage ({mass[row]:.2%}; density {crowd:.1f})"
            if mass[row] > 0
            else f"next in depth, for the rows that usage is transported to are fewer (density {crowd:.1f})"
            for row, crowd in zip(indices.tolist(), density.known[indices].tolist(), strict=True)
        ]
        return finish(self.name, candidates, budget, indices=indices, scores=mass[indices], reasons=reasons)


class Density:
    """The kernel density of pool rows, over the rows that usage reaches, found where it is asked for."""

    def __init__(self, pool: FloatArray, reached: IntArray) -> None:
        """reached: (m,) pool rows, in an order that their places don't decide."""
        self._pool = pool
        self._of_all = len(reached)
        self._sample = reached[:KERNEL_ROWS]
        self._over = pool[self._sample]
        self.known: RealArray = np.full(len(pool), np.nan)
        """(n_A,) densities, NaN where they were not asked for."""

    def of(self, rows: IntArray) -> RealArray:
        """Return the density of rows that usage reaches, in the shape of `rows`."""
        new = np.unique(rows)
        new = new[np.isnan(self.known[new])]
        sums = kernel_density(self._pool[new], self._over)
        if self._of_all > len(self._sample):
            # The row itself counts once, whether it is in the sample or not.
            own = np.isin(new, self._sample)
            sums = 1.0 + (sums - own) * ((self._of_all - 1) / (len(self._sample) - own))
        self.known[new] = np.maximum(sums, 1.0)
        return self.known[rows]


def _can_spend(candidates: Candidates, rows: IntArray, budget: int) -> bool:
    """Say whether some rows are enough to spend the budget on. rows: (m,) pool rows, which may repeat."""
    return int(candidates.pool_costs[np.unique(rows)].sum()) > budget - candidates.least_cost


def _in_order_of_draw(
    found: Transport, rows: IntArray, noise: RealArray, keys: UInt64s, end: float
) -> tuple[IntArray, RealArray]:
    """Return pool rows in the order in which they are drawn, and (n_A,) the mass of each.

    Rows with mass come by their draw, then the others in the order in which a deeper transport reaches them.
    rows: (M, K) as in `found`. noise, keys: (n_A,). end: the depth beyond which the order is not known.
    """
    mass = np.zeros(len(noise))
    np.add.at(mass, rows, found.mass)
    entry = np.full(len(noise), np.inf)
    np.minimum.at(entry, rows, found.entry)
    some = np.flatnonzero(np.isfinite(entry) & (entry < end))
    with np.errstate(divide="ignore"):
        draw = np.log(mass[some]) + noise[some]
    # Last key first.
    order = np.lexsort((keys[some], entry[some], -np.where(mass[some] > 0, draw, -np.inf)))
    return some[order].astype(np.int64), mass


def kernel_density(rows: FloatArray, over: FloatArray, sigma: float = SIGMA) -> RealArray:
    """Return the sum of max(0, 1 - d^2 / sigma^2) of each row over others. rows: (n, d), over: (m, d) units."""
    sums = np.empty(len(rows))
    for chunk in row_chunks(len(rows), max(1, PRODUCT_CELLS // max(len(over), 1))):
        kernel = rows[chunk] @ over.T
        kernel *= np.float32(-2.0)
        kernel += np.float32(2.0)
        kernel /= np.float32(sigma**2)
        np.subtract(np.float32(1.0), kernel, out=kernel)
        sums[chunk] = np.maximum(kernel, 0.0, out=kernel).sum(axis=1, dtype=np.float64)
    return sums


def transport(distances: RealArray, density: RealArray, *, alpha: float = ALPHA, scale: float = SCALE) -> Transport:
    """Solve the transport of the module's docstring. distances, density: (M, K) of the nearest rows, nearest first.

    At depth s a usage row has filled its first k rows, sum of 1 / rho up to s; going on costs
    d_(k+1) s - sum of d / rho, which rises by (d_(k+1) - d_k) s where a row is filled. The optimal s is the first such
    point where alpha / C times the sum over usage rows reaches (1 - alpha) M, or where a usage row's list ends.
    """
    m, k = distances.shape
    filled = np.cumsum(1.0 / density, axis=1)
    entry = filled - 1.0 / density
    end = float(filled[:, -1].min())
    depth = end
    if k > 1:
        points = filled[:, :-1].ravel()
        rises = (np.diff(distances, axis=1) * filled[:, :-1]).ravel()
        order: IntArray = np.argsort(points, kind="stable")
        reached = alpha / scale * np.cumsum(rises[order]) >= (1.0 - alpha) * m
        if reached.any():
            depth = min(end, float(points[order[np.argmax(reached)]]))
    left = np.maximum(1.0 / m - entry / (m * depth), 0.0)
    return Transport(np.minimum(left, 1.0 / (m * depth * density)), entry, depth, end)
