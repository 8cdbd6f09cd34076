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
from compass.semantic.arrays import PRODUCT_CELLS, FloatArray, IntArray, RealArray, nearest_rows, row_chunks, row_keys
from compass.semantic.blocks import in_order

ALPHA = 0.5
"""Weight of closeness against spread, the authors' default."""
SCALE = 1.0
"""The authors' C, "in the same scale as the norm of the embeddings": ours have length 1."""
SIGMA = 0.75
"""Width of the kernel 1 - d^2 / sigma^2, the authors' default: rows with a cosine under 0.72 do not count."""
MOST_NEIGHBOURS = 5000
"""Neighbours of a usage row that are looked at, the authors' default; more if the budget holds more rows."""


@dataclass(frozen=True, eq=False)
class Transport:
    """How usage rows spread their mass over their nearest pool rows."""

    mass: RealArray
    """(M, K) gamma of each usage row's K nearest pool rows, nearest first; each row sums to 1 / M."""
    entry: RealArray
    """(M, K) the depth s from which a neighbour has mass."""
    depth: float
    """The optimal s."""


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
        # Equal distances go by the seed, not by the row's place in the pool.
        shuffled = np.argsort(row_keys(candidates.pool, seed), kind="stable").astype(np.int64)
        fits = int(np.searchsorted(np.cumsum(np.sort(candidates.pool_costs)), budget, side="right"))
        depth = min(n, max(MOST_NEIGHBOURS, fits))
        rows, cosines = nearest_rows(candidates.usage, in_order(candidates.pool, shuffled), depth)
        rows = shuffled[rows]
        distances = np.sqrt(np.maximum(2.0 - 2.0 * cosines.astype(np.float64), 0.0))
        density = np.ones(n)
        reached = shuffled[np.isin(shuffled, rows)]
        density[reached] = kernel_density(candidates.pool[reached])
        found = transport(distances, density[rows])

        mass = np.zeros(n)
        np.add.at(mass, rows, found.mass)
        entry = np.full(n, np.inf)
        np.minimum.at(entry, rows, found.entry)
        with np.errstate(divide="ignore"):
            keys = np.log(mass) + gumbel(candidates, seed)
        # Last key first: rows with mass by their draw, then the others that were reached, in order of depth.
        order = np.lexsort((row_keys(candidates.pool, seed), entry, -np.where(mass > 0, keys, -np.inf)))
        order = order[np.isfinite(entry[order])].astype(np.int64)
        indices = take_in_order(candidates, order, budget)
        reasons = [
            f"drawn by its share of the transport from usage ({mass[row]:.2%}; density {density[row]:.1f})"
            if mass[row] > 0
            else f"next in depth, for the rows that usage is transported to are fewer (density {density[row]:.1f})"
            for row in indices.tolist()
        ]
        return finish(self.name, candidates, budget, indices=indices, scores=mass[indices], reasons=reasons)


def kernel_density(rows: FloatArray, sigma: float = SIGMA) -> RealArray:
    """Return the sum of max(0, 1 - d^2 / sigma^2) over all rows for each row, itself included. rows: (n, d) units."""
    density = np.empty(len(rows))
    for chunk in row_chunks(len(rows), max(1, PRODUCT_CELLS // max(len(rows), 1))):
        kernel = 1.0 - (2.0 - 2.0 * (rows[chunk] @ rows.T)) / np.float32(sigma**2)
        density[chunk] = np.maximum(kernel, 0.0).sum(axis=1, dtype=np.float64)
    return np.maximum(density, 1.0)


def transport(distances: RealArray, density: RealArray, *, alpha: float = ALPHA, scale: float = SCALE) -> Transport:
    """Solve the transport of the module's docstring. distances, density: (M, K) of the nearest rows, nearest first.

    At depth s a usage row has filled its first k rows, sum of 1 / rho up to s; going on costs
    d_(k+1) s - sum of d / rho, which rises by (d_(k+1) - d_k) s where a row is filled. The optimal s is the first such
    point where alpha / C times the sum over usage rows reaches (1 - alpha) M, or where a usage row's list ends.
    """
    m, k = distances.shape
    filled = np.cumsum(1.0 / density, axis=1)
    entry = filled - 1.0 / density
    depth = float(filled[:, -1].min())
    if k > 1:
        points = filled[:, :-1].ravel()
        rises = (np.diff(distances, axis=1) * filled[:, :-1]).ravel()
        order: IntArray = np.argsort(points, kind="stable")
        reached = alpha / scale * np.cumsum(rises[order]) >= (1.0 - alpha) * m
        if reached.any():
            depth = min(depth, float(points[order[np.argmax(reached)]]))
    left = np.maximum(1.0 / m - entry / (m * depth), 0.0)
    return Transport(np.minimum(left, 1.0 / (m * depth * density)), entry, depth)
