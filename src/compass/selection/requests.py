"""What usage rows ask for: their shares of the budget, and the pool rows that they may have [ours].

Where responses are classes, the budget is split over classes by water-filling: what usage expects of each, against what
the training data has and the pool supplies. A request is then a pair (usage row, class). Otherwise each usage row is
its own class, with the same water-filling against the training rows that cover it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from compass.selection.density import Density, best_rows
from compass.selection.protocol import Candidates, ClassAccount
from compass.selection.quotas import proportional, training_worth, water_filling
from compass.selection.round_robin import Requests, Reserved
from compass.selection.survey import COVERED_WITHIN, Survey
from compass.semantic.arrays import FloatArray, IntArray, RealArray, nearest_rows, row_keys

WINDOW = 20
"""Times the rows that it asks for among which a usage row draws within a class: the best rows of all are one sentence
in many languages [ours]."""
WINDOW_DEPTH = 0.2
"""Score below the last requested row down to which it draws: what lies deeper is about something else [ours]."""
SHORTEST_LIST = 1000
"""Rows of a request's list, at least: others take rows from it."""
LIST_FACTOR = 8
"""How many times its equal share of the budget a usage row's list is long, if that is more."""


def by_class(
    candidates: Candidates,
    query: FloatArray,
    density: Density,
    classes: IntArray,
    likely: RealArray,
    budget: int,
    seed: int,
    *,
    free_text: int | None = None,
) -> tuple[Requests, ClassAccount]:
    """Split the budget over classes; the usage rows that expect a class share its quota in proportion to P.

    query: (n_U, d); density: (n_A,); classes: (G,) and likely: (n_U, G), from `class_probabilities`. What the pool
    lacks of these classes goes to the nearest rows of others. free_text: the class that is none; its rows are requested
    as those without classes are. Returns the requests, and the account of the classes.
    """
    if candidates.pool_classes is None or candidates.train_classes is None:
        raise ValueError("class quotas need the classes of the pool and of the training data")
    members, train = rows_of(candidates.pool_classes, classes), rows_of(candidates.train_classes, classes)
    n_train = np.array([len(rows) for rows in train], dtype=np.int64)
    supply = np.array([candidates.pool_costs[rows].sum() for rows in members], dtype=np.int64)
    expected = likely.mean(axis=0)
    quotas = water_filling(expected, training_worth(n_train, candidates.mean_cost), supply, budget)
    place = np.argsort(np.argsort(row_keys(candidates.pool, seed), kind="stable"), kind="stable")
    parts = []
    for k in np.flatnonzero(quotas).tolist():
        if classes[k] == free_text:
            parts.append(
                by_usage_row(
                    candidates, query, density, int(quotas[k]), expected=likely[:, k], among=members[k], train=train[k]
                )
            )
            continue
        quota, wanting = int(quotas[k]), np.flatnonzero(likely[:, k])
        # In whole rows: who asks for less than one would take one all the same, and more than the class's quota.
        n_rows = max(1, round(quota / candidates.mean_cost))
        whole = proportional(likely[wanting, k], np.full(len(wanting), n_rows), n_rows)
        shares = proportional(whole, np.full(len(wanting), quota), quota)
        # All who want a class take from the same rows.
        length = max(SHORTEST_LIST, math.ceil(2 * quota / candidates.mean_cost))
        rows, scores = best_rows(candidates, query[wanting], density, length, among=members[k])
        asking = whole > 0
        wanted = _requests(candidates, wanting[asking], rows[asking], scores[asking], shares[asking])
        parts.append(drawn_within_windows(wanted, place))
    if left := budget - int(quotas.sum()):
        others = np.flatnonzero(~np.isin(candidates.pool_classes, classes[quotas > 0]))
        parts.append(by_usage_row(candidates, query, density, left, among=others))
    names = classes if free_text is None else np.where(classes == free_text, -1, classes)
    account = ClassAccount(names, expected, n_train, supply, quotas, picked=np.zeros_like(quotas))
    return concatenate(parts), account


def by_usage_row(
    candidates: Candidates,
    query: FloatArray,
    density: Density,
    budget: int,
    *,
    expected: RealArray | None = None,
    among: IntArray | None = None,
    train: IntArray | None = None,
) -> Requests:
    """Let each usage row ask for its part of the budget, less what the training data covers of it.

    query: (n_U, d); density: (n_A,); expected: (n_U,) its parts, None: equal ones; among: (k,) pool rows to choose
    from, and train: (m,) training rows that count, None: all.
    """
    n = len(candidates.usage)
    parts = np.full(n, 1 / n) if expected is None else expected / expected.sum()
    owned = training_worth(covered(candidates, train, density), candidates.mean_cost)
    shares = water_filling(parts, owned, np.full(n, budget), budget)
    length = max(SHORTEST_LIST, math.ceil(LIST_FACTOR * budget / n / candidates.mean_cost))
    rows, scores = best_rows(candidates, query, density, length, among=among)
    return _requests(candidates, np.arange(n), rows, scores, shares)


def covered(candidates: Candidates, train: IntArray | None = None, density: Density | None = None) -> RealArray:
    """Return how many training rows cover each usage row, (n_U,); a row that covers several is shared among them.

    Where many pool rows lie nearer to a usage row than a training row does, that row does not cover it. train: (m,)
    training rows that count; None: all. density: of a large pool it knows what is nearest.
    """
    rows = candidates.train if train is None else candidates.train[train]
    if not len(rows):
        return np.zeros(len(candidates.usage))
    if isinstance(density, Survey):
        last = density.last_covering
    else:
        last = nearest_rows(candidates.usage, candidates.pool, COVERED_WITHIN)[1][:, -1:]
    covers = candidates.usage @ rows.T >= last
    amount: RealArray = (covers / np.maximum(covers.sum(axis=0), 1)).sum(axis=1)
    return amount


def concatenate(parts: Sequence[Requests]) -> Requests:
    """Put requests together."""
    none = np.empty(0, dtype=np.int64)
    return Requests(
        np.concatenate([none, *(part.requesters for part in parts)]),
        tuple(rows for part in parts for rows in part.rows),
        tuple(scores for part in parts for scores in part.scores),
        np.concatenate([none, *(part.shares for part in parts)]),
        np.concatenate([none, *(part.depths for part in parts)]),
    )


def drawn_within_windows(requests: Requests, place: IntArray) -> Requests:
    """Put the first rows of each list, its window, in the order of their places; the others follow, best first.

    The window is `WINDOW` times the requested rows, as far as they score at most `WINDOW_DEPTH` less than the last row
    that the request would get if it took the best. place: (n_A,) numbers of the pool's rows that only their content and
    the seed decide.
    """
    rows, scores, depths = [], [], []
    for own, values, n_rows in zip(requests.rows, requests.scores, requests.depths.tolist(), strict=True):
        last = np.clip(n_rows - 1, 0, len(own) - 1)
        window = min(WINDOW * n_rows, int(np.sum(values >= values[last : last + 1] - WINDOW_DEPTH)))
        order = np.arange(len(own))
        order[:window] = np.argsort(place[own[:window]], kind="stable")
        rows.append(own[order])
        scores.append(values[order])
        depths.append(max(n_rows, window))
    return Requests(requests.requesters, tuple(rows), tuple(scores), requests.shares, np.array(depths, dtype=np.int64))


def demand_of(candidates: Candidates, requests: Requests) -> RealArray:
    """Spread each request over the clusters of the rows that it is for. Returns (K,), in units of the budget."""
    demand = np.zeros(candidates.n_clusters)
    for own, share, depth in zip(requests.rows, requests.shares.tolist(), requests.depths.tolist(), strict=True):
        first = own[: max(1, depth)]
        demand += share * np.bincount(candidates.pool_clusters[first], minlength=len(demand)) / max(1, len(first))
    return demand


def rows_for_gaps(
    candidates: Candidates, missing: RealArray, budget: int, density: Density | None = None
) -> tuple[Reserved, ...]:
    """Find the row to reserve for each gap cluster that the pool can serve: that closest to the cluster's usage.

    missing: (K,) gaps. density: of a large pool it knows what is closest. Returns them with the widest gap first, as
    far as the budget goes.
    """
    found = []
    for cluster in np.lexsort((np.arange(len(missing)), -missing)).tolist():
        usage = np.flatnonzero(candidates.usage_clusters == cluster)
        if missing[cluster] <= 0 or not len(usage):
            continue
        if isinstance(density, Survey):
            closest = density.closest(usage)
        else:
            closest = _closest(candidates, usage, np.flatnonzero(candidates.pool_clusters == cluster))
        if closest is None:
            continue
        cost = int(candidates.pool_costs[closest.row])
        if cost <= budget:
            budget -= cost
            found.append(closest)
    return tuple(found)


def _closest(candidates: Candidates, usage: IntArray, members: IntArray) -> Reserved | None:
    """Return the row of a cluster closest to its usage rows; None if the pool has none there."""
    if not len(members):
        return None
    similarity: FloatArray = candidates.usage[usage] @ candidates.pool[members].T
    near, best = np.unravel_index(int(similarity.argmax()), similarity.shape)
    return Reserved(int(members[best]), int(usage[near]), float(similarity[near, best]))


def rows_of(classes: IntArray, wanted: IntArray) -> list[IntArray]:
    """Return the rows of each class, ascending. classes: (n,), wanted: (G,) ascending."""
    order = np.argsort(classes, kind="stable")
    starts, ends = (np.searchsorted(classes[order], wanted, side=side) for side in ("left", "right"))
    return [order[start:end] for start, end in zip(starts, ends, strict=True)]


def _requests(
    candidates: Candidates, requesters: IntArray, rows: IntArray, scores: FloatArray, shares: IntArray
) -> Requests:
    """Make requests of (n, m) arrays; each is for the best rows that its share buys."""
    depths = np.ceil(shares / candidates.mean_cost).astype(np.int64)
    return Requests(requesters, tuple(rows), tuple(scores), shares, depths)
